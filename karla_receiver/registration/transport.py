"""Sending a call over HTTP, and waiting between two attempts."""

from __future__ import annotations

import ssl
import time
from importlib.metadata import version
from typing import Any, Final, TypedDict

import httpx2

from karla_receiver.errors import ConfigurationError
from karla_receiver.registration.calls import Call
from karla_receiver.registration.credentials import Credentials
from karla_receiver.registration.responses import APIResponse, CallResult, NoResponse

__all__ = ["Transport"]

_HEADERS: Final = {
    "Accept": "application/json",
    "User-Agent": f"karla-receiver/{version('karla-receiver')}",
}

# Raised before anything of a request was sent.
_UNSENT: Final = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.LocalProtocolError,
    httpx2.UnsupportedProtocol,
)
# The next attempt would be raised the same for.
_LASTING: Final = (httpx2.LocalProtocolError, httpx2.UnsupportedProtocol)


# The text of these errors is mostly empty.
_TIME_OUTS: Final[dict[type[Exception], str]] = {
    httpx2.ConnectTimeout: "no connection in time",
    httpx2.PoolTimeout: "no free connection in time",
    httpx2.ReadTimeout: "nothing came in time",
    httpx2.WriteTimeout: "could not send in time",
}


class _Options(TypedDict):
    auth: httpx2.BasicAuth
    timeout: float
    headers: dict[str, str]
    trust_env: bool
    follow_redirects: bool
    verify: bool | ssl.SSLContext


class Transport:
    """Sends from any thread. Raises ConfigurationError when it was closed before."""

    def __init__(self, credentials: Credentials, timeout: float) -> None:
        self._client = httpx2.Client(**_options(credentials, timeout))

    def send(self, call: Call) -> CallResult:
        """Send a call, once, and return what came of it: a value, whatever it is."""
        _check_open(self._client)
        try:
            return _response(
                self._client.request(call.method, call.url, params=call.query, **_content(call))
            )
        except httpx2.HTTPError as error:
            return _no_response(error)

    def wait(self, seconds: float) -> None:
        """Sleep."""
        time.sleep(seconds)

    def close(self) -> None:
        """Close all connections."""
        self._client.close()


def _options(credentials: Credentials, timeout: float) -> _Options:
    return {
        "auth": httpx2.BasicAuth(credentials.username, credentials.api_key.reveal()),
        "timeout": timeout,
        "headers": _HEADERS,
        # A proxy of the environment is for the world outside of this machine.
        "trust_env": not credentials.is_local,
        # They could lead the API key elsewhere, and make a GET of a POST.
        "follow_redirects": False,
        # Over http there is nothing to verify, and loading every authority takes 50 ms.
        "verify": credentials.is_https or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
    }


def _check_open(client: httpx2.Client) -> None:
    # httpx2's own error would leave frames that hold the content.
    if client.is_closed:
        raise ConfigurationError("this client was closed: make a new one")


def _content(call: Call) -> dict[str, Any]:
    if call.content is None:
        return {}
    return {
        "content": call.content.reveal().encode(),
        "headers": {"Content-Type": "application/json"},
    }


def _response(response: httpx2.Response) -> APIResponse:
    return APIResponse(
        status=response.status_code,
        body=response.content,
        retry_after_text=response.headers.get("retry-after", ""),
        location=response.headers.get("location", ""),
    )


def _no_response(error: httpx2.HTTPError) -> NoResponse:
    """Return an error as a value: the frames that it left hold the API key and the content."""
    return NoResponse(
        detail=_described(error),
        may_be_done=not isinstance(error, _UNSENT),
        is_lasting=isinstance(error, _LASTING) or _is_tls(error),
    )


def _described(error: httpx2.HTTPError) -> str:
    said = _TIME_OUTS.get(type(error), type(error).__name__)
    return f"{said}: {error}" if str(error) else said


def _is_tls(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False
