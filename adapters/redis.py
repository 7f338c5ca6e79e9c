"""Redis: idempotency for any number of machines. Install the extra `redis`.

A claim is one script, hence one round trip, in which no other claim can come between. What Redis
keeps are digests, random tokens and times: never a body, a header or a secret.

What Redis forgets is handled again. Restarted without persistence, it forgets everything; with
`appendonly yes` and the usual `appendfsync everysec`, at worst the last second; and a replica that
takes over lacks what had not reached it. With a `maxmemory`, set `maxmemory-policy noeviction`:
then a full Redis refuses, which is answered 503, instead of forgetting.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Any, Final, TypeVar, cast

from redis import Redis, RedisCluster
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MovedError, RedisClusterException, RedisError
from redis.retry import Retry

from karla_receiver.checks import checked_endpoint
from karla_receiver.errors import ConfigurationError, StorageError
from karla_receiver.idempotency.limits import (
    DEFAULT_LEASE,
    DEFAULT_WINDOW,
    checked_key,
    checked_lease,
    checked_window,
)
from karla_receiver.idempotency.protocol import Claim, ClaimState, Key
from karla_receiver.sqlite.forking import renew_after_fork

__all__ = ["RedisStore"]

# A dead server refuses at once and a hanging one costs one time-out, for after a time-out nothing
# is tried again; only where the first attempt found a connection dead can it be two. So that a
# delivery is answered within a second.
_TIMEOUT: Final = 0.4

# Of a process, for its event loops. When Redis hangs, what waits for a thread is refused in time.
_THREADS: Final = 16
# Beyond both time-outs, that of connecting and that of an answer.
_SLACK: Final = 0.1

_T = TypeVar("_T")

_CLAIMED, _NEAR_DUPLICATE, _HELD, _HANDLED = range(4)

# The client sends a command again after a lost connection, when the first may have been carried
# out: a claim that finds its own token has succeeded, and done and release change nothing then.
# KEYS: claim, occurrence; ARGV: held by, lease in ms, window in ms, the claim's key.
_CLAIM: Final = f"""
local held = redis.call('GET', KEYS[1])
if held == 'done' then return {_HANDLED} end
if held and held ~= ARGV[1] then return {_HELD} end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
local first = redis.call('GET', KEYS[2])
if first and first ~= ARGV[4] then return {_NEAR_DUPLICATE} end
if not first then redis.call('SET', KEYS[2], ARGV[4], 'PX', ARGV[3]) end
return {_CLAIMED}
"""

# A claim that expired and that nobody has taken over is not lost: the delivery was handled.
# KEYS: claim; ARGV: held by, window in ms.
_DONE: Final = """
local held = redis.call('GET', KEYS[1])
if not held or held == ARGV[1] then redis.call('SET', KEYS[1], 'done', 'PX', ARGV[2]) end
"""

# KEYS: claim; ARGV: held by.
_RELEASE: Final = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
"""


