"""What a URL's host says by its text: whether it can be one, and whether it is this machine."""

from __future__ import annotations

from ipaddress import ip_address

__all__ = ["is_host", "is_loopback"]


def is_host(host: str | None) -> bool:
    """Return whether a name or address could be looked up: its labels have 1 to 63 characters."""
    try:
        return bool(host and host.encode("idna"))
    except UnicodeError:
        return False


def is_loopback(host: str | None) -> bool:
    """Return whether a host is certainly this machine.

    A name under .localhost is not: unlike RFC 6761 asks, many resolvers ask the network for it.
    """
    try:
        return ip_address(host or "").is_loopback
    except ValueError:
        return host == "localhost"
