"""Idempotency in the memory of one process."""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from karla_receiver.checks import checked_clock, checked_count, checked_endpoint, monotonic_clock
from karla_receiver.errors import StorageError
from karla_receiver.idempotency.limits import (
    DEFAULT_LEASE,
    DEFAULT_WINDOW,
    checked_key,
    checked_lease,
    checked_window,
)
from karla_receiver.idempotency.processes import server_processes
from karla_receiver.idempotency.protocol import Claim, ClaimState, Key
from karla_receiver.observing.logs import logger
from karla_receiver.sqlite.forking import renew_after_fork

__all__ = ["MemoryStore"]

_IN_PROGRESS: Final = Claim(ClaimState.IN_PROGRESS)
_DONE: Final = Claim(ClaimState.DONE)


class MemoryStore:
    """Remembers what was handled in this process, for as long as the process lives.

    FOR ONE PROCESS ONLY. A server with several worker processes has as many memories, and a
    retry that another worker gets is handled again; so is every retry after a restart. There,
    use SQLiteStore (one machine) or RedisStore. A fork leaves the child with an empty memory of
    its own. The log says so at the first claim, and also where the command line of gunicorn,
    uvicorn, hypercorn or granian, WEB_CONCURRENCY, or uWSGI asks for several processes.

    endpoint: names the webhook in the log; a store is for one receiver.
    key: what makes two deliveries the same one; None: the raw body does.
    window: seconds that a handled delivery is remembered, 600 or more.
    lease: seconds after which a claim expires whose owner has not finished, 1 or more.
    max_keys: how many deliveries are remembered, 1 or more; each takes about half a kilobyte.
    When so many are known, the one that was handled longest ago is forgotten before its window
    ends, which the log says. A claim in progress is never forgotten: when all are, the next is
    refused with StorageError.
    clock: returns seconds from any origin. The default, `time.monotonic`, takes no part in what is
    done to the system's clock; one that jumps back stands still here until it has caught up.
    Raises ConfigurationError for anything else.
    """

    def __init__(
        self,
        *,
        endpoint: str = "default",
        key: Key = None,
        window: float = DEFAULT_WINDOW,
        lease: float = DEFAULT_LEASE,
        max_keys: int = 100_000,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._endpoint = checked_endpoint(endpoint)
        self._key = checked_key(key)
        self._window = checked_window(window)
        self._lease = checked_lease(lease, window)
        self._max_keys = checked_count("max_keys", max_keys, least=1)
        self._clock = checked_clock(monotonic_clock if clock is None else clock)
        self._tokens = itertools.count(1)  # goes on after a fork: no token is ever used twice
        self._is_forked = False
        self._has_looked = False
        self._start_empty()
        renew_after_fork(self)

    def _start_empty(self) -> None:
        self._lock = threading.Lock()
        self._now = self._clock()
        # In the order in which they expire, since all of a kind live equally long.
        self._claims: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._done: OrderedDict[str, float] = OrderedDict()
        self._first_keys: OrderedDict[int, tuple[str, float]] = OrderedDict()
        self._evicted = 0

    def after_fork(self) -> None:
        """Forget everything: this is a child."""
        # The parent's threads are not here: what they had claimed, and the lock that one of them
        # may have held, would stay for ever.
        self._start_empty()
        self._is_forked = True
        self._has_looked = False

    @property
    def key(self) -> Key:
        """What makes two deliveries the same one; None: the SHA-256 of the raw body."""
        return self._key

    @property
    def window(self) -> float:
        """Seconds for which a handled delivery is remembered."""
        return self._window

    @property
    def blocks(self) -> bool:
        """False: nothing is waited for."""
        return False

    def claim(self, key: str, occurrence: str) -> Claim:
        """Same as `IdempotencyStore.claim`. Raises StorageError if max_keys are in progress."""
        # An occurrence is as long as the sender likes. Two of one hash miscount at worst.
        happened = hash(occurrence)
        with self._lock:
            now = self._tick()
            expires = self._done.get(key)
            if expires is not None:
                if expires > now:
                    return _DONE
                del self._done[key]
            held = self._claims.get(key)
            if held is not None:
                if held[1] > now:
                    return _IN_PROGRESS
                del self._claims[key]
            self._make_room(now)
            token = str(next(self._tokens))
            self._claims[key] = (token, now + self._lease)
            is_near_duplicate = self._is_near_duplicate(happened, key, now)
        return Claim(ClaimState.CLAIMED, token, is_near_duplicate)

    def done(self, key: str, token: str) -> None:
        """Same as `IdempotencyStore.done`."""
        with self._lock:
            held = self._claims.get(key)
            if key in self._done or (held is not None and held[0] != token):
                return
            now = self._tick()
            if held is None:  # it expired, and nobody has taken it over: it was handled
                self._make_room(now)
            else:
                del self._claims[key]
            self._done[key] = now + self._window

    def release(self, key: str, token: str) -> None:
        """Same as `IdempotencyStore.release`."""
        with self._lock:
            held = self._claims.get(key)
            if held is not None and held[0] == token:
                del self._claims[key]

    def _tick(self) -> float:
        if not self._has_looked:
            self._has_looked = True
            self._look_for_other_processes()
        self._now = max(self._now, self._clock())
        return self._now

    def _look_for_other_processes(self) -> None:
        processes = server_processes()
        if self._is_forked:
            problem = "was made before this process was forked"
        elif processes > 1:
            problem = f"is one of {processes}, one in each process of this server"
        else:
            return
        logger.warning(
            "MemoryStore %s %s: each process has its own memory, and handles again what another one"
            " has handled; use SQLiteStore or RedisStore",
            self._endpoint,
            problem,
        )

    def _make_room(self, now: float) -> None:
        """Forget what has expired, and what must go so that one more fits in."""
        while self._done and next(iter(self._done.values())) <= now:
            self._done.popitem(last=False)
        if len(self._done) + len(self._claims) < self._max_keys:
            return
        while self._claims and next(iter(self._claims.values()))[1] <= now:
            self._claims.popitem(last=False)
        if len(self._claims) >= self._max_keys:
            raise StorageError(f"all {self._max_keys} deliveries that fit in are in progress")
        while len(self._done) + len(self._claims) >= self._max_keys:
            self._evict(now)

    def _evict(self, now: float) -> None:
        _, expires = self._done.popitem(last=False)
        if self._evicted % self._max_keys == 0:  # not a line for each
            logger.warning(
                "MemoryStore %s is full: it forgets deliveries after %.0f s of the window of %.0f s"
                " (max_keys=%d)",
                self._endpoint,
                now - (expires - self._window),
                self._window,
                self._max_keys,
            )
        self._evicted += 1

    def _is_near_duplicate(self, happened: int, key: str, now: float) -> bool:
        firsts = self._first_keys
        while firsts and next(iter(firsts.values()))[1] <= now:
            firsts.popitem(last=False)
        first = firsts.get(happened)
        if first is not None:
            return first[0] != key
        if len(firsts) >= self._max_keys:
            firsts.popitem(last=False)
        firsts[happened] = (key, now + self._window)
        return False
