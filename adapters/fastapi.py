"""FastAPI: a router whose path functions receive events. Needs the extra `fastapi`.

A delivery is verified before FastAPI looks at the request: dependencies, those of the app and of
its routers too, run for genuine deliveries only, and may read the body again.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from inspect import signature
from typing import Annotated, Any, ClassVar

from fastapi import APIRouter, Depends
from fastapi import Request as FastAPIRequest
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute
from starlette.types import Receive, Scope, Send

from karla_receiver import ConfigurationError, Event, Receiver, views
from karla_receiver.adapters import _openapi, starlette
from karla_receiver.adapters.asgi import forward, stop_worker
from karla_receiver.adapters.starlette import Answering
from karla_receiver.handlers.routing import refuse_generator
from karla_receiver.request import SUCCESS
from karla_receiver.views import check_receiver
from karla_receiver.views.paths import DEFAULT_PATH, EVENT

__all__ = ["KarlaEvent", "KarlaRouter", "current_event", "endpoint"]


def current_event(request: FastAPIRequest) -> Any:
    """Return the event of the request, verified: a dependency, as in Depends(current_event).

    Raises ConfigurationError on a route that does not belong to a `KarlaRouter`.
    """
    try:
        return request.scope[EVENT]
    except KeyError:
        raise ConfigurationError(
            "nothing has verified this request: make the route with a KarlaRouter, as in"
            " @router.post(path), and include the router"
        ) from None


# The type of a path function's parameter.
KarlaEvent = Annotated[Event, Depends(current_event)]


class _Success(JSONResponse):
    def render(self, content: Any) -> bytes:
        return SUCCESS.body if content is None else super().render(content)


class _Route(APIRoute):
    receiver: ClassVar[Receiver]

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        if set(options.get("methods") or ["GET"]) != {"POST"}:
            raise ConfigurationError("deliveries are POSTed: write @router.post(path)")
        refuse_generator(endpoint, "a path function")  # which FastAPI would make a stream of
        if signature(endpoint).return_annotation in (None, "None"):
            options["response_model"] = None  # or some versions document null
        options["openapi_extra"] = {**_openapi.operation(), **(options.get("openapi_extra") or {})}
        options["responses"] = {**_openapi.responses(), **(options.get("responses") or {})}
        super().__init__(path, endpoint, **options)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        # The app's own handlers of exceptions answer within: what counts is what they answer.
        await Answering(partial(forward, super().handle, self.receiver))(scope, receive, send)


class _Endpoint(_Route):
    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        self._serve = starlette.endpoint(self.receiver)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._serve(scope, receive, send)


class _Routes(list[BaseRoute]):
    def append(self, route: BaseRoute) -> None:
        if not isinstance(route, _Route):
            raise ConfigurationError(
                "this router verifies what comes to @router.post(path) alone: make other routes,"
                " mounts and routers with an APIRouter, or the app"
            )
        super().append(route)


class _Router(APIRouter):
    def __init__(
        self, receiver: Receiver, options: dict[str, Any], kind: type[_Route] = _Route
    ) -> None:
        for name in {"route_class", "routes"} & options.keys():
            raise ConfigurationError(
                f"{name} would bring routes that verify nothing: wrap the path functions, or use a"
                " dependency"
            )
        # A class of its own: routers that include this one make its routes anew, from their class.
        route_class = type(kind.__name__, (kind,), {"receiver": receiver})
        default: dict[str, Any] = {"route_class": route_class, "default_response_class": _Success}
        super().__init__(**{**default, **options})
        self.routes: list[BaseRoute] = _Routes()


class KarlaRouter(_Router):
    """A router whose routes receive deliveries; make them with @router.post(path).

    A path function is called with each verified event, if it has a parameter of the type
    `KarlaEvent`, and may have others. What it returns is the response; None is the documented
    success. An HTTPException, or a parameter that does not validate, is answered as usual; after
    any other exception the answer is 500, and the exception is logged.
    secrets: one webhook secret; or several, while one replaces the other; or a Receiver, whose
    handlers are called before the path function.
    options: as for an APIRouter, without route_class and routes.
    Raises ConfigurationError for unusable secrets, for a route of another method or make, and for a
    path function that is a generator.
    """

    def __init__(self, *secrets: str | bytes | Receiver, **options: Any) -> None:
        try:
            receiver = views.to_receiver(secrets)
        finally:
            del secrets  # so that no error report with local variables shows them
        receiver.want("*")
        super().__init__(receiver, options)


def endpoint(receiver: Receiver, path: str = DEFAULT_PATH, **options: Any) -> APIRouter:
    """Make a router with one route, for a receiver whose handlers do everything: include it.

    Dependencies of the app and its routers are not called. They belong to path functions. An
    inbox's worker finishes before the app's lifespan ends.
    path: may capture something, as in "/webhooks/{shop}".
    options: as for an APIRouter, without dependencies, lifespan, route_class and routes.
    Raises ConfigurationError for one of these, and if receiver is not a Receiver.
    """
    check_receiver(receiver)
    if options.get("dependencies"):
        raise ConfigurationError(
            "endpoint(receiver) has no path function that could need dependencies: put what belongs"
            " around the handlers into receiver.around, or write a path function for a KarlaRouter"
        )
    if "lifespan" in options:
        raise ConfigurationError("give the lifespan to the app, as in FastAPI(lifespan=lifespan)")

    @asynccontextmanager
    async def lifespan(app: object) -> AsyncGenerator[None]:
        receiver.note_loop()
        try:
            yield
        finally:
            await stop_worker(receiver)

    router = _Router(receiver, {**options, "lifespan": lifespan}, _Endpoint)

    @router.post(path)
    def receive_delivery() -> None:
        """Receive an event from Karla."""

    return router
