"""Which requests are for the webhook: at its path exactly, or at any that may lead to its view."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from unicodedata import normalize
from urllib.parse import unquote

from karla_receiver.checks import checked_bool
from karla_receiver.errors import ConfigurationError, Reason, SignatureError
from karla_receiver.events import Event
from karla_receiver.observing.logs import logger, quoted
from karla_receiver.receiver import Receiver
from karla_receiver.request import SUCCESS, Response

__all__ = [
    "DEFAULT_PATH",
    "EVENT",
    "HEALTH_PATH",
    "ExactPath",
    "HealthCheck",
    "ViewPath",
    "below_root",
    "require_event",
    "webhook_path",
]

DEFAULT_PATH = "/webhooks/karla"
HEALTH_PATH = "/healthz"
EVENT = "karla.event"  # where a forwarded app finds it, in its scope or environ

# Servers decode once, some frameworks once more. A path that needs more decodings is verified.
_MOST_DECODINGS = 4

_UTF_16 = re.compile(r"%u([0-9a-f]{4})", re.IGNORECASE)  # as IIS and old JavaScript encode
_OTHERS = re.compile(r"[\W_]+")
_DIGIT = re.compile(r"\d")


def checked_path(path: str) -> str:
    """Return path. Raises ConfigurationError if no request could ever have it."""
    if not isinstance(path, str) or not path.startswith("/"):
        raise ConfigurationError(f"path must be text that starts with '/', as in {DEFAULT_PATH!r}")
    if any(mark in path for mark in "?#%\\") or path.split() != [path] or not path.isprintable():
        raise ConfigurationError("path is compared decoded: without query, '%', '\\', or blanks")
    if "//" in path or {".", ".."} & set(path.split("/")):
        raise ConfigurationError("path has an empty part, '.' or '..', which clients resolve")
    return path


def below_root(path: str, root: str) -> str:
    """Return an ASGI path without the root_path that the app is mounted at.

    Servers and frameworks differ in whether path holds root_path; ASGI says that it does.
    """
    if not root:
        return path
    root = root.rstrip("/")
    if root and path.startswith(root):
        rest = path[len(root) :]
        if not rest or rest.startswith("/"):
            return rest
    return path


def _has_encoded_slash(target: str | bytes) -> bool:
    """Return whether a path, as it came on the wire, has a slash that is only there decoded.

    Proxies that guard a path compare it undecoded, so the decoded form must not be taken for it.
    target: the path with its query, or a whole URL (RFC 9112, 3.2.2).
    """
    raw = target.encode("latin-1", "replace") if isinstance(target, str) else target
    if b"%" not in raw:
        return False
    path = raw.partition(b"?")[0].lower()
    if not path.startswith(b"/"):
        path = path.partition(b"://")[2].partition(b"/")[2]
    return b"%2f" in path


class ExactPath:
    """The path at which a receiver answers by itself: compared exactly."""

    def __init__(self, path: str) -> None:
        self._path = path

    def matches(self, method: str, path: str, root: str, target: str | bytes) -> bool:
        """Return whether a request is for the webhook.

        path, root: below where the app is mounted, and where that is.
        target: the path as it came on the wire, or empty if the server does not tell.
        """
        if path == self._path:
            return not _has_encoded_slash(target)
        if method == "POST" and path.replace("/", "") == self._path.replace("/", ""):
            logger.warning(
                "a POST to %s went on to the app: the webhook's path is %s, and slashes count",
                quoted(path),
                quoted(self._path),
            )
        return False


class ViewPath:
    """The path of a view behind the middleware, and every path that could lead to that view.

    Routers differ in the spellings they accept, and no list of spellings is complete. So a path
    could lead to the view if it holds the letters and digits of each part of the view's path, in
    order.
    """

    def __init__(self, path: str) -> None:
        self._parts = _parts(path)

    def matches(self, method: str, path: str, root: str, target: str | bytes) -> bool:
        """Return whether some router could lead a request to the view: see `ExactPath`.

        Frameworks differ in whether root is a part of the path, so both count. A root such as
        /karla-shop holds the letters of the view by accident. It does not count, or the whole
        shop would be closed.
        """
        if root and self._is_held_by(root) and _parts(root)[-len(self._parts) :] != self._parts:
            root = ""
        return self._is_held_by(root + path)

    def _is_held_by(self, path: str) -> bool:
        # Some frameworks take a path that is not UTF-8 for Latin-1.
        spellings = [path] if path.isascii() else [path, _as_latin_1(path)]
        return any(self._is_in(reading) for each in spellings for reading in _readings(each))

    def _is_in(self, path: str | None) -> bool:
        if path is None:
            return True
        kept = _letters_and_digits(path)
        end = 0
        for part in self._parts:
            start = kept.find(part, end)
            if start < 0:
                return False
            end = start + len(part)
        return True


def webhook_path(path: str | None, receiver: Receiver, forward: bool) -> ExactPath | ViewPath:
    """Return the path of a middleware, "/webhooks/karla" unless given.

    forward: whether the app behind has a view there, which then wants every event.
    Raises ConfigurationError for a path that no request could ever have, for a forwarding
    middleware whose path is not given, and as `Receiver.want` does.
    """
    if not checked_bool("forward", forward):
        return ExactPath(checked_path(DEFAULT_PATH if path is None else path))
    if path is None:
        raise ConfigurationError("forward=True needs the view's path, as in path='/webhooks/karla'")
    receiver.want("*")
    return ViewPath(checked_path(path))


def _as_latin_1(path: str) -> str:
    return path.encode("utf-8", "surrogateescape").decode("latin-1")


def _readings(path: str) -> Iterator[str | None]:
    """Yield path as it came and after each further decoding; None if too many are left."""
    for _ in range(_MOST_DECODINGS):
        yield path
        if "%" not in path:
            return
        decoded = unquote(_UTF_16.sub(lambda unit: chr(int(unit[1], 16)), path), errors="ignore")
        if decoded == path:
            return
        path = decoded
    yield None


def _parts(path: str) -> list[str]:
    return [kept for part in path.split("/") if (kept := _letters_and_digits(part))]


def _letters_and_digits(text: str) -> str:
    """Return only the letters and digits of text, folded to their plainest form."""
    # A mark that is a letter in the other case.
    kept = _OTHERS.sub("", text.replace("\u0345", "\u03b9")).casefold()
    if kept.isascii():
        return kept
    # To a pattern that ignores case, a dotless i is an i.
    folded = normalize("NFKD", kept).casefold().replace("\u0131", "i")
    return _OTHERS.sub("", _DIGIT.sub(lambda digit: str(int(digit[0])), folded))


def require_event(request: Mapping[str, object]) -> Event:
    """Return the event of the verified delivery that a request carries: a forwarded view's guard.

    request: the WSGI environ or the ASGI scope, as the app got it.
    Raises SignatureError with missing_signature, whose status is 401, if there is none: the
    request reached the view past `KarlaMiddleware(..., forward=True)`.
    """
    event = request.get(EVENT)
    if not isinstance(event, Event):
        raise SignatureError(
            Reason.MISSING_SIGNATURE,
            "the request has no verified event: it has not come through KarlaMiddleware with"
            " forward=True and the path of this view",
        )
    return event


class HealthCheck:
    """Answers a GET or HEAD of one path, for a load balancer to see that the server is up.

    path: below the mount point; None for no such path.
    Raises ConfigurationError if no request could ever have it.
    """

    def __init__(self, path: str | None) -> None:
        self._path = None if path is None else checked_path(path)

    def answer(self, method: str, path: str) -> Response | None:
        """Return what to answer a health check; None for any other request."""
        if path != self._path or method not in {"GET", "HEAD"}:
            return None
        return SUCCESS if method == "GET" else SUCCESS.without_body()
