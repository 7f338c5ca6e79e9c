"""Whether a request is for the webhook's path: exactly, below whatever the app is mounted at."""

from __future__ import annotations

from karla_receiver.errors import ConfigurationError

__all__ = ["DEFAULT_PATH", "below_root", "checked_path", "has_encoded_slash"]

DEFAULT_PATH = "/webhooks/karla"


def checked_path(path: str) -> str:
    """Return path. Raises ConfigurationError if no request could ever have it."""
    if not isinstance(path, str) or not path.startswith("/"):
        raise ConfigurationError(f"path must be text that starts with '/', as in {DEFAULT_PATH!r}")
    if any(mark in path for mark in "?#%") or path.split() != [path]:
        raise ConfigurationError("path is compared decoded: without query, '%', or blanks")
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
    """
    raw = target.encode("latin-1", "replace") if isinstance(target, str) else target
    return b"%2f" in raw.partition(b"?")[0].lower()
