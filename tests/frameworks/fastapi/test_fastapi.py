from __future__ import annotations

import inspect
import json
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, BackgroundTasks, Body, Depends, FastAPI, Header, HTTPException
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response, StreamingResponse
from fastapi.routing import APIRoute
from starlette.routing import Route

from karla_receiver import ConfigurationError, Receiver, ShipmentEvent
from karla_receiver.adapters.fastapi import (
    KarlaEvent,
    KarlaRouter,
    current_event,
    endpoint,
)
from karla_receiver.errors import STATUS
from karla_receiver.idempotency import MemoryStore
from tests.asgi_server import knock_at, serve
from tests.doors import PATH, asgi_scope, logged_reasons, signed_knock
from tests.observed import Keeper
from tests.signing import BODY, SECRET


def app_with(router: APIRouter, **options: Any) -> FastAPI:
    app = FastAPI(**options)
    app.include_router(router)
    return app


def test_a_path_function_may_have_parameters_of_its_own_and_read_the_body_again() -> None:
    router = KarlaRouter(SECRET)

    @router.post("/{shop}/karla")
    def view(
        shop: str,
        event: KarlaEvent,
        parsed: Annotated[dict[str, Any], Body()],
        content_type: Annotated[str, Header()],
        length: int = 1,
    ) -> dict[str, Any]:
        return {"same": parsed == event.raw, "given": [shop, content_type, length]}

    scope = asgi_scope(signed_knock(query="length=7"), "/nordlicht/karla")
    _, sent = serve(app_with(router), scope, iter([{"type": "http.request", "body": BODY}]))

    assert json.loads(sent["body"]) == {"same": True, "given": ["nordlicht", "application/json", 7]}


def test_a_parameter_that_does_not_validate_is_answered_as_usual_and_is_no_success(
    caplog: pytest.LogCaptureFixture,
) -> None:
    keeper = Keeper()
    router = KarlaRouter(Receiver(SECRET, observer=keeper))

    @router.post(PATH)
    def view(event: KarlaEvent, length: int) -> None:
        """Never called."""

    answer = knock_at(app_with(router), signed_knock(query="length=x"))
    assert (answer.status, answer.reason) == (422, "handler_error")
    assert json.loads(answer.body)["detail"][0]["loc"] == ["query", "length"]
    assert [seen.status for seen in keeper.told] == [422]
    assert "handler_error (status 422," in caplog.text


def test_dependencies_run_for_genuine_deliveries_only() -> None:
    calls: list[str] = []

    def forbid() -> None:
        calls.append("called")
        raise HTTPException(403)

    app = app_with(endpoint(Receiver(SECRET), "/by-handlers"))
    guarded = KarlaRouter(SECRET, dependencies=[Depends(forbid)])

    @guarded.post(PATH)
    def view() -> None:
        """Never called."""

    app.include_router(guarded)
    forged = signed_knock(secret="another")

    assert knock_at(app, forged).status == 401
    assert calls == []
    assert knock_at(app, signed_knock()).status == 403
    assert calls == ["called"]


def test_a_delivery_meets_the_apps_middleware_before_and_its_dependencies_after_verification() -> (
    None
):
    order: list[str] = []
    router = KarlaRouter(SECRET)

    @router.post(PATH)
    def view(event: KarlaEvent) -> None:
        order.append("view")

    app = app_with(router, dependencies=[Depends(lambda: order.append("dependency"))])

    @app.middleware("http")
    async def middleware(request: Any, call_next: Any) -> Any:
        order.append("middleware")
        return await call_next(request)

    assert knock_at(app, signed_knock(secret="another")).status == 401
    assert order == ["middleware"]
    assert knock_at(app, signed_knock()).status == 200
    assert order[1:] == ["middleware", "dependency", "view"]


# Since 0.121 a dependency may end with the path function, and not only with the request.
HAS_SCOPES = "scope" in inspect.signature(Depends).parameters
SCOPES: list[dict[str, Any]] = [{}, {"scope": "function"}][: 1 + HAS_SCOPES]


