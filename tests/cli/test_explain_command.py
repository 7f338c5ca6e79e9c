from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from karla_receiver import sign
from karla_receiver.cli.recording import Recorded, Recorder
from tests.cli.running import run
from tests.signing import BODY, NOW, SECRET

HEADER = sign(BODY, SECRET, timestamp=NOW)


def recorded(body: bytes = BODY, header: str = HEADER, name: str = "karla-signature") -> Recorded:
    headers = [("content-length", str(len(BODY))), (name, header)]
    return Recorded(received_at=NOW + 1, headers=headers, body=body)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "deliveries.jsonl"
    recorder = Recorder(path, 9)
    recorder.add(recorded())
    recorder.add(recorded(BODY + b"\n"))
    recorder.add(recorded(BODY.replace(b"54.8", b"54.9")))
    recorder.add(recorded(BODY[:-1]))
    return path


def test_what_verifies_needs_no_explanation(recording: Path) -> None:
    explained = run("explain", recording, "--line", "1")
    assert explained == (0, f"Delivery 1, {len(BODY)} bytes: verifies\n", "")


def test_a_cause_is_told_with_its_proof_and_what_to_do(recording: Path) -> None:
    explained = run("explain", recording, "--line", "2")
    lines = explained.output.splitlines()

    assert explained.status == 1
    assert lines[:3] == [
        f"Delivery 2, {len(BODY) + 1} bytes: signature_mismatch",
        "  Cause: Newlines or blanks around the body, or the kind of its line ends, were changed."
        " (newlines_changed)",
        "    Evidence: without 1 blank byte(s) at the end",
    ]
    assert lines[3].startswith("    To do: Hand on the bytes as they came")
    assert "      curl: -d @file drops line ends; use --data-binary @file" in lines
    assert lines[-1] == "  Proven: with this undone, the signature fits."


def test_a_forgery_is_said_to_have_no_known_cause(recording: Path) -> None:
    explained = run("explain", recording, "--line", "3")
    assert explained.status == 1
    assert "  Not known: " in explained.output
    assert "Cause:" not in explained.output
    assert "Hint" not in explained.output


