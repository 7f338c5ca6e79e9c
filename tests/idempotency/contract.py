"""What every idempotency store must do, whatever it keeps its claims in.

A store takes part with a `Kit` of its own in `test_contract.py`.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Any, Protocol, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from karla_receiver import ConfigurationError, Event
from karla_receiver.idempotency import Claim, ClaimState, IdempotencyStore

__all__ = ["Kit", "StoreContract"]

_T = TypeVar("_T")

WINDOW, LEASE = 1000, 60
CLAIMED, IN_PROGRESS, DONE = ClaimState.CLAIMED, ClaimState.IN_PROGRESS, ClaimState.DONE

_endpoints = itertools.count()


class Kit(Protocol):
    """One kind of store, in a backend of its own."""

    # Whether two stores of one endpoint, in any process, know of each other's claims.
    is_shared: bool

    def make(self, **options: Any) -> IdempotencyStore:
        """Make a store over the backend, with these options of its constructor."""
        ...

    def pass_time(self, seconds: float) -> None:
        """Have the store's backend believe that so many seconds have passed."""
        ...


def key(name: object) -> str:
    return sha256(str(name).encode()).hexdigest()


A, B, C = map(key, "ABC")


def make(kit: Kit, **options: Any) -> IdempotencyStore:
    """Make a store that shares nothing with an earlier one of the same kit."""
    fresh = {"endpoint": f"endpoint-{next(_endpoints)}", "window": WINDOW, "lease": LEASE}
    return kit.make(**(fresh | options))


def claimed(store: IdempotencyStore, name: str, occurrence: str = "o") -> str:
    claim = store.claim(name, occurrence)
    assert claim.state is CLAIMED
    assert claim.token
    return claim.token


def state(store: IdempotencyStore, name: str) -> ClaimState:
    return store.claim(name, "o").state


def at_once(count: int, work: Callable[[int], _T]) -> list[_T]:
    """Call work with 0 to count - 1, each in a thread, all let go together."""
    barrier = threading.Barrier(count)

    def wait_and_work(number: int) -> _T:
        barrier.wait()
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(wait_and_work, range(count)))


