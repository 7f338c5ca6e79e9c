"""How a receiver's endpoint is described in OpenAPI 3.1: the header, the body, every answer."""

from __future__ import annotations

from collections import defaultdict
from http import HTTPStatus
from typing import Any

import msgspec

from karla_receiver.events import Claim, Context, Shipment
from karla_receiver.request import REFUSALS, SUCCESS, Response
from karla_receiver.signature import HEADER

__all__ = ["operation", "responses"]

_PREFIX = "#/$defs/"


def operation() -> dict[str, Any]:
    """Return the `parameters` and the `requestBody` of the endpoint's operation object."""
    text = {"type": ["string", "null"]}
    shipment, claim, context = _schemas(Shipment, Claim, Context)
    envelope = {
        "type": "object",
        "title": "Event",
        "description": "Fields beyond these are ignored. A field of another type than these is left"
        " out, and never costs the event. The signature covers the bytes as sent.",
        "required": ["event_group"],
        "properties": {
            "source": {**text, "description": "`shipments`, `claims`, or something newer."},
            "ref": {**text, "examples": ["shipments/delivered/SUCCESSFULLY_DELIVERED"]},
            "event_group": {"type": "string", "minLength": 1},
            "version": {"type": ["integer", "null"]},
            "triggered_at": {**text, "format": "date-time"},
            "shop_slug": text,
            "shop_id": text,
            "event_data": {"anyOf": [shipment, claim, {"type": ["object", "null"]}]},
            "context": {"anyOf": [context, {"type": "null"}]},
        },
    }
    return {
        "parameters": [
            {
                "name": HEADER,
                "in": "header",
                "required": True,
                "description": "`t` is the time in unix seconds; `v1` the HMAC-SHA256, in hex, of"
                " `t`, a dot and the raw body, with the webhook's secret.",
                "schema": {"type": "string", "pattern": "t=[0-9]{1,15},v1=[0-9a-fA-F]{64}"},
            }
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": envelope}}},
    }


def responses() -> dict[int | str, dict[str, Any]]:
    """Return the endpoint's responses object: by status, success and each refusal."""
    grouped: defaultdict[int, list[Response]] = defaultdict(list)
    for refusal in REFUSALS.values():
        grouped[refusal.status].append(refusal)
    documented: dict[int | str, dict[str, Any]] = {
        SUCCESS.status: {
            "description": "Handled, or nothing to do.",
            "content": {"application/json": {"example": msgspec.json.decode(SUCCESS.body)}},
        }
    }
    for status, group in sorted(grouped.items()):
        documented[status] = _refusals(status, group)
    return documented


def _refusals(status: int, group: list[Response]) -> dict[str, Any]:
    problems: list[dict[str, Any]] = [msgspec.json.decode(refusal.body) for refusal in group]
    told = sorted({problem["reason"] for problem in problems if "reason" in problem})
    properties: dict[str, Any] = {
        "title": {"const": HTTPStatus(status).phrase},
        "status": {"const": status},
    }
    if told:
        properties["reason"] = {"enum": told}
    schema = {"type": "object", "required": list(properties), "properties": properties}
    documented: dict[str, Any] = {
        "description": ", ".join(f"`{refusal.reason}`" for refusal in group),
        "content": {"application/problem+json": {"schema": schema}},
    }
    extra = {
        name: {"schema": {"type": "string"}, "example": value}
        for refusal in group
        for name, value in refusal.headers
        if not name.startswith("content-")
    }
    if extra:
        documented["headers"] = {name.title(): header for name, header in extra.items()}
    return documented


def _schemas(*types: type) -> list[Any]:
    # In place, since an operation object has nowhere to put what it refers to.
    tops, parts = msgspec.json.schema_components(types, ref_template=_PREFIX + "{name}")
    return [_inlined(top, parts) for top in tops]


def _inlined(schema: Any, parts: dict[str, Any]) -> Any:
    items: list[Any] | dict[str, Any] = schema
    if isinstance(items, list):
        return [_inlined(item, parts) for item in items]
    if not isinstance(items, dict):
        return items
    if "$ref" in items:
        return _inlined(parts[items["$ref"].removeprefix(_PREFIX)], parts)
    return {name: _inlined(value, parts) for name, value in items.items()}
