"""Whether a request is for the webhook's path: exactly, or as some router might spell it."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from karla_receiver.errors import ConfigurationError

__all__ = [
    "DEFAULT_PATH",
    "below_root",
    "checked_path",
    "has_encoded_slash",
    "may_lead_to",
    "path_names",
]

DEFAULT_PATH = "/webhooks/karla"

# Servers decode once; some frameworks and rewriting middlewares once more.
_MOST_DECODINGS = 3

_END = re.compile(r"[?#]")
_PARAMETERS = re.compile(r"[;?#][^/]*")
# The last two a pattern that ignores case takes for an i, and casefold() does not.
_LETTERS = str.maketrans({"\\": "/", " ": "", "\ufffd": "", "\u0130": "i", "\u0131": "i"})


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
    if root and path.startswith(root):
        rest = path[len(root) :]
        if not rest or rest.startswith("/"):
            return rest
    return path


def has_encoded_slash(target: str | bytes) -> bool:
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


def path_names(path: bytes) -> list[str]:
    """Return the names in a path, without all in which routers may differ, for `may_lead_to`.

    Routers differ in what they merge, drop and ignore: doubled slashes, one at the end, dots,
    letter case, parameters after ';', what is no UTF-8, control characters (a '$' in a pattern
    matches before a last newline), further percent-encoding. All of it goes, but for '..'.
    """
    for _ in range(_MOST_DECODINGS):
        if b"%" not in path:
            break
        path = unquote_to_bytes(path)
    # Without what is no UTF-8, which some drop and others replace by U+FFFD.
    text = path.decode("utf-8", "ignore").translate(_LETTERS).casefold()
    if not text.isprintable():
        text = "".join(filter(str.isprintable, text))
    names = _names(text)
    # An encoded '?' or '#' ends the path for who puts a URL together and takes it apart again.
    end = _END.search(text)
    return names if end is None or ".." in names else _names(text[: end.start()])


def may_lead_to(view: list[str], path: bytes, root: bytes) -> bool:
    """Return whether some router might lead a path to the view of these names.

    root: where the app is mounted. Frameworks cut it off, some at its first occurrence, and some
    without asking for a slash behind it. What has no slash in front some take for a URL.
    """
    if path and not path.startswith(b"/"):
        return True
    rest = path.split(root, 1)[-1] if root else path
    spellings = {path, rest, rest.split(b":", 1)[-1]}
    return any(_end_as(view, path_names(each)) for each in spellings)


def _end_as(view: list[str], path: list[str]) -> bool:
    """Return whether the names in a path end as those of the view.

    What stands before the view's names may be where an app is mounted, or a host. A '..' takes
    along the name before it, and which that is depends on what a router has dropped by then. So
    with a '..' it is enough that the view's names are there, in order.
    """
    if ".." in path:
        rest = iter(path)
        return all(name in rest for name in view)
    return path[-len(view) :] == view if view else not path


def _names(text: str) -> list[str]:
    return [name for name in _PARAMETERS.sub("", text).split("/") if name not in {"", "."}]