@pytest.mark.parametrize("scope", SCOPES, ids=str)
@pytest.mark.parametrize("error", [OSError("no commit"), HTTPException(409)], ids=repr)
def test_a_delivery_whose_dependency_fails_after_its_yield_is_handled_anew(
    scope: dict[str, Any], error: Exception
) -> None:
    router = KarlaRouter(Receiver(SECRET, idempotency=MemoryStore()))
    errors = [error]
    calls: list[KarlaEvent] = []

    def session() -> Generator[None]:
        yield
        if errors:
            raise errors.pop()

    @router.post(PATH, dependencies=[Depends(session, **scope)])
    def view(event: KarlaEvent) -> None:
        calls.append(event)

    app = app_with(router)
    failed, *others = [knock_at(app, signed_knock()).status for _ in range(3)]
    # FastAPI itself has no answer to an HTTPException once the response is made.
    assert failed in {500, getattr(error, "status_code", 500)}
    assert others == [200, 200]
    assert len(calls) == 2


def test_a_dependency_sees_the_exception_of_a_path_function_and_cannot_make_it_a_success() -> None:
    router = KarlaRouter(SECRET)
    seen: list[Exception] = []

    def session() -> Generator[None]:
        try:
            yield
        except LookupError as error:  # and does not raise it again
            seen.append(error)

    @router.post(PATH, dependencies=[Depends(session)])
    def view() -> None:
        raise LookupError

    answer = knock_at(app_with(router), signed_knock())
    assert (answer.status, answer.reason) == (500, "handler_error")
    assert len(seen) == 1


def test_a_delivery_whose_background_task_fails_is_handled_anew() -> None:
    router = KarlaRouter(Receiver(SECRET, idempotency=MemoryStore()))
    errors = [OSError("no mail")]

    def fail_once() -> None:
        if errors:
            raise errors.pop()

    @router.post(PATH)
    def view(tasks: BackgroundTasks) -> None:
        tasks.add_task(fail_once)

    app = app_with(router)
    failed = knock_at(app, signed_knock())
    assert (failed.status, failed.reason) == (500, "handler_error")
    assert knock_at(app, signed_knock()).status == 200


def test_a_stream_is_sent_when_it_has_ended() -> None:
    router = KarlaRouter(SECRET)

    async def stream() -> AsyncGenerator[bytes]:
        yield b"all of "
        yield b"it"

    @router.post(PATH)
    def view() -> StreamingResponse:
        return StreamingResponse(stream())

    answer = knock_at(app_with(router), signed_knock())
    assert (answer.status, answer.body) == (200, b"all of it")


def test_what_the_apps_own_exception_handler_answers_is_what_counts() -> None:
    keeper = Keeper()
    router = KarlaRouter(Receiver(SECRET, idempotency=MemoryStore(), observer=keeper))

    @router.post(PATH)
    def view(length: int) -> None:
        raise LookupError

    app = app_with(router)

    @app.exception_handler(RequestValidationError)
    def not_valid(request: Any, error: Exception) -> Response:
        return Response(status_code=418)

    @app.exception_handler(LookupError)
    def not_found(request: Any, error: Exception) -> Response:
        return Response(status_code=202)

    queries = ["length=x", "length=1", "length=1"]
    statuses = [knock_at(app, signed_knock(query=query)).status for query in queries]
    assert statuses == [418, 202, 200]
    assert [seen.status for seen in keeper.told] == statuses
    assert [seen.is_duplicate for seen in keeper.told] == [False, False, True]


def test_a_router_may_be_included_by_others_under_a_prefix() -> None:
    events: list[Any] = []
    receiver = Receiver(SECRET)
    receiver.on("shipments")(events.append)
    outer = APIRouter(prefix="/shop")
    outer.include_router(endpoint(receiver))
    app = app_with(outer)

    assert knock_at(app, signed_knock()).status == 404
    scope = asgi_scope(signed_knock(), "/shop" + PATH)
    start, _ = serve(app, scope, iter([{"type": "http.request", "body": BODY}]))
    assert start["status"] == 200
    assert isinstance(events[0], ShipmentEvent)


