"""Which phase, event name and event group go together in a shipment's event.

All three are open vocabularies, and a receiver must insist on none of it: this is for building
events that look like Karla's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Final

from karla_receiver import samples
from karla_receiver.errors import ConfigurationError
from karla_receiver.vocabulary import EventGroup, Phase

__all__ = ["DRAFTS", "RETURNS", "kind_of_shipment"]

# A documented name and group for each phase; where Karla's documentation names none, one in its
# style.
_PHASES: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        Phase.ORDER_CREATED: ("ORDER_CREATED", EventGroup.SHIPMENT_PRE_TRANSIT),
        Phase.ORDER_PROCESSED: ("ORDER_IN_PROCESSING", EventGroup.SHIPMENT_PRE_TRANSIT),
        Phase.IN_TRANSIT: ("DEPARTURE_FROM_TRANSPORT_HUB", EventGroup.SHIPMENT_IN_TRANSIT),
        Phase.IN_DELIVERY: ("OUT_FOR_DELIVERY", EventGroup.SHIPMENT_OUT_FOR_DELIVERY),
        Phase.COLLECT: ("READY_FOR_PICKUP", EventGroup.SHIPMENT_DELIVERED_TO_PARCEL_SHOP),
        Phase.DELIVERED: ("SUCCESSFULLY_DELIVERED", EventGroup.SHIPMENT_DELIVERED),
        Phase.DELIVERY_FAILED: ("DELIVERY_FAILED", EventGroup.SHIPMENT_DELIVERY_FAILED),
        Phase.RETURN_CREATED: ("RETURN_CREATED", "return_shipment_created"),
        Phase.RETURN_TRANSIT: ("DEPARTURE_FROM_TRANSPORT_HUB", "return_shipment_in_transit"),
        Phase.RETURN_RECEIVED: ("RETURN_RECEIVED", "return_shipment_received"),
        Phase.RETURN_FAILED: ("RETURN_FAILED", "return_shipment_failed"),
        Phase.RETURNED: ("RETURNED_TO_SENDER", EventGroup.SHIPMENT_FAILED_RETURNED),
    }
)
DRAFTS: Final = (Phase.ORDER_CREATED, Phase.ORDER_PROCESSED)
RETURNS: Final = (
    Phase.RETURN_CREATED,
    Phase.RETURN_TRANSIT,
    Phase.RETURN_RECEIVED,
    Phase.RETURN_FAILED,
)
# The phase of a group that has no sample and is not the first of its phase above.
_GROUPS: Final[Mapping[str, Phase]] = MappingProxyType(
    {
        EventGroup.SHIPMENT_DELIVERY_FAILED_FORWARDED_TO_PARCEL_SHOP: Phase.COLLECT,
        EventGroup.SHIPMENT_DELIVERY_FAILED_ADDRESS_ISSUE: Phase.DELIVERY_FAILED,
        EventGroup.SHIPMENT_DELIVERY_SECOND_ATTEMPT: Phase.IN_DELIVERY,
        EventGroup.SHIPMENT_DELIVERED_TO_PARCEL_LOCKER: Phase.COLLECT,
        EventGroup.SHIPMENT_PICKED_UP: Phase.DELIVERED,
        EventGroup.SHIPMENT_REFUSED_THEN_RETURNED: Phase.RETURNED,
        EventGroup.SHIPMENT_NOT_PICKED_UP_THEN_RETURNED: Phase.RETURNED,
        EventGroup.SHIPMENT_DELAYED_DUE_TO_CUSTOMER_REQUEST: Phase.IN_TRANSIT,
        EventGroup.SHIPMENT_CARRIER_CHANGED: Phase.IN_TRANSIT,
        EventGroup.SHIPMENT_ORDER_CANCELLED: Phase.ORDER_PROCESSED,
    }
)


def kind_of_shipment(
    phase: Phase | str | None, group: EventGroup | str | None
) -> tuple[str, str, str]:
    """Return a phase, an event name and a group that go together."""
    if group is None:
        place = str(Phase.DELIVERED if phase is None else phase)
        name, usual_group = _PHASES.get(place, (place.upper(), f"shipment_{place}"))
        return place, name, str(usual_group)
    known = _known_groups().get(str(group))
    if phase is not None:
        is_usual = known is not None and known[0] == phase
        name = known[1] if known is not None and is_usual else kind_of_shipment(phase, None)[1]
        return str(phase), name, str(group)
    if known is None:
        raise ConfigurationError(f"no phase is known for the group {group!a}: give it as well")
    return *known, str(group)


@cache
def _known_groups() -> dict[str, tuple[str, str]]:
    """Return the phase and event name of each group: those of the samples, where there is one."""
    made_up = {
        str(group): (str(phase), group.removeprefix("shipment_").upper())
        for group, phase in _GROUPS.items()
    }
    of_phases = {str(group): (str(phase), name) for phase, (name, group) in _PHASES.items()}
    of_samples = {
        raw["event_group"]: (raw["event_data"]["phase"], raw["event_data"]["event_name"])
        for raw in map(json.loads, map(samples.read, reversed(samples.names())))
        if raw["source"] == "shipments"
    }
    return {**made_up, **of_samples, **of_phases}