class RedisStore:
    """Remembers in Redis (6.2 or newer) which deliveries were handled, for all processes that ask.

    server: the URL of a Redis, as in `redis://:password@host:6379/0`, or a client: `redis.Redis`,
    or `redis.RedisCluster` for a cluster. With Sentinel, take its `master_for(...)`.
    A client must have a socket_timeout; how soon a failure is answered is then up to its own
    time-outs and retries. A URL gets time-outs of 0.4 s and one attempt on a new connection when
    an idle one turns out to be dead, and may override that: `?socket_timeout=2`. An event loop
    waits no longer than both time-outs together, that of connecting and that of an answer.
    endpoint: scopes the keys; give each webhook of a Redis its own.
    key, window: as in `MemoryStore`.
    lease: seconds after which a claim expires whose owner has not finished, 1 or more: longer
    than the slowest handler takes, or the delivery is handled twice. Redis's clock counts, and
    no other. A claim that Redis carried out although its answer never came expires likewise.
    prefix: of all keys.
    Raises ConfigurationError for anything else, and never asks Redis before the first claim.

    May be shared by threads, and forked. Every method raises StorageError if Redis does not
    answer, or refuses.
    """

    def __init__(
        self,
        server: str | Redis | RedisCluster,
        *,
        endpoint: str = "default",
        key: Key = None,
        window: float = DEFAULT_WINDOW,
        lease: float = DEFAULT_LEASE,
        prefix: str = "karla",
    ) -> None:
        try:
            client = _client(server)
        finally:
            del server  # so that no error report with local variables shows a password
        self._key = checked_key(key)
        self._window_ms = round(checked_window(window) * 1000)
        self._lease_ms = round(checked_lease(lease, window) * 1000)
        # The braces let a Redis Cluster keep an endpoint's keys together, as a script needs them.
        self._scope = f"{prefix}:{{{checked_endpoint(endpoint)}}}"
        options = _options(client)
        answering = options["socket_timeout"]
        # A client that does not say how long it connects does so for as long as it waits.
        connecting = options.get("socket_connect_timeout") or answering
        self._patience = answering + connecting + _SLACK
        self._start_threads()
        renew_after_fork(self)
        self._claim = client.register_script(_CLAIM)
        self._done = client.register_script(_DONE)
        self._release = client.register_script(_RELEASE)

    @property
    def key(self) -> Key:
        """What makes two deliveries the same one; None: the SHA-256 of the raw body."""
        return self._key

    @property
    def window(self) -> float:
        """Seconds for which a handled delivery is remembered."""
        return self._window_ms / 1000

    @property
    def blocks(self) -> bool:
        """True: a network is waited for."""
        return True

    def after_fork(self) -> None:
        """Leave the parent's threads to the parent."""
        self._start_threads()

    def _start_threads(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="karla-redis")

    def claim(self, key: str, occurrence: str) -> Claim:
        """Same as `IdempotencyStore.claim`, in one round trip."""
        token = secrets.token_hex(16)
        # An occurrence may be long, and tell of a customer; its digest does neither.
        happened = sha256(occurrence.encode("utf-8", "surrogatepass")).hexdigest()
        answer = _asked(
            self._claim,
            [self._name(key), f"{self._scope}:occurrence:{happened}"],
            [_held_by(token), self._lease_ms, self._window_ms, key],
        )
        if answer == _HANDLED:
            return Claim(ClaimState.DONE)
        if answer == _HELD:
            return Claim(ClaimState.IN_PROGRESS)
        return Claim(ClaimState.CLAIMED, token, answer == _NEAR_DUPLICATE)

    async def claim_async(self, key: str, occurrence: str) -> Claim:
        """Same as `claim`, without ever blocking the event loop."""
        return await self._in_time(self.claim, key, occurrence)

    def done(self, key: str, token: str) -> None:
        """Same as `IdempotencyStore.done`."""
        _asked(self._done, [self._name(key)], [_held_by(token), self._window_ms])

    async def done_async(self, key: str, token: str) -> None:
        """Same as `done`, without ever blocking the event loop."""
        await self._in_time(self.done, key, token)

    def release(self, key: str, token: str) -> None:
        """Same as `IdempotencyStore.release`."""
        _asked(self._release, [self._name(key)], [_held_by(token)])

    async def release_async(self, key: str, token: str) -> None:
        """Same as `release`, without ever blocking the event loop."""
        await self._in_time(self.release, key, token)

    async def _in_time(self, verb: Callable[[str, str], _T], *arguments: str) -> _T:
        call = asyncio.wrap_future(self._threads.submit(verb, *arguments))
        try:
            # What has not begun by then never does.
            return await asyncio.wait_for(call, self._patience)
        except TimeoutError as error:
            raise StorageError(f"Redis: no answer within {self._patience:.1f} s") from error

    def _name(self, key: str) -> str:
        return f"{self._scope}:key:{key}"


def _held_by(token: str) -> str:
    # What a claimed key's value is; so that no token ever equals the value of one that is done.
    return f"by {token}"


def _asked(script: Callable[..., Any], names: list[str], values: list[str | int]) -> Any:
    try:
        return script(keys=names, args=values)
    except MovedError as error:
        raise StorageError(
            "Redis: this is a node of a cluster: give the store a redis.RedisCluster"
        ) from error
    except (RedisError, RedisClusterException) as error:
        raise StorageError(f"Redis: {type(error).__name__}: {error}") from error


def _client(server: str | Redis | RedisCluster) -> Redis | RedisCluster:
    if isinstance(server, Redis | RedisCluster):
        if _options(server).get("socket_timeout") is None:
            raise ConfigurationError(
                "the client has no socket_timeout: a Redis that hangs would hang every delivery"
            )
        return server
    if not isinstance(server, str):
        raise ConfigurationError(
            "server is a URL, a redis.Redis or a redis.RedisCluster, not"
            f" {type(server).__module__}.{type(server).__name__}; an asynchronous client is not"
            " needed, for the receiver asks in a thread; of a Sentinel, take"
            " master_for('name', socket_timeout=0.4)"
        )
    client = _client_of_url(server)
    del server
    if client is None:
        raise ConfigurationError(
            "server is a URL that starts with redis://, rediss:// or unix://, with options that"
            " redis.Redis.from_url takes"
        )
    return client


def _client_of_url(url: str) -> Redis | None:
    try:
        client: Redis = cast("Any", Redis).from_url(
            url,
            socket_timeout=_TIMEOUT,
            socket_connect_timeout=_TIMEOUT,
            retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
        )
        # An unknown option is found when a connection is made, which does not connect yet.
        client.connection_pool.connection_class(**_options(client))
    except (TypeError, ValueError):  # whose text may quote the URL
        return None
    return client


def _options(client: Redis | RedisCluster) -> dict[str, Any]:
    options: dict[str, Any] = cast("Any", client).get_connection_kwargs()
    return options