def test_an_endpoint_needs_nothing_of_the_apps_dependencies() -> None:
    def forbid() -> None:
        raise HTTPException(403)

    app = app_with(endpoint(Receiver(SECRET)), dependencies=[Depends(forbid)])
    assert knock_at(app, signed_knock()).status == 200
    assert knock_at(app, signed_knock(secret="another")).status == 401
    with pytest.raises(ConfigurationError, match=r"put .* into receiver\.around"):
        endpoint(Receiver(SECRET), dependencies=[Depends(forbid)])


def test_an_endpoint_leaves_the_lifespan_to_the_app() -> None:
    with pytest.raises(ConfigurationError, match="give the lifespan to the app"):
        endpoint(Receiver(SECRET), lifespan=None)


def test_a_receiver_with_handlers_only_wants_no_more_than_they_do() -> None:
    receiver = Receiver(SECRET)
    receiver.on("claims")(print)
    endpoint(receiver)

    assert receiver.enabled_events == ["claims"]


def test_other_methods_at_the_path_are_left_to_other_routes() -> None:
    app = app_with(endpoint(Receiver(SECRET)))

    @app.get(PATH)
    def page() -> str:
        return "a page"

    assert knock_at(app, signed_knock(method="GET")).status == 200
    refused = knock_at(app, signed_knock(method="PUT"))
    assert (refused.status, refused.reason) == (405, "method_not_allowed")


def test_a_middleware_may_have_read_the_body() -> None:
    app = app_with(endpoint(Receiver(SECRET)))

    @app.middleware("http")
    async def read_first(request: Any, call_next: Any) -> Any:
        await request.body()
        return await call_next(request)

    assert knock_at(app, signed_knock()).status == 200


@pytest.mark.parametrize("router", [KarlaRouter(SECRET), endpoint(Receiver(SECRET), "/own")])
def test_a_client_that_goes_away_is_no_error_under_middleware_that_insists_on_an_answer(
    router: APIRouter,
) -> None:
    app = FastAPI()
    if isinstance(router, KarlaRouter):
        router.post("/own")(lambda: None)
    app.include_router(router)

    @app.middleware("http")
    async def pass_on(request: Any, call_next: Any) -> Any:
        return await call_next(request)

    half = {"type": "http.request", "body": BODY[:9], "more_body": True}
    messages = iter([half, {"type": "http.disconnect"}])
    with logged_reasons() as reasons:
        sent = serve(app, asgi_scope(signed_knock(), "/own"), messages)
    assert (sent, reasons) == ([], ["client_disconnected"])


def test_the_event_cannot_be_had_where_nothing_has_verified_it() -> None:
    app = FastAPI()

    @app.post(PATH)
    def view(event: KarlaEvent) -> None:
        """Never called."""

    with pytest.raises(ConfigurationError, match="make the route with a KarlaRouter"):
        knock_at(app, signed_knock())


def test_a_route_that_no_delivery_reaches_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"@router\.post"):
        KarlaRouter(SECRET).get(PATH)(lambda: None)
    with pytest.raises(ConfigurationError, match="expected a Receiver"):
        endpoint(SECRET)  # type: ignore[arg-type]


class TimedRoute(APIRoute):
    """A route as others make them, which verifies nothing."""


def unverified(*_: Any) -> None:
    """Never called."""


@pytest.mark.parametrize(
    "make",
    [lambda **o: KarlaRouter(SECRET, **o), lambda **o: endpoint(Receiver(SECRET), **o)],
)
@pytest.mark.parametrize(
    "option", [{"route_class": TimedRoute}, {"routes": [Route(PATH, unverified)]}], ids=str
)
def test_an_option_that_brings_routes_of_another_make_is_refused(
    make: Callable[..., APIRouter], option: dict[str, Any]
) -> None:
    with pytest.raises(ConfigurationError, match=f"{next(iter(option))} would bring routes"):
        make(**option)


def router_with_a_route() -> APIRouter:
    router = APIRouter()
    router.post(PATH)(lambda: None)
    return router


