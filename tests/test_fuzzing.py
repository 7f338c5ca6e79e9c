"""What the fuzzer judges by, on every seed; and that it finds what is broken."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzzing import campaign, decoding, documents, planted, signature
from fuzzing.__main__ import main
from fuzzing.promises import PromiseError
from fuzzing.targets import TARGETS
from karla_receiver import (
    Event,
    PayloadError,
    Reason,
    ShipmentEvent,
    SignatureError,
    UnknownEvent,
    Verified,
    Verifier,
    parse_event,
    sign,
)
from tests import reference

SEEDS = {name: target.seeds() for name, target in TARGETS.items()}


def outcomes(target: str) -> Counter[str]:
    return Counter(map(TARGETS[target].check, SEEDS[target]))


def test_the_seeds_keep_the_promises_and_reach_every_verdict_on_a_signature() -> None:
    reached = outcomes("signature")

    assert reached.total() > 200
    assert set(reached) == {
        "accept",
        "missing_signature",
        "malformed_header",
        "no_v1",
        "signature_mismatch",
        "timestamp_too_old",
        "timestamp_in_future",
    }


def test_the_seeds_keep_the_promises_and_reach_every_kind_of_event() -> None:
    reached = outcomes("decoding")

    assert reached.total() > 100
    assert set(reached) == {
        "invalid_json",
        "invalid_envelope",
        "ShipmentEvent",
        "ClaimEvent",
        "UnknownEvent",
    }


@pytest.mark.parametrize("target", ["signature", "decoding"])
@given(data=st.binary())
def test_any_bytes_are_an_input(target: str, data: bytes) -> None:
    assert TARGETS[target].check(data)


# --- what is broken is noticed -------------------------------------------------------------------


def check_all(target: str, check: Callable[[bytes], object]) -> None:
    for seed in SEEDS[target]:
        check(seed)


def verify_ignoring(*reasons: Reason) -> signature.Verify:
    def verify(body: bytes, header: signature.Header, now: float) -> Verified:
        try:
            return signature.verify(body, header, now)
        except SignatureError as refusal:
            if refusal.reason in reasons:
                return Verified(signature.NOW, 0)
            raise

    return verify


def verify_with(change: Callable[[Any], Any]) -> signature.Verify:
    return lambda body, header, now: signature.verify(body, change(header), now)


def tell_the_secret(body: bytes, header: signature.Header, now: float) -> Verified:
    try:
        return signature.verify(body, header, now)
    except SignatureError as refusal:
        raise SignatureError(refusal.reason, f"not by {signature.SECRETS[0].decode()}") from None


def escape(body: bytes, header: signature.Header, now: float) -> Verified:
    if isinstance(header, bytes):
        header.decode("ascii")
    return signature.verify(body, header, now)


BROKEN_VERIFIERS: dict[str, signature.Verify] = {
    "a stranger's signature is accepted": verify_ignoring(Reason.SIGNATURE_MISMATCH),
    "a late delivery is accepted": verify_ignoring(Reason.TIMESTAMP_TOO_OLD),
    "a delivery of the future is accepted": verify_ignoring(Reason.TIMESTAMP_IN_FUTURE),
    "a broken header is accepted": verify_ignoring(Reason.MALFORMED_HEADER),
    "only the first of several lines is read": verify_with(
        lambda header: header[0] if isinstance(header, list) else header
    ),
    "line ends are forgiven": verify_with(
        lambda header: header.strip() if isinstance(header, str) else header
    ),
    "only the first secret is tried": lambda body, header, now: Verifier(
        signature.SECRETS[0], clock=lambda: now
    ).verify(body, header),
    "the wrong secret is said to match": lambda body, header, now: signature.verify(
        body, header, now
    )._replace(secret_index=1),
    "an error shows a secret": tell_the_secret,
    "an error of Python's own escapes": escape,
}


@pytest.mark.parametrize("verify", BROKEN_VERIFIERS.values(), ids=BROKEN_VERIFIERS)
def test_a_broken_verifier_is_noticed_on_the_seeds(verify: signature.Verify) -> None:
    with pytest.raises((PromiseError, UnicodeDecodeError)):
        check_all("signature", lambda seed: signature.check(seed, verify))


def parse_with(change: Callable[[Event], Event]) -> decoding.Parse:
    return lambda body: change(parse_event(body))


def changed(**fields: Any) -> decoding.Parse:
    return parse_with(lambda event: msgspec.structs.replace(event, **fields))


def accept_anything(body: bytes) -> Event:
    try:
        return parse_event(body)
    except PayloadError:
        return UnknownEvent(event_group="x", problem="?")


def refuse_unknown(body: bytes) -> Event:
    event = parse_event(body)
    if isinstance(event, UnknownEvent):
        raise PayloadError(Reason.INVALID_ENVELOPE)
    return event


def lose_the_number(event: Event) -> Event:
    if not isinstance(event, ShipmentEvent):
        return event
    data = msgspec.structs.replace(event.event_data, tracking_number=None)
    return msgspec.structs.replace(event, event_data=data)


def round_prices(event: Event) -> Event:
    if event.order is None or event.order.total_order_price is None:
        return event
    order = msgspec.structs.replace(
        event.order, total_order_price=event.order.total_order_price + 0.01
    )
    return msgspec.structs.replace(
        event, context=msgspec.structs.replace(event.context, order=order)
    )


BROKEN_PARSERS: dict[str, decoding.Parse] = {
    "what is no event is accepted": accept_anything,
    "an unknown event is refused": refuse_unknown,
    "raw is emptied": changed(raw={}),
    "raw has 1.0 for 1": parse_with(
        lambda event: msgspec.structs.replace(
            event,
            raw={
                key: float(value) if type(value) is int else value
                for key, value in event.raw.items()
            },
        )
    ),
    "the event group is another": changed(event_group="shipment_created"),
    "the ref is another": changed(ref="shipments/delivered"),
    "the shop is another": changed(shop_slug="another-shop"),
    "a text is lost": parse_with(lose_the_number),
    "a number is another": parse_with(round_prices),
    "all events are unknown": lambda body: UnknownEvent(
        event_group=parse_event(body).event_group, raw=parse_event(body).raw, problem="?"
    ),
}


@pytest.mark.parametrize("parse", BROKEN_PARSERS.values(), ids=BROKEN_PARSERS)
def test_a_broken_decoder_is_noticed_on_the_seeds(parse: decoding.Parse) -> None:
    with pytest.raises(PromiseError):
        check_all("decoding", lambda seed: decoding.check(seed, parse))


# --- inputs --------------------------------------------------------------------------------------


def test_marks_stand_for_the_signatures_that_a_fuzzer_cannot_guess() -> None:
    genuine, other = (
        sign(b"{}", secret, timestamp=1_700_000_000)[-64:] for secret in signature.SECRETS
    )
    data = b"1t=1700000000,v1=$0\r\nv1=$1,v1=$2\r\n\r\n{}"

    assert signature.read(data) == signature.Delivery(
        [f"t=1700000000,v1={genuine}", f"v1={other},v1={genuine.upper()}"], b"{}", 1_700_000_300
    )
    assert signature.read(b"") == signature.Delivery([""], b"", signature.NOW)


@pytest.mark.parametrize(
    ("mark", "verdict"),
    [
        ("$0", "accept"),
        ("$2", "accept"),
        ("$3", "signature_mismatch"),
        ("$4", "signature_mismatch"),
    ],
)
def test_each_mark_is_judged_as_what_it_is(mark: str, verdict: str) -> None:
    assert signature.check(f"0t=1700000000,v1={mark}\r\n\r\n{{}}".encode()) == verdict


@given(seed=st.integers(0, 2**32 - 1), place=st.integers(0, 200))
def test_a_changed_document_is_still_json_unless_its_octets_were_changed(
    seed: int, place: int
) -> None:
    data = SEEDS["decoding"][place % len(SEEDS["decoding"])]
    octets_changed: list[bytes] = []

    def change_bytes(piece: bytes, most: int) -> bytes:
        octets_changed.append(piece)
        return piece[:most]

    result = documents.change(data, 8192, seed, change_bytes)
    assert len(result) <= 8192
    assert result == documents.change(data, 8192, seed, lambda piece, most: piece[:most])
    if data not in octets_changed:
        assert json.loads(result) is not None


def test_changing_documents_leads_to_every_kind_of_event() -> None:
    reached: set[str] = set()
    draw = Random(1)  # noqa: S311
    data = decoding.SHORTEST[0]
    for _ in range(2000):
        data = documents.change(data, 500, draw.getrandbits(32), lambda piece, most: piece[:most])
        reached.add(decoding.check(data))
        data = draw.choice([data, *decoding.SHORTEST])
    assert reached == {"invalid_envelope", "ShipmentEvent", "ClaimEvent", "UnknownEvent"}


# --- the command ---------------------------------------------------------------------------------


def test_one_input_can_be_looked_at_without_the_fuzzer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "input"
    path.write_bytes(
        b'{"event_group":"x","source":"claims","ref":"a","event_data":{"claim_id":"1"}}'
    )

    assert main(["decoding", "--input", str(path)]) == 0
    assert "ClaimEvent; no promise broken" in capsys.readouterr().out
    with pytest.raises(ValueError, match="unpack"):
        main(["planted", "--input", str(path)])


def test_the_help_says_what_there_is_and_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    for said in (*TARGETS, "--seconds", "--corpus", "examples:", "exit status:"):
        assert said in text


def test_without_the_fuzzer_the_command_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("fuzzing.__main__.find_spec", lambda name: None)

    assert main(["decoding"]) == 2
    assert "pip install --group fuzzing" in capsys.readouterr().err


needs_the_fuzzer = pytest.mark.skipif(
    find_spec("atheris") is None, reason="atheris is not built for this platform"
)


def fuzz(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fuzzing", *arguments],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )


@needs_the_fuzzer
def test_the_fuzzer_finds_a_planted_defect_and_keeps_the_input(tmp_path: Path) -> None:
    for seed in SEEDS["planted"]:
        assert planted.check(seed), "no seed shows the defect"

    run = fuzz("planted", "--seconds", "600", "--seed", "1", "--crashes", str(tmp_path))

    assert run.returncode == 1, run.stdout + run.stderr
    assert "A promise is broken: ValueError" in run.stdout
    (kept,) = tmp_path.iterdir()
    assert f"python -m fuzzing planted --input {kept}" in run.stdout
    with pytest.raises(ValueError, match="unpack"):
        planted.check(kept.read_bytes())
    assert reference.kind_of(dict(msgspec.json.decode(kept.read_bytes()))) == "ClaimEvent"


@needs_the_fuzzer
def test_a_run_without_a_finding_says_what_it_did_and_keeps_what_is_new(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    run = fuzz("signature", "--seconds", "1", "--corpus", str(corpus), "--crashes", str(tmp_path))

    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.startswith("signature: ")
    assert "no promise broken" in run.stdout
    executions = int(run.stdout.split()[1].replace(",", ""))
    assert executions > len(SEEDS["signature"])
    assert list(corpus.iterdir())


@needs_the_fuzzer
def test_an_engine_that_does_not_start_is_an_error_and_no_success(tmp_path: Path) -> None:
    broken = replace(planted.TARGET, name="nothing of this name")

    with pytest.raises(RuntimeError, match="KeyError"):
        campaign.run(broken, seconds=1, seed=1, corpus=None, crashes=tmp_path, verbose=False)
