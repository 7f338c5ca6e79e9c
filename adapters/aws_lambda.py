"""AWS Lambda behind API Gateway, a function URL or a load balancer. Needs no framework."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias, cast

from karla_receiver import (
    ConfigurationError,
    Event,
    Receiver,
    Request,
    RequestError,
    Response,
    views,
)
from karla_receiver.errors import Reason
from karla_receiver.runners import is_async
from karla_receiver.views import check_receiver

__all__ = ["Invocation", "LambdaHandler", "View", "endpoint", "to_request", "webhook"]

# What Lambda calls an event: the HTTP request, in one of four forms.
Invocation: TypeAlias = Mapping[str, Any]
LambdaHandler: TypeAlias = Callable[[Invocation, Any], Any]
# Called with Karla's event, and Lambda's context.
View: TypeAlias = Callable[[Any, Any], Any]


def webhook(*secrets: str | bytes | Receiver) -> Callable[[View], LambdaHandler]:
    """Make the decorated function a Lambda handler: it is called with each event and the context.

    secrets: one webhook secret; or several, while one replaces the other; or a Receiver, whose
    handlers are called before the function.
    The function may be async. What it returns is the response, in Lambda's form; None is the
    documented success; after any exception the answer is 500, and the exception is logged.
    Raises ConfigurationError for unusable secrets, and for a function that takes something else.
    What comes out raises ConfigurationError for an invocation that is no HTTP request.
    """
    try:
        return views.decorator(secrets, _handler, "event", "context")
    finally:
        del secrets  # so that no error report with local variables shows them


def endpoint(receiver: Receiver) -> LambdaHandler:
    """Make a Lambda handler of a receiver whose own handlers do everything.

    Raises ConfigurationError if receiver is not a Receiver.
    """
    return _handler(check_receiver(receiver), None)


def _handler(receiver: Receiver, view: View | None) -> LambdaHandler:
    def handle(invocation: Invocation, context: Any) -> Any:
        def call(event: Event) -> object:
            return cast("View", view)(event, context)

        async def call_async(event: Event) -> object:
            return await cast("View", view)(event, context)

        called = call_async if view and is_async(view) else call
        request = to_request(invocation)
        answer = views.receive(receiver, request, called if view else None, _status_of)
        return _to_response(answer, invocation) if isinstance(answer, Response) else answer

    return handle


def to_request(invocation: Invocation) -> Request:
    """Make a Request of an invocation by API Gateway (1.0, 2.0), a function URL or an ALB.

    Raises ConfigurationError if it was made by something else, as a queue or a schedule.
    """
    told = _mapping(invocation)
    origin = _mapping(told.get("requestContext"))
    method = _mapping(origin["http"]).get("method") if "http" in origin else told.get("httpMethod")
    if not isinstance(method, str) or not isinstance(told.get("body"), str | None):
        names = sorted(map(str, told)) or type(invocation).__name__
        raise ConfigurationError(
            "this function takes HTTP requests by API Gateway, a function URL or a load balancer;"
            f" it was invoked with an event of {names!a:.200}"
        )
    headers = _headers(invocation)
    # Only a load balancer listens on http too, and it sets the header itself.
    schemes = [value for name, value in headers if name.lower() == "x-forwarded-proto"]
    scheme = (schemes or ["http"])[-1] if "elb" in origin else "https"
    return Request(method, headers, _chunks(invocation), scheme)


def _mapping(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def _headers(invocation: Invocation) -> list[tuple[str, str]]:
    # The single-valued form, where both are there, has the last line only.
    several = _mapping(invocation.get("multiValueHeaders"))
    single = _mapping(invocation.get("headers"))
    lines = several or {name: [value] for name, value in single.items()}
    return [
        (name, value)
        for name, values in lines.items()
        if isinstance(values, list)
        for value in cast("list[object]", values)
        if isinstance(value, str)
    ]


def _chunks(invocation: Invocation) -> Iterator[bytes]:
    body: str = invocation.get("body") or ""
    if not invocation.get("isBase64Encoded"):
        # A lone surrogate was never sent: whatever its bytes, they do not verify.
        yield body.encode("utf-8", "surrogatepass")
        return
    try:
        yield base64.b64decode(body, validate=True)
    except ValueError:
        raise RequestError(Reason.BODY_INCOMPLETE, "not base64") from None


def _status_of(answer: Any) -> int:
    # What names no status is answered 200, with payload format 2.0.
    is_whole = isinstance(answer, dict) and "statusCode" in answer
    return int(cast("Any", answer)["statusCode"]) if is_whole else 200


def _to_response(response: Response, invocation: Invocation) -> dict[str, Any]:
    # The length is counted by whoever sends it.
    headers = {name: value for name, value in response.headers if name != "content-length"}
    answer: dict[str, Any] = {
        "statusCode": response.status,
        "statusDescription": f"{response.status} {response.phrase}",
        "headers": headers,
        "body": response.body.decode(),
        "isBase64Encoded": False,
    }
    if "headers" not in invocation:  # a load balancer that is set to several values
        answer["multiValueHeaders"] = {name: [value] for name, value in headers.items()}
        del answer["headers"]
    return answer