def in_child(work: Callable[[], bool]) -> bool:
    """Call work in a fork of this process; return what it returned there."""
    child = os.fork()
    if child == 0:  # leave without pytest's own clean-up, whatever happens
        worked = False
        try:
            worked = work()
        finally:
            os._exit(0 if worked else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


class _Model:
    """A store in a few lines that does one thing at a time: what all others must agree with."""

    def __init__(self) -> None:
        self.now = 0
        self.claims: dict[str, tuple[int, float]] = {}
        self.handled: dict[str, float] = {}
        self.turn = 0

    def claim(self, name: str) -> tuple[ClaimState, int]:
        if self.handled.get(name, 0) > self.now:
            return DONE, 0
        if name in self.claims and self.claims[name][1] > self.now:
            return IN_PROGRESS, 0
        self.turn += 1
        self.claims[name] = (self.turn, self.now + LEASE)
        return CLAIMED, self.turn

    def owns(self, name: str, turn: int) -> bool:
        return name in self.claims and self.claims[name][0] == turn

    def done(self, name: str, turn: int) -> None:
        if self.owns(name, turn):
            del self.claims[name]
            self.handled[name] = self.now + WINDOW

    def release(self, name: str, turn: int) -> None:
        if self.owns(name, turn):
            del self.claims[name]


# What to do, to which of three keys, with which of the tokens seen for it; or seconds to pass.
STEPS = st.lists(
    st.tuples(st.sampled_from(["claim", "claim", "done", "release"]), st.sampled_from([A, B, C]))
    | st.tuples(st.just("pass"), st.sampled_from([1, LEASE - 20, LEASE + 20, WINDOW + 20])),
    max_size=30,
)


class StoreContract:
    """The suite; a subclass is collected, with a fixture `kit`."""

    # --- the three verbs ---

    def test_a_new_key_is_claimed_and_nobody_else_gets_it(self, kit: Kit) -> None:
        store = make(kit)
        first, second = store.claim(A, "o"), store.claim(A, "o")

        assert first.state is CLAIMED
        assert first.token
        assert not first.is_near_duplicate
        assert second == Claim(IN_PROGRESS)
        assert state(store, B) is CLAIMED

    def test_what_is_done_stays_done_for_the_window_and_no_longer(self, kit: Kit) -> None:
        store = make(kit)
        store.done(A, claimed(store, A))

        assert store.claim(A, "o") == Claim(DONE)
        kit.pass_time(WINDOW - 20)
        assert state(store, A) is DONE
        kit.pass_time(40)
        claimed(store, A)

    def test_the_window_counts_from_the_end_of_the_handling(self, kit: Kit) -> None:
        store = make(kit)
        token = claimed(store, A)
        kit.pass_time(LEASE - 20)
        store.done(A, token)
        kit.pass_time(WINDOW - 20)

        assert state(store, A) is DONE

    def test_asking_does_not_extend_the_window(self, kit: Kit) -> None:
        store = make(kit)
        store.done(A, claimed(store, A))
        kit.pass_time(WINDOW / 2)
        assert state(store, A) is DONE
        kit.pass_time(WINDOW / 2 + 20)

        assert state(store, A) is CLAIMED

    def test_what_is_released_can_be_claimed_at_once(self, kit: Kit) -> None:
        store = make(kit)
        token = claimed(store, A)
        store.release(A, token)

        assert claimed(store, A) != token

    def test_a_claim_lasts_as_long_as_the_lease_and_no_longer(self, kit: Kit) -> None:
        store = make(kit)
        claimed(store, A)

        kit.pass_time(LEASE - 20)
        assert state(store, A) is IN_PROGRESS
        kit.pass_time(40)
        claimed(store, A)
        kit.pass_time(LEASE - 20)
        assert state(store, A) is IN_PROGRESS

    # --- tokens ---

    def test_tokens_differ(self, kit: Kit) -> None:
        store = make(kit)

        assert len({claimed(store, key(number)) for number in range(100)}) == 100

    @pytest.mark.parametrize("verb", ["done", "release"])
    def test_an_owner_whose_claim_was_taken_over_changes_nothing(self, kit: Kit, verb: str) -> None:
        store = make(kit)
        late = claimed(store, A)
        kit.pass_time(LEASE + 20)
        owner = claimed(store, A)

        getattr(store, verb)(A, late)
        assert state(store, A) is IN_PROGRESS
        store.release(A, owner)
        assert state(store, A) is CLAIMED

    def test_a_late_owner_who_was_not_taken_over_is_done(self, kit: Kit) -> None:
        store = make(kit)
        late = claimed(store, A)
        kit.pass_time(LEASE + 20)
        store.done(A, late)

        assert state(store, A) is DONE

    @pytest.mark.parametrize("verb", ["done", "release"])
    @pytest.mark.parametrize("token", ["", "0", "done", "no such token"])
    def test_a_made_up_token_changes_nothing(self, kit: Kit, verb: str, token: str) -> None:
        store = make(kit)
        claimed(store, A)
        getattr(store, verb)(A, token)

        assert state(store, A) is IN_PROGRESS

    @pytest.mark.parametrize("token_of", [A, B], ids=["own", "another"])
    def test_what_is_done_cannot_be_released(self, kit: Kit, token_of: str) -> None:
        store = make(kit)
        tokens = {name: claimed(store, name) for name in (A, B)}
        store.done(A, tokens[A])
        store.release(A, tokens[token_of])
        store.release(A, "done")

        assert state(store, A) is DONE

    def test_done_again_does_not_extend_the_window(self, kit: Kit) -> None:
        store = make(kit)
        token = claimed(store, A)
        store.done(A, token)
        kit.pass_time(WINDOW / 2)
        store.done(A, token)
        kit.pass_time(WINDOW / 2 + 20)

        assert state(store, A) is CLAIMED

    def test_nothing_is_released_where_nothing_was_claimed(self, kit: Kit) -> None:
        store = make(kit)
        store.release(A, "no such token")

        assert state(store, A) is CLAIMED

    # --- near duplicates ---

    def test_the_same_occurrence_under_another_key_is_a_near_duplicate(self, kit: Kit) -> None:
        store = make(kit)

        assert not store.claim(A, "o").is_near_duplicate
        assert store.claim(B, "o").is_near_duplicate
        assert not store.claim(C, "p").is_near_duplicate

    def test_a_retry_is_no_near_duplicate_of_itself(self, kit: Kit) -> None:
        store = make(kit)
        store.release(A, claimed(store, A))
        retry = store.claim(A, "o")
        assert retry.state is CLAIMED
        assert not retry.is_near_duplicate

        store.release(A, retry.token)
        assert store.claim(B, "o").is_near_duplicate  # the first was released, but it came

    def test_an_occurrence_is_remembered_for_the_window(self, kit: Kit) -> None:
        store = make(kit)
        store.done(A, claimed(store, A, "o"))
        kit.pass_time(WINDOW - 20)
        assert store.claim(B, "o").is_near_duplicate
        kit.pass_time(WINDOW + 40)

        assert not store.claim(C, "o").is_near_duplicate

    @pytest.mark.parametrize("occurrence", ["", "ü", "\x00\n:{}", "\ud800", "o" * 1_000_000])
    def test_an_occurrence_may_be_any_text(self, kit: Kit, occurrence: str) -> None:
        store = make(kit)

        assert not store.claim(A, occurrence).is_near_duplicate
        assert not store.claim(B, occurrence + "2").is_near_duplicate
        assert store.claim(C, occurrence).is_near_duplicate

    # --- who shares what ---

    def test_endpoints_do_not_share_keys(self, kit: Kit) -> None:
        one, other = make(kit), make(kit)
        claimed(one, A)

        claim = other.claim(A, "o")
        assert claim.state is CLAIMED
        assert not claim.is_near_duplicate

    def test_two_stores_of_one_endpoint_share_what_they_know(self, kit: Kit) -> None:
        endpoint = f"shared-{next(_endpoints)}"
        one, other = (make(kit, endpoint=endpoint) for _ in range(2))
        token = claimed(one, A)

        assert state(other, A) is (IN_PROGRESS if kit.is_shared else CLAIMED)
        one.done(A, token)
        assert state(other, A) is (DONE if kit.is_shared else IN_PROGRESS)

    def test_a_store_made_and_used_before_a_fork_works_on_both_sides(self, kit: Kit) -> None:
        store = make(kit)
        store.done(A, claimed(store, A))
        in_progress = claimed(store, B)

        def child() -> bool:
            known = DONE if kit.is_shared else CLAIMED
            assert state(store, A) is known
            store.done(C, claimed(store, C))
            return state(store, C) is DONE

        assert in_child(child)
        assert state(store, A) is DONE
        assert state(store, C) is (DONE if kit.is_shared else CLAIMED)
        store.done(B, in_progress)
        assert state(store, B) is DONE

    # --- many at once ---

    def test_of_64_threads_one_gets_each_key(self, kit: Kit) -> None:
        store = make(kit)
        names = [key(number) for number in range(20)]
        results = at_once(64, lambda _: [state(store, name) for name in names])

        for states in zip(*results, strict=True):
            assert Counter(states) == {CLAIMED: 1, IN_PROGRESS: 63}

    def test_a_key_never_has_two_owners_at_a_time(self, kit: Kit) -> None:
        store = make(kit)
        owners: list[int] = []
        crowds: list[int] = []

        def work(number: int) -> int:
            for turn in range(1, 10_001):
                claim = store.claim(A, "o")
                if claim.state is CLAIMED:
                    owners.append(number)
                    crowds.append(len(owners))
                    owners.remove(number)
                    store.release(A, claim.token)
                    return turn
            return 0

        assert all(at_once(16, work))
        assert crowds == [1] * 16
        assert state(store, A) is CLAIMED

    @settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(steps=STEPS)
    def test_any_course_of_events_goes_as_in_the_model(self, kit: Kit, steps: list[Any]) -> None:
        store, model = make(kit), _Model()
        tokens: dict[str, list[tuple[str, int]]] = {A: [], B: [], C: []}
        for verb, subject in steps:
            if verb == "pass":
                kit.pass_time(subject)
                model.now += subject
            elif verb == "claim":
                claim, (expected, turn) = store.claim(subject, "o"), model.claim(subject)
                assert claim.state is expected
                if claim.token:
                    tokens[subject].append((claim.token, turn))
            elif tokens[subject]:
                token, turn = tokens[subject][-1]
                if verb == "done" and not model.owns(subject, turn):
                    continue  # after a release or a done: no receiver does that
                getattr(store, verb)(subject, token)
                getattr(model, verb)(subject, turn)

    # --- options ---

    def test_the_key_is_the_function_that_was_given(self, kit: Kit) -> None:
        def choose(event: Event) -> str:
            return event.event_group

        assert make(kit).key is None
        assert make(kit, key=choose).key is choose
        assert type(make(kit).blocks) is bool

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"window": 599.9}, "600 or more"),
            ({"window": float("inf")}, "600 or more"),
            ({"window": float("nan")}, "600 or more"),
            ({"window": "week"}, "600 or more"),
            ({"window": True}, "600 or more"),
            ({"lease": 0.9}, "1 to the window"),
            ({"lease": WINDOW + 1}, "1 to the window"),
            ({"lease": None}, "1 to the window"),
            ({"endpoint": ""}, "1 to 64 letters"),
            ({"endpoint": "a:b"}, "1 to 64 letters"),
            ({"endpoint": "a" * 65}, "1 to 64 letters"),
            ({"endpoint": None}, "1 to 64 letters"),
            ({"key": "body"}, "key is a function"),
        ],
    )
    def test_an_option_that_cannot_work_is_refused(
        self, kit: Kit, options: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(ConfigurationError, match=message):
            make(kit, **options)

    @pytest.mark.parametrize("options", [{"window": 600}, {"lease": 1}, {"lease": WINDOW}])
    def test_the_limits_themselves_are_allowed(self, kit: Kit, options: dict[str, Any]) -> None:
        assert state(make(kit, **options), A) is CLAIMED
