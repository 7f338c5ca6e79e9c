"""Where to listen and where to deliver: on this machine, unless told otherwise."""

from __future__ import annotations

import errno
import socket
from typing import Final
from urllib.parse import urlsplit

import httpx2

from karla_receiver import ConfigurationError
from karla_receiver.checks import is_host, is_loopback
from karla_receiver.views.paths import DEFAULT_PATH

__all__ = ["DEFAULT_PORT", "DEFAULT_URL", "checked_url", "listening", "webhook_url"]

DEFAULT_PORT: Final = 8765
DEFAULT_URL: Final = f"http://127.0.0.1:{DEFAULT_PORT}{DEFAULT_PATH}"


def webhook_url(host: str, port: int) -> str:
    """Return the URL of a receiver that listens there."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}{DEFAULT_PATH}"


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens there. Raises ConfigurationError if that cannot be."""
    if not is_host(host):
        raise ConfigurationError(f"--host {host!a} is no address to listen at")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named, or asyncio does not know that it may switch off Nagle's algorithm.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        # Otherwise the port stays taken for a minute after each session.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen()
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigurationError(
                f"port {port} of {host} is in use: choose another with --port, or --port 0 for any"
            ) from None
        raise ConfigurationError(
            f"cannot listen at {host}, port {port}: {error.strerror}"
        ) from None
    return listener


def checked_url(url: str, *, allow_remote: bool) -> str:
    """Return url. Raises ConfigurationError if it is none, or leads off this machine."""
    host = _host_in(url)
    if host is None:
        raise ConfigurationError(
            f"--to {url!a} is no URL to deliver to: give one such as {DEFAULT_URL}"
        )
    if not (allow_remote or is_loopback(host)):
        raise ConfigurationError(
            f"--to {url!a} leads to another machine: add --allow-remote if that is meant"
        )
    return url


def _host_in(url: str) -> str | None:
    """Return the host of a URL that can be delivered to; None if it is none."""
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in ("http", "https") and parts.port != 0
        httpx2.URL(url)
    except (ValueError, httpx2.InvalidURL):
        return None
    # urlsplit() removes a tab or a line end without a word.
    return parts.hostname if is_usable and url.isprintable() and is_host(parts.hostname) else None
