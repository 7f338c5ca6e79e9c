from __future__ import annotations

import io
from typing import Any

import django
import pytest
from django.conf import settings
from django.core.checks import run_checks
from django.core.exceptions import BadRequest, DisallowedHost, PermissionDenied
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.db import connection, transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.test import RequestFactory
from django.test.utils import override_settings
from django.urls import include, path
from django.views.debug import SafeExceptionReporterFilter
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from karla_receiver import ConfigurationError, Event, Receiver
from karla_receiver.adapters.django import endpoint, receiver_from_settings, webhook
from karla_receiver.idempotency import MemoryStore
from karla_receiver.outcomes import Discard, RetryLater
from tests.asgi_server import knock_at
from tests.doors import (
    Answer,
    Knock,
    answer_of,
    logged_reasons,
    run_wsgi,
    signed_knock,
    wsgi_environ,
)
from tests.frameworks.django import nothing, nothing_async, routed, routed_by
from tests.observed import Keeper
from tests.signing import BODY, SECRET


def deliver(view: Any, knock: Knock | None = None, **settings: Any) -> Answer:
    with routed(view), override_settings(**settings), logged_reasons() as reasons:
        return answer_of(reasons, *run_wsgi(WSGIHandler(), wsgi_environ(knock or signed_knock())))


def test_a_receiver_with_handlers_needs_no_view() -> None:
    events: list[Event] = []
    receiver = Receiver(SECRET)
    receiver.on("*")(events.append)

    assert deliver(endpoint(receiver)).status == 200
    assert len(events) == 1
    with pytest.raises(ConfigurationError, match="expected a Receiver"):
        endpoint(SECRET)  # type: ignore[arg-type]


@pytest.mark.parametrize("view", [nothing, nothing_async])
def test_a_view_is_exempt_from_tokens_and_from_login(view: Any) -> None:
    received: Any = webhook(SECRET)(view)
    assert (received.csrf_exempt, received.login_required) == (True, False)


class Stranger:
    """A middleware that knows the user as one who has not logged in."""

    is_authenticated = False

    def __init__(self, get_response: Any) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> Any:
        vars(request)["user"] = self
        return self._get_response(request)


GUARDS = [f"{__name__}.Stranger", "django.middleware.csrf.CsrfViewMiddleware"]
if django.VERSION >= (5, 1):
    GUARDS.append("django.contrib.auth.middleware.LoginRequiredMiddleware")


@override_settings(MIDDLEWARE=GUARDS, LOGIN_URL="/login")
def test_a_delivery_needs_neither_a_token_nor_a_login() -> None:
    receiver = Receiver(SECRET)
    receiver.on("*")(lambda event: None)

    for view in (webhook(SECRET)(nothing), webhook(SECRET)(nothing_async), endpoint(receiver)):
        assert deliver(view).status == 200
        assert deliver(view, signed_knock(secret="another")).status == 401
    assert deliver(page).status == 403, "any other page wants a token"
    if django.VERSION >= (5, 1):
        assert deliver(csrf_exempt(page)).status == 302, "and a login"


def test_a_view_gets_what_the_url_captures() -> None:
    seen: list[Any] = []

    def view(request: HttpRequest, event: Event, shop: str) -> None:
        seen.append((shop, request.resolver_match is not None))

    with routed_by([path("<shop>/karla", webhook(SECRET)(view))]):
        environ = wsgi_environ(signed_knock(), "/nordlicht/karla")
        assert run_wsgi(WSGIHandler(), environ)[0] == 200
    assert seen == [("nordlicht", True)]


# --- the body ------------------------------------------------------------------------------------


@pytest.mark.parametrize("asgi", [False, True], ids=["wsgi", "asgi"])
def test_djangos_limit_does_not_replace_the_receivers(asgi: bool) -> None:
    def view(request: HttpRequest, event: Event) -> HttpResponse | None:
        return None if request.body == BODY else HttpResponse(status=599)

    small = webhook(Receiver(SECRET, max_body_bytes=100))(view)
    limit: dict[str, Any] = {"DATA_UPLOAD_MAX_MEMORY_SIZE": 10}
    if not asgi:
        assert deliver(webhook(SECRET)(view), **limit).status == 200
        assert deliver(small, **limit).status == 413
        return
    with override_settings(**limit):
        with routed(webhook(SECRET)(view)):
            assert knock_at(ASGIHandler(), signed_knock()).status == 200
        with routed(small):
            answer = knock_at(ASGIHandler(), signed_knock())
            assert (answer.status, answer.reason) == (413, "body_too_large")


