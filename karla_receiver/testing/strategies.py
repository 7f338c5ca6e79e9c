"""Hypothesis strategies for events and deliveries. Needs the extra `testing`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from karla_receiver.testing.builders import (
    BuiltEvent,
    claim_created,
    claim_updated,
    shipment_event,
    unknown_event,
)
from karla_receiver.testing.deliveries import BadKind, Delivery
from karla_receiver.vocabulary import (
    ClaimReason,
    ClaimStatus,
    EventGroup,
    Phase,
    ResolutionPreference,
)

__all__ = [
    "bad_deliveries",
    "claim_events",
    "deliveries",
    "events",
    "shipment_events",
    "unknown_events",
]

# Text that JSON and UTF-8 can hold: every code point but the surrogates.
_TEXT = st.text(st.characters(codec="utf-8"), max_size=40)
_WORDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
# Vocabularies are open: a receiver must take words that nobody has heard of.
_NEW_WORDS = st.from_regex(r"[a-z]{1,10}(_[a-z]{1,10}){0,2}", fullmatch=True)
_IDS = st.uuids(version=4).map(str)
_EPOCH = datetime(2023, 1, 1, tzinfo=UTC)
_TIMES = st.timedeltas(timedelta(0), timedelta(days=6000)).map(lambda past: _EPOCH + past)


def _vocabulary(*words: str) -> st.SearchStrategy[str]:
    return st.one_of(st.sampled_from([str(word) for word in words]), _NEW_WORDS)


def shipment_events() -> st.SearchStrategy[BuiltEvent]:
    """Generate events of shipments: every phase and known group, new ones, and any text."""
    groups = [group for group in EventGroup if group.startswith("shipment_")]
    return st.builds(
        shipment_event,
        _vocabulary(*Phase),
        event_group=_vocabulary(*groups),
        shipment_id=_IDS,
        tracking_number=st.none() | _TEXT,
        order_number=st.none() | _TEXT,
        first_name=st.none() | _TEXT,
        updated_at=_TIMES,
    )


def claim_events() -> st.SearchStrategy[BuiltEvent]:
    """Generate events of claims, created and updated, with any reason and text."""
    return st.one_of([_claim_events(claim_created), _claim_events(claim_updated)])


def _claim_events(builder: Callable[..., BuiltEvent]) -> st.SearchStrategy[BuiltEvent]:
    return st.builds(
        builder,
        claim_id=_IDS,
        reason=_vocabulary(*ClaimReason),
        status=_vocabulary(*ClaimStatus),
        resolution_preference=st.none() | _vocabulary(*ResolutionPreference),
        description=st.none() | _TEXT,
        updated_at=_TIMES,
    )


def unknown_events() -> st.SearchStrategy[BuiltEvent]:
    """Generate events of sources that Karla does not have, with fields it does not document."""
    values = st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64) | _TEXT,
        lambda children: st.lists(children, max_size=3) | st.dictionaries(_TEXT, children),
        max_leaves=8,
    )
    sources = _NEW_WORDS.filter(lambda word: word not in {"shipments", "claims"})
    return st.builds(
        unknown_event,
        source=sources,
        event_group=_WORDS,
        undocumented=st.fixed_dictionaries({"event_data": st.dictionaries(_NEW_WORDS, values)}),
    )


def events() -> st.SearchStrategy[BuiltEvent]:
    """Generate events of every kind."""
    return st.one_of(shipment_events(), claim_events(), unknown_events())


def deliveries(
    secret: str | bytes,
    *,
    now: Callable[[], float],
    tolerance: int = 300,
    of: st.SearchStrategy[BuiltEvent] | None = None,
) -> st.SearchStrategy[Delivery]:
    """Generate deliveries that a receiver must accept.

    secret: the receiver's; now: its clock, in unix seconds, as a `SettableClock`; tolerance: in
    seconds: deliveries are signed anywhere in the window.
    of: what is delivered; `events()` if left out.
    """

    def signed(event: BuiltEvent, skew: int) -> Delivery:
        return event.signed(secret, timestamp=int(now()) + skew)

    return st.builds(
        signed,
        events() if of is None else of,
        st.integers(-tolerance, tolerance),
    )


def bad_deliveries(
    secret: str | bytes,
    *,
    now: Callable[[], float],
    of: st.SearchStrategy[BuiltEvent] | None = None,
) -> st.SearchStrategy[Delivery]:
    """Generate deliveries that a receiver must refuse, each with its reason.

    Of every kind but "oversized". Arguments as in `deliveries`. For a receiver with a tolerance
    under an hour.
    """

    def bad(event: BuiltEvent, kind: BadKind) -> Delivery:
        return event.bad(kind, secret, now=int(now()))

    return st.builds(
        bad,
        events() if of is None else of,
        # A megabyte is too much for Hypothesis to show.
        st.sampled_from([kind for kind in BadKind if kind is not BadKind.OVERSIZED]),
    )
