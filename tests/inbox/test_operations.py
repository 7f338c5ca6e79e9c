from __future__ import annotations

from pathlib import Path

from karla_receiver import samples
from karla_receiver.decoding import parse_event
from karla_receiver.idempotency.keys import delivery_key, occurrence_key
from karla_receiver.inbox import SQLiteInbox
from karla_receiver.inbox.operations import Operations, Selection
from tests.inbox.stock import delivery, query


def test_what_comes_back_from_quarantine_is_told_by_what_it_says(tmp_path: Path) -> None:
    path = tmp_path / "karla.db"
    body = samples.read("shipment_delivered")
    unknown = {"ref": None, "event_group": None, "occurrence": "", "problem": "not yet known"}
    inbox = SQLiteInbox(path)
    inbox.put(delivery("readable", body=body, **unknown))
    inbox.put(delivery("unreadable", body=b"{", **unknown))
    inbox.put(delivery("kept as it is"))
    inbox.close()

    operations = Operations(path)
    assert list(operations.have_again(Selection())) == [3]
    operations.close()
    event = parse_event(body)
    assert query(path, "SELECT state, ref, event_group, occurrence FROM karla_inbox") == [
        ("waiting", event.ref, event.event_group, delivery_key(b"", event, occurrence_key)),
        ("waiting", None, None, ""),
        ("waiting", "parcels/sent", "parcel", "occurrence of kept as it is"),
    ]