class ReadBody:
    """A middleware that reads request.body first."""

    def __init__(self, get_response: Any) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> Any:
        assert self.read(request) is not None
        return self._get_response(request)

    def read(self, request: HttpRequest) -> Any:
        return request.body


class TouchPost(ReadBody):
    """A middleware that looks at request.POST first."""

    def read(self, request: HttpRequest) -> Any:
        return request.POST


class ReadStream(ReadBody):
    """A middleware that reads the stream first, which Django cannot undo."""

    def read(self, request: HttpRequest) -> Any:
        return request.read()


@pytest.mark.parametrize("kind", ["application/json", "application/x-www-form-urlencoded"])
@pytest.mark.parametrize("middleware", [ReadBody, TouchPost])
def test_what_ran_before_does_not_matter(middleware: type, kind: str) -> None:
    knock = signed_knock()
    knock.headers.append(("Content-Type", kind))
    path_of = f"{__name__}.{middleware.__name__}"
    assert deliver(webhook(SECRET)(nothing), knock, MIDDLEWARE=[path_of]).status == 200


def test_a_body_that_something_consumed_is_refused_and_the_log_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    answer = deliver(webhook(SECRET)(nothing), MIDDLEWARE=[f"{__name__}.ReadStream"])

    assert answer.status == 401
    assert "consumed before @webhook" in caplog.text