@pytest.mark.parametrize(
    "add",
    [
        lambda router: router.include_router(router_with_a_route()),
        lambda router: router.add_api_route(
            PATH, unverified, methods=["POST"], route_class_override=TimedRoute
        ),
        lambda router: router.add_route(PATH, unverified),
        lambda router: router.websocket(PATH)(unverified),
        lambda router: router.add_websocket_route(PATH, unverified),
        lambda router: router.mount(PATH, unverified),
        lambda router: router.host("shop.example", unverified),
    ],
    ids=["router", "route class", "route", "websocket", "plain websocket", "mount", "host"],
)
@pytest.mark.parametrize("router", [KarlaRouter(SECRET), endpoint(Receiver(SECRET), "/own")])
def test_a_router_refuses_what_it_would_not_verify(
    router: APIRouter, add: Callable[[APIRouter], Any]
) -> None:
    with pytest.raises(ConfigurationError, match=r"verifies what comes to @router\.post"):
        add(router)


# --- what is documented --------------------------------------------------------------------------


def operation(app: FastAPI, path: str = PATH) -> dict[str, Any]:
    (method,) = app.openapi()["paths"][path]
    assert method == "post"
    found: dict[str, Any] = app.openapi()["paths"][path]["post"]
    return found


def documented(**options: Any) -> dict[str, Any]:
    router = KarlaRouter(SECRET)

    @router.post(PATH, **options)
    async def on_karla_event(event: Annotated[Any, Depends(current_event)]) -> None:
        """Act on an event."""

    return operation(app_with(router))


def test_the_signature_and_the_body_are_documented() -> None:
    found = documented()
    (header,) = found["parameters"]
    schema = found["requestBody"]["content"]["application/json"]["schema"]

    assert (header["name"], header["in"], header["required"]) == ("Karla-Signature", "header", True)
    assert found["description"] == "Act on an event."
    assert found["requestBody"]["required"] is True
    assert schema["required"] == ["event_group"]
    shipment, claim, other = schema["properties"]["event_data"]["anyOf"]
    assert shipment["required"] == ["shipment_id"]
    assert claim["properties"]["selected_items"]["items"]["properties"]["sku"]
    assert other == {"type": ["object", "null"]}
    assert "$ref" not in json.dumps(schema)


def test_every_answer_is_documented_and_no_other() -> None:
    found = documented()["responses"]

    assert set(found) == {"200", *(str(status) for status in STATUS.values() if status)}
    assert found["200"]["content"]["application/json"]["example"] == {"status": "success"}
    reasons = {"invalid_json", "invalid_envelope", "bad_content_length", "body_incomplete"}
    for status, answer in found.items():
        if status != "200":
            (kind,) = answer["content"]
            assert kind == "application/problem+json"
    problem = found["400"]["content"]["application/problem+json"]["schema"]
    assert set(problem["properties"]["reason"]["enum"]) == reasons
    assert (
        "reason" not in found["401"]["content"]["application/problem+json"]["schema"]["properties"]
    )
    assert found["405"]["headers"]["Allow"]["example"] == "POST"
    assert set(found["503"]["headers"]) == {"Retry-After"}


def test_what_a_route_says_of_itself_counts() -> None:
    found = documented(
        openapi_extra={"x-mine": True}, responses={401: {"description": "mine"}}, summary="S"
    )
    assert (found["x-mine"], found["summary"]) == (True, "S")
    assert found["responses"]["401"]["description"] == "mine"
    assert found["parameters"]


def test_a_router_of_handlers_is_documented_alike() -> None:
    found = operation(app_with(endpoint(Receiver(SECRET), tags=["karla"])))

    assert found["tags"] == ["karla"]
    assert found["responses"] == documented()["responses"]
    assert found["responses"]["200"]["content"]["application/json"]["schema"] == {}


def test_the_document_is_valid_for_readers_that_check_it() -> None:
    document = app_with(endpoint(Receiver(SECRET))).openapi()
    assert document["openapi"].startswith("3.1")
    assert json.loads(json.dumps(document)) == document


def test_a_path_function_that_is_a_generator_is_refused() -> None:
    router = KarlaRouter(SECRET)

    async def late(event: KarlaEvent) -> Any:
        yield event

    def sync_late(event: KarlaEvent) -> Any:
        yield event

    for function in (late, sync_late):
        with pytest.raises(ConfigurationError, match="a path function must do its work"):
            router.post(PATH)(function)