def test_a_search_that_reached_its_bound_says_so(
    recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("karla_receiver.explain.search._MAX_HASHES", 10)
    explained = run("explain", recording, "--line", "3")
    assert "10 signatures were computed, where the search ended, and none fits" in explained.output


def test_hints_are_told_where_nothing_is_proven(recording: Path) -> None:
    explained = run("explain", recording, "--line", "4")
    assert "  Hint: The body is not as long as the request said. (other_length)" in explained.output


def test_all_deliveries_are_explained_from_a_file_or_standard_input(recording: Path) -> None:
    from_file = run("explain", recording)
    assert from_file.status == 1
    assert from_file.output.count("Delivery ") == 4
    assert run("explain", stdin=recording.read_bytes()) == from_file


def refused(reason: str, **options: Any) -> bytes:
    delivery = msgspec.structs.replace(recorded(), reason=reason, **options)
    return msgspec.json.encode(delivery)


def test_an_explanation_starts_from_the_recorded_reason() -> None:
    for reason, told in (
        ("method_not_allowed", "Cause: The request is not a POST"),
        ("body_too_large", "Cause: The body is longer than the receiver takes."),
        ("invalid_json", "Cause: The body is not JSON that can be represented"),
        ("signature_mismatch", "Cause: It verifies here: "),
    ):
        explained = run("explain", stdin=refused(reason))
        assert explained.status == 1
        assert explained.output.startswith(f"Delivery 1, {len(BODY)} bytes: {reason}\n  {told}")
        assert explained.output.endswith("  Proven: the signature fits.\n")


def test_the_method_is_told_if_it_is_no_post() -> None:
    explained = run("explain", stdin=refused("method_not_allowed", method="GET"))
    assert explained.output.startswith(f"Delivery 1, GET, {len(BODY)} bytes: method_not_allowed\n")


def test_a_reason_of_another_receiver_is_told_as_it_was() -> None:
    explained = run("explain", stdin=refused("odd \x1b"))
    told = f"Delivery 1, {len(BODY)} bytes: verifies, and was refused as 'odd \\x1b'\n"
    assert explained == (1, told, "")


@pytest.mark.parametrize(
    ("headers", "is_whole"),
    [([("content-length", "3000000")], True), ([], False), ([("content-length", "x")], False)],
)
def test_a_body_that_was_cut_is_not_called_forged(
    headers: list[tuple[str, str]], is_whole: bool
) -> None:
    headers.append(("karla-signature", HEADER))
    options = {"headers": headers, "body": BODY[:-9], "is_whole": is_whole}
    explained = run("explain", stdin=refused("body_too_large", **options))
    assert "forged" not in explained.output
    assert "Hint: Only the beginning of the body was recorded" in explained.output


def test_a_request_without_a_header_is_not_called_forged() -> None:
    explained = run("explain", stdin=refused("missing_signature", headers=[]))
    assert "forged" not in explained.output
    assert "  Cause: There is no Karla-Signature header, or it is empty." in explained.output
    assert "  Not proven genuine: no signature fits the secret given here." in explained.output


def test_a_broken_header_of_a_forgery_is_told_with_what_was_tried() -> None:
    headers = [("karla-signature", f"t={NOW},v1={'ab' * 20}")]
    explained = run("explain", stdin=refused("malformed_header", headers=headers))
    assert "  Cause: The header is not written as Karla writes it." in explained.output
    assert re.search("  Not proven genuine: [0-9]+ signatures were computed", explained.output)


def test_an_hour_is_no_proof_of_a_wrong_clock() -> None:
    explained = run("explain", stdin=refused("timestamp_too_old", received_at=NOW + 3600.0))
    assert "(too_late)" in explained.output
    assert "time_zone" not in explained.output
    assert explained.output.endswith("  Proven: the signature fits.\n")


def test_deliveries_have_the_numbers_of_their_lines(recording: Path) -> None:
    content = recording.read_bytes().replace(b"\n", b"\n\n")
    assert [each["delivery"] for each in run("explain", "--json", stdin=content).lines] == [
        *range(1, 8, 2)
    ]
    assert run("explain", "--line", "2", stdin=content).status == 2
    (third,) = run("explain", "--line", "3", "--json", stdin=content).lines
    assert [each["code"] for each in third["causes"]] == ["newlines_changed"]


def test_explanations_may_be_had_as_json(recording: Path) -> None:
    lines = run("explain", recording, "--json").lines

    assert [each["delivery"] for each in lines] == [1, 2, 3, 4]
    assert [each["reason"] for each in lines] == [None] + ["signature_mismatch"] * 3
    assert [each["code"] for each in lines[1]["causes"]] == ["newlines_changed"]
    assert lines[1]["causes"][0]["where"]["curl"]
    assert lines[2]["causes"] == []
    assert lines[2]["is_complete"]


def test_a_raw_body_may_be_explained_with_its_header(tmp_path: Path) -> None:
    body = tmp_path / "body.json"
    body.write_bytes(BODY + b"\n")
    arguments = ("explain", body, "--signature", HEADER, "--json")

    (then,) = run(*arguments, "--at", str(NOW)).lines
    assert [each["code"] for each in then["causes"]] == ["newlines_changed"]
    (now,) = run(*arguments).lines
    assert [each["code"] for each in now["causes"]] == ["newlines_changed", "too_late"]


def test_the_time_of_receipt_is_the_recorded_one_unless_given(recording: Path) -> None:
    late = run("explain", recording, "--line", "1", "--at", str(NOW + 1000), "--json")
    assert late.status == 1
    assert [each["code"] for each in late.lines[0]["causes"]] == ["too_late"]
    tolerant = ("--at", str(NOW + 1000), "--tolerance", "1000")
    assert run("explain", recording, "--line", "1", *tolerant).status == 0


@pytest.mark.parametrize("seconds", [1000, -1000, 3600])
def test_where_only_the_time_is_wrong_the_time_that_was_given_may_be(
    recording: Path, seconds: int
) -> None:
    doubt = " Or --at is not when it arrived."
    explained = run("explain", recording, "--line", "1", "--at", str(NOW + seconds))
    assert explained.output.count(doubt) == 1

    rewritten = run("explain", recording, "--line", "2", "--at", str(NOW + 1))
    assert "Cause: " in rewritten.output
    assert doubt not in rewritten.output


def test_a_secret_is_taken_as_the_app_has_it(recording: Path, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    one = ("explain", recording, "--line", "1")
    for secret in (f"{SECRET} ", f"{SECRET}\n"):
        explained = run(*one, "--json", secret=secret)
        assert [each["code"] for each in explained.lines[0]["causes"]] == ["secret_blanks"]
    # As for all other commands, the newline at a file's end is no part of the secret.
    assert run(*one, "--secret-file", file, secret=None).status == 0
    other = run(*one, "--other-secret-file", file, "--json", secret="production")
    assert [c["code"] for c in other.lines[0]["causes"]] == ["secret_of_another_environment"]


def test_secrets_of_other_environments_are_tried(
    recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "staging.txt"
    file.write_text(SECRET)
    monkeypatch.setenv("STAGING", SECRET)
    for option, value in (("--other-secret-file", str(file)), ("--other-secret-env", "STAGING")):
        explained = run("explain", recording, "--line", "1", option, value, secret="production")
        assert "(secret_of_another_environment)" in explained.output
        assert f"    Evidence: with the secret '{value}'" in explained.output
        assert SECRET not in explained.output


def test_the_order_of_keys_is_learned_from_a_genuine_delivery(tmp_path: Path) -> None:
    genuine, signed = b'{"z": {"y": 1, "x": 2}, "a": 3}', b'{"z":{"y":5,"x":6},"a":7}'
    sorted_keys = recorded(b'{"a":7,"z":{"x":6,"y":5}}', sign(signed, SECRET, timestamp=NOW))
    stdin = msgspec.json.encode(sorted_keys)
    assert "(sorted_keys)" in run("explain", stdin=stdin).output

    body, recording = tmp_path / "body.json", tmp_path / "deliveries.jsonl"
    body.write_bytes(genuine)
    recorder = Recorder(recording, 9)
    recorder.add(msgspec.structs.replace(recorded(b"cut"), reason="signature_mismatch"))
    recorder.add(recorded(genuine))
    for file in (body, recording):
        explained = run("explain", "--like", file, stdin=stdin)
        assert "(keys_reordered)" in explained.output
        assert explained.output.endswith("  Proven: with this undone, the signature fits.\n")


def test_wrong_use_is_told(recording: Path, tmp_path: Path) -> None:
    body = tmp_path / "body.json"
    body.write_bytes(BODY)
    empty = tmp_path / "empty.json"
    empty.touch()
    refusals = tmp_path / "refusals.jsonl"
    refusals.write_bytes(refused("signature_mismatch"))
    for arguments, secret, message in (
        ([recording, "--line", "5"], SECRET, f"--line 5: {recording} has no delivery there"),
        ([recording, "--other-secret-env", "NOTHING"], SECRET, "there is no such variable"),
        ([recording], None, "no secret: set KARLA_WEBHOOK_SECRET"),
        ([recording], " ", "secret 1 is empty or blank"),
        (
            [recording, "--signature", "foo"],
            SECRET,
            "takes a Karla-Signature header, which looks like t=...,v1=..., not 'foo'",
        ),
        (["nothing.jsonl"], SECRET, "nothing.jsonl: No such file"),
        (
            [body],
            SECRET,
            "line 1 is no recorded delivery (Object missing required field `received_at`):"
            " `karla-receiver listen --record FILE` writes them; for a raw body give its header"
            " with --signature",
        ),
        (
            [recording, "--other-secret-file", "nothing.txt"],
            SECRET,
            "--other-secret-file 'nothing.txt': there is no such file",
        ),
        ([recording, "--tolerance=-1"], SECRET, "tolerance must be"),
        ([recording, "--like", "nothing.jsonl"], SECRET, "nothing.jsonl: No such file"),
        ([recording, "--like", refusals], SECRET, "no delivery in it was accepted"),
        ([recording, "--like", empty], SECRET, "genuine body 1 is not JSON in UTF-8"),
    ):
        wrong = run("explain", *arguments, secret=secret)
        assert (wrong.status, wrong.output) == (2, "")
        assert message in wrong.told.replace("\n", "")
