"""What the fuzzer judges by, on every seed; that it finds what is broken; its command."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzzing import campaign, decoding, planted, signature
from fuzzing.__main__ import main
from fuzzing.promises import PromiseError
from fuzzing.targets import TARGETS
from karla_receiver import (
    Event,
    PayloadError,
    Reason,
    SignatureError,
    UnknownEvent,
    Verified,
    Verifier,
    parse_event,
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


def tell_the_secret(body: bytes, header: signature.Header, now: float) -> Verified:
    try:
        return signature.verify(body, header, now)
    except SignatureError as refusal:
        raise SignatureError(refusal.reason, f"not by {signature.SECRETS[0].decode()}") from None


BROKEN_VERIFIERS: dict[str, signature.Verify] = {
    "a stranger's signature is accepted": verify_ignoring(Reason.SIGNATURE_MISMATCH),
    "only the first secret is tried": lambda body, header, now: Verifier(
        signature.SECRETS[0], clock=lambda: now
    ).verify(body, header),
    "the wrong secret is said to match": lambda body, header, now: signature.verify(
        body, header, now
    )._replace(secret_index=1),
    "an error shows a secret": tell_the_secret,
}


@pytest.mark.parametrize("verify", BROKEN_VERIFIERS.values(), ids=BROKEN_VERIFIERS)
def test_a_broken_verifier_is_noticed_on_the_seeds(verify: signature.Verify) -> None:
    with pytest.raises((PromiseError, UnicodeDecodeError)):
        check_all("signature", lambda seed: signature.check(seed, verify))


def changed(**fields: Any) -> decoding.Parse:
    return lambda body: msgspec.structs.replace(parse_event(body), **fields)


def accept_anything(body: bytes) -> Event:
    try:
        return parse_event(body)
    except PayloadError:
        return UnknownEvent(event_group="x", problem="?")


BROKEN_PARSERS: dict[str, decoding.Parse] = {
    "what is no event is accepted": accept_anything,
    "raw is emptied": changed(raw={}),
    "the ref is another": changed(ref="shipments/delivered"),
    "all events are unknown": lambda body: UnknownEvent(
        event_group=parse_event(body).event_group, raw=parse_event(body).raw, problem="?"
    ),
}


@pytest.mark.parametrize("parse", BROKEN_PARSERS.values(), ids=BROKEN_PARSERS)
def test_a_broken_decoder_is_noticed_on_the_seeds(parse: decoding.Parse) -> None:
    with pytest.raises(PromiseError):
        check_all("decoding", lambda seed: decoding.check(seed, parse))


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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
@needs_the_fuzzer
def test_an_engine_that_does_not_start_is_an_error_and_no_success(tmp_path: Path) -> None:
    broken = replace(planted.TARGET, name="nothing of this name")

    with pytest.raises(RuntimeError, match="KeyError"):
        campaign.run(broken, seconds=1, seed=1, corpus=None, crashes=tmp_path, verbose=False)
