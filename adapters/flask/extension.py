"""The extension: a receiver for each app, and what the app gives the receiver's handlers."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Final, TypeAlias, TypeVar, Unpack
from weakref import WeakSet

from flask import Flask, has_app_context
from flask.globals import app_ctx

from karla_receiver import ConfigurationError, Event, Receiver
from karla_receiver.adapters._settings import SettingsReceiver
from karla_receiver.adapters.flask.commands import commands
from karla_receiver.adapters.flask.views import FlaskView, endpoint
from karla_receiver.handlers.around import Around
from karla_receiver.outcomes import Handler
from karla_receiver.receiver import ReceiverOptions
from karla_receiver.signature.keys import SECRET_NAMES
from karla_receiver.views import check_receiver
from karla_receiver.views.paths import DEFAULT_PATH

__all__ = ["Karla"]

_HandlerT = TypeVar("_HandlerT", bound=Handler)
_AroundT = TypeVar("_AroundT", bound=Around)
_Registration: TypeAlias = Callable[[Receiver], object]

_TAKEN: Final[WeakSet[Receiver]] = WeakSet()  # the receivers that have an app


class Karla:
    """Handlers of deliveries, for one app or for each app of a factory.

    Every app has a receiver of its own, `app.extensions["karla"]`, with the app's secret. Handlers
    may be registered before `init_app` and after it.
    app: is given to `init_app`.
    """

    def __init__(self, app: Flask | None = None) -> None:
        # It only refuses what no receiver takes: nobody knows its secret.
        self._checking = Receiver(secrets.token_urlsafe(32))
        self._receivers: WeakSet[Receiver] = WeakSet()
        self._registrations: list[_Registration] = []
        if app is not None:
            self.init_app(app)

    def init_app(
        self,
        app: Flask,
        receiver: Receiver | None = None,
        *,
        path: str | None = DEFAULT_PATH,
        **options: Unpack[ReceiverOptions],
    ) -> Receiver:
        """Give the app a receiver with these handlers, and return it.

        The handlers are called in an application context: the present one of this app, as in a
        request, or else one of their own, as in a worker. The app gets the commands `flask karla`.
        receiver: your own, for no other app. None: one is made with KARLA_WEBHOOK_SECRET of
        app.config, or several KARLA_WEBHOOK_SECRETS, which are read when a delivery comes.
        path: the URL rule of its endpoint, whose name is "karla", and which Flask-WTF's
        CSRFProtect exempts; None: no rule, as for a view of your own or a KarlaMiddleware.
        options: as for `Receiver`, if one is made.
        Raises ConfigurationError for an unusable argument, for unusable secrets in app.config, for
        an app that has a receiver already, and for a receiver that has an app. If app.config has no
        secrets, each delivery raises it.
        """
        if "karla" in app.extensions:
            raise ConfigurationError("init_app was called with this app already")
        if path is not None and not (isinstance(path, str) and path.startswith("/")):
            raise ConfigurationError(
                f"path must be None, or text that starts with '/', as in {DEFAULT_PATH!r}"
            )
        receiver = _made_for(app, options) if receiver is None else _own(receiver, options)
        for registration in self._registrations:
            registration(receiver)
        receiver.around(_context_of(app), outermost=True)
        if path is not None:
            view = endpoint(receiver)
            app.add_url_rule(path, view_func=view, methods=["POST"])
            _exempt_from_tokens(app, view)
        app.cli.add_command(commands(receiver))
        app.extensions["karla"] = receiver
        self._receivers.add(receiver)
        _TAKEN.add(receiver)
        return receiver

    def on(self, *patterns: str, group: str | None = None) -> Callable[[_HandlerT], _HandlerT]:
        """Same as `Receiver.on`, for the receiver of every app."""

        def register(handler: _HandlerT) -> _HandlerT:
            self._register(lambda receiver: receiver.on(*patterns, group=group)(handler))
            return handler

        return register

    def around(self, function: _AroundT, *, outermost: bool = False) -> _AroundT:
        """Same as `Receiver.around`, for the receiver of every app."""
        self._register(lambda receiver: receiver.around(function, outermost=outermost))
        return function

    def _register(self, registration: _Registration) -> None:
        for receiver in (self._checking, *self._receivers):
            registration(receiver)
        self._registrations.append(registration)


def _made_for(app: Flask, options: ReceiverOptions) -> Receiver:
    def read() -> Mapping[str, object]:
        return app.config

    receiver = SettingsReceiver(read, "app.config", **options)
    if any(read().get(name) is not None for name in SECRET_NAMES):
        receiver.read_settings()
    return receiver


def _own(receiver: Receiver, options: ReceiverOptions) -> Receiver:
    if options:
        raise ConfigurationError("give the options to your Receiver, not to init_app")
    if check_receiver(receiver) in _TAKEN:
        raise ConfigurationError(
            "this receiver is of another app, in whose context its handlers are called: make one"
            " for each app, or have init_app make it"
        )
    return receiver


def _context_of(app: Flask) -> Around:
    def context(event: Event) -> AbstractContextManager[object]:
        is_there = has_app_context() and app_ctx.app is app
        return nullcontext() if is_there else app.app_context()

    return context


def _exempt_from_tokens(app: Flask, view: FlaskView) -> None:
    def exempt() -> None:
        if "csrf" in app.extensions and hasattr(app.extensions["csrf"], "exempt"):
            app.extensions["csrf"].exempt(view)

    exempt()
    app.before_request(exempt)  # before a protection that the app gets later