class WrappedRequest:
    """As that of Django REST framework."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request

    def __getattr__(self, name: str) -> Any:
        return getattr(self._request, name)


def test_a_request_that_something_wrapped_is_an_error_that_names_the_remedy() -> None:
    view = webhook(SECRET)(nothing)

    def api_view(request: HttpRequest) -> Any:
        wrapped = WrappedRequest(request)
        with pytest.raises(ConfigurationError, match=r"WrappedRequest: .* request\._request"):
            view(wrapped)
        return view(request)

    assert deliver(csrf_exempt(api_view)).status == 200


def test_the_view_can_read_the_body_in_every_way() -> None:
    seen: list[Any] = []

    def view(request: HttpRequest, event: Event) -> None:
        seen.extend([request.body, request.read(), request.POST.get("nothing")])

    assert deliver(webhook(SECRET)(view)).status == 200
    assert seen == [BODY, BODY, None]


def test_the_method_counts_as_it_was_received() -> None:
    assert deliver(webhook(SECRET)(nothing), signed_knock(method="post")).status == 405
    with routed(webhook(SECRET)(nothing)):
        assert knock_at(ASGIHandler(), signed_knock(method="post")).status == 405


def test_https_is_what_django_takes_for_it() -> None:
    view = webhook(Receiver(SECRET, require_https=True))(nothing)
    knock = signed_knock()
    knock.headers.append(("X-Forwarded-Proto", "https"))

    assert deliver(view, knock).status == 403
    trusting = {"SECURE_PROXY_SSL_HEADER": ("HTTP_X_FORWARDED_PROTO", "https")}
    assert deliver(view, knock, **trusting).status == 200


# --- the database --------------------------------------------------------------------------------


def count() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM orders")
        (rows,) = cursor.fetchone()
        return int(rows)


def insert() -> None:
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO orders VALUES (1)")


@pytest.fixture
def atomic_requests() -> Any:
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE orders (number)")
    connection.settings_dict["ATOMIC_REQUESTS"] = True
    yield
    connection.settings_dict["ATOMIC_REQUESTS"] = False
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE orders")


@pytest.mark.usefixtures("atomic_requests")
def test_what_a_failing_handler_wrote_is_rolled_back_with_the_request() -> None:
    def fail(request: HttpRequest, event: Event) -> None:
        insert()
        raise ValueError

    def succeed(request: HttpRequest, event: Event) -> None:
        insert()

    assert deliver(webhook(SECRET)(fail)).status == 500
    assert count() == 0
    assert deliver(webhook(SECRET)(succeed)).status == 200
    assert count() == 1


@pytest.fixture
def _deferred_constraint() -> Any:
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE parents (id INTEGER PRIMARY KEY)")
        cursor.execute(
            "CREATE TABLE children"
            " (parent INTEGER REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED)"
        )
    yield
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE children")
        cursor.execute("DROP TABLE parents")


def orphan(request: HttpRequest, event: Event) -> None:
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO children VALUES (77)")


@pytest.mark.usefixtures("atomic_requests", "_deferred_constraint")
@pytest.mark.parametrize("place", ["view", "handler", "endpoint"])
def test_a_delivery_whose_commit_fails_is_not_handled(place: str) -> None:
    receiver = Receiver(SECRET, idempotency=MemoryStore())
    if place != "view":
        receiver.on("*")(lambda event: orphan(HttpRequest(), event))
    decorated = webhook(receiver)(orphan if place == "view" else nothing)
    view = endpoint(receiver) if place == "endpoint" else decorated

    for _ in range(2):
        answer = deliver(view)
        assert (answer.status, answer.reason) == (500, "handler_error")
    assert not connection.in_atomic_block


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Http404(), 404),
        (PermissionDenied(), 403),
        (BadRequest(), 400),
        (DisallowedHost(), 400),
        (LookupError(), 500),
    ],
)
def test_what_django_answers_for_an_exception_is_observed(error: Exception, status: int) -> None:
    def view(request: HttpRequest, event: Event) -> None:
        raise error

    keeper = Keeper()
    answer = deliver(webhook(Receiver(SECRET, observer=keeper))(view))
    assert [answer.status, *(seen.status for seen in keeper.told)] == [status, status]


def discard(request: HttpRequest, event: Event) -> None:
    insert()
    raise Discard("enough")


def later(request: HttpRequest, event: Event) -> None:
    insert()
    raise RetryLater(5)


def missing(request: HttpRequest, event: Event) -> None:
    insert()
    raise Http404


def answering(status: int) -> Any:
    def view(request: HttpRequest, event: Event) -> HttpResponse:
        insert()
        return HttpResponse(status=status)

    return view


@pytest.mark.usefixtures("atomic_requests")
@pytest.mark.parametrize(
    ("view", "status", "rows"),
    [
        (answering(204), 204, 1),
        (discard, 200, 0),
        (answering(409), 409, 0),
        (later, 503, 0),
        (missing, 404, 0),
    ],
)
def test_what_a_view_wrote_stays_when_it_answers_with_success(
    view: Any, status: int, rows: int
) -> None:
    assert deliver(webhook(SECRET)(view)).status == status
    assert count() == rows
    assert not connection.in_atomic_block


@pytest.mark.usefixtures("atomic_requests")
def test_each_handler_and_the_view_has_a_transaction_of_its_own() -> None:
    receiver = Receiver(SECRET)

    @receiver.on("*")
    def succeed(event: Event) -> None:
        assert connection.in_atomic_block
        insert()

    @webhook(receiver)
    def fail(request: HttpRequest, event: Event) -> None:
        assert count() == 1
        insert()
        raise ValueError

    assert deliver(fail).status == 500
    assert count() == 1
    assert deliver(endpoint(receiver)).status == 200
    assert count() == 2


@pytest.mark.usefixtures("atomic_requests")
@pytest.mark.parametrize(("excluded", "rows"), [("default", 1), ("another", 0)])
def test_a_view_can_be_excluded_from_transactions(excluded: str, rows: int) -> None:
    def fail(request: HttpRequest, event: Event) -> None:
        insert()
        raise ValueError

    view = webhook(SECRET)(transaction.non_atomic_requests(using=excluded)(fail))
    assert deliver(view).status == 500
    assert count() == rows


def test_a_sync_handler_beside_an_async_view_has_the_requests_connection() -> None:
    kinds: list[str] = []
    receiver = Receiver(SECRET)
    receiver.on("*")(lambda event: kinds.append(connection.vendor))

    async def view(request: HttpRequest, event: Event) -> None:
        kinds.append("view")

    with routed(webhook(receiver)(view)):
        assert knock_at(ASGIHandler(), signed_knock()).status == 200
    assert kinds == ["sqlite", "view"]


# --- the settings --------------------------------------------------------------------------------


def test_the_secret_may_be_in_the_settings() -> None:
    with override_settings(KARLA_WEBHOOK_SECRET=SECRET):
        assert checked(webhook()(nothing)) == []
        assert deliver(webhook()(nothing)).status == 200
        assert deliver(endpoint(receiver_from_settings())).status == 200
    for several in (["new-secret", SECRET], f"new-secret,{SECRET}"):
        with override_settings(KARLA_WEBHOOK_SECRETS=several):
            assert deliver(webhook()(nothing)).status == 200


UNUSABLE: list[dict[str, Any]] = [
    {},
    {"KARLA_WEBHOOK_SECRETS": {"one", "two"}},
    {"KARLA_WEBHOOK_SECRET": SECRET, "KARLA_WEBHOOK_SECRETS": [SECRET]},
    {"KARLA_WEBHOOK_SECRET": ""},
    {"KARLA_WEBHOOK_SECRETS": []},
]


@pytest.mark.parametrize("settings", UNUSABLE)
@pytest.mark.parametrize("view", [nothing, nothing_async])
def test_settings_that_can_never_work_are_found_by_the_check_and_by_each_delivery(
    view: Any, settings: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    mounted = webhook()(view)
    with override_settings(**settings):
        assert checked(mounted) == ["E002"]
        assert deliver(mounted).status == 500
    assert "ConfigurationError: " in caplog.text
    assert SECRET not in caplog.text


def test_the_settings_are_read_anew_for_each_delivery() -> None:
    receiver = receiver_from_settings()
    view = endpoint(receiver)

    for secret in (SECRET, "another-secret", SECRET):
        with override_settings(KARLA_WEBHOOK_SECRET=secret):
            assert deliver(view).status == (200 if secret == SECRET else 401)
    assert deliver(view).status == 500, "the last secret is not in the settings any more"


@pytest.mark.parametrize("name", ["KARLA_WEBHOOK_SECRET", "KARLA_WEBHOOK_SECRETS"])
def test_a_secret_that_the_environment_did_not_have_is_named(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    with override_settings(**{name: None}):
        assert deliver(endpoint(receiver_from_settings())).status == 500
    assert f"{name} in the settings is None: is its environment variable set?" in caplog.text


def test_a_receiver_from_the_settings_takes_the_options_of_any() -> None:
    receiver = receiver_from_settings(max_body_bytes=100)
    with override_settings(KARLA_WEBHOOK_SECRET=SECRET):
        assert deliver(endpoint(receiver)).status == 413
    with pytest.raises(ConfigurationError, match="max_body_bytes"):
        receiver_from_settings(max_body_bytes=0)


def test_a_decorator_without_parentheses_is_told_that_it_needs_no_secret() -> None:
    with pytest.raises(ConfigurationError, match=r"write @webhook\(\), for the secret in the set"):
        webhook(nothing)  # type: ignore[arg-type]


@override_settings(KARLA_WEBHOOK_SECRET="canary-secret", KARLA_WEBHOOK_SECRETS=["canary-secret"])
def test_djangos_error_reports_hide_the_secrets_and_the_signature() -> None:
    reporter = SafeExceptionReporterFilter()
    request = RequestFactory().post("/karla", headers={"Karla-Signature": "t=1,v1=canary"})

    assert "canary" not in repr(reporter.get_safe_settings())
    assert "canary" not in repr(reporter.get_safe_request_meta(request))


# --- the check -----------------------------------------------------------------------------------


def checked(*views: Any, prefix: bool = False) -> list[str]:
    patterns = [path(f"{place}", view) for place, view in enumerate(views)]
    nested = [path("below/", include((patterns, "below")))]
    with routed_by(nested if prefix else patterns):
        ids = [message.id for message in run_checks() if "karla" in str(message.id)]
    return [str(found).removeprefix("karla_receiver.") for found in ids]


def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


@pytest.mark.parametrize("prefix", [False, True])
def test_the_check_finds_no_fault_in_a_view_that_works(prefix: bool) -> None:
    receiver = Receiver(SECRET)
    receiver.on("*")(lambda event: None)
    views = (webhook(SECRET)(nothing), webhook(SECRET)(nothing_async), endpoint(receiver))
    assert checked(page, *views, prefix=prefix) == []


def test_the_check_finds_that_no_url_leads_to_a_webhook() -> None:
    assert checked(page) == ["W001"]


def test_the_check_finds_a_receiver_without_handlers() -> None:
    assert checked(endpoint(Receiver(SECRET))) == ["W003"]


def test_the_check_is_silent_in_a_project_without_urls() -> None:
    with override_settings():
        del settings.ROOT_URLCONF
        assert not [message for message in run_checks() if "karla" in str(message.id)]


def test_the_check_finds_a_decorator_that_runs_before_the_verification() -> None:
    assert checked(require_POST(webhook(SECRET)(nothing))) == ["W002"]
    assert checked(webhook(SECRET)(require_POST(nothing))) == []


@pytest.mark.usefixtures("atomic_requests")
def test_the_check_finds_an_async_view_in_a_transaction() -> None:
    @webhook(SECRET)
    @transaction.non_atomic_requests
    async def free(request: HttpRequest, event: Event) -> None:
        """Leave it to the receiver's handlers."""

    assert checked(webhook(SECRET)(nothing_async)) == ["E001"]
    assert checked(free, webhook(SECRET)(nothing)) == []
    with routed(webhook(SECRET)(nothing_async)):
        assert knock_at(ASGIHandler(), signed_knock()).status == 500, "as the check says"


def test_a_stream_that_breaks_is_refused() -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError

    answer = deliver(webhook(SECRET)(nothing), signed_knock(environ={"wsgi.input": Broken()}))
    assert (answer.status, answer.reason) == (400, "body_incomplete")
