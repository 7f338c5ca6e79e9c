from __future__ import annotations

import io
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from karla_receiver import Verifier, samples
from karla_receiver import sign as signature_of
from tests.cli.running import MAIN, run
from tests.signing import BODY, NOW, SECRET

HEADER = signature_of(BODY, SECRET, timestamp=NOW)


@pytest.fixture
def body(tmp_path: Path) -> Path:
    path = tmp_path / "body.json"
    path.write_bytes(BODY)
    return path


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text(f"{SECRET}\n")
    return path


def test_what_is_signed_verifies(body: Path) -> None:
    signed = run("sign", body)

    assert (signed.status, signed.errors) == (0, "")
    assert Verifier(SECRET).verify(BODY, signed.output.strip()).secret_index == 0


def test_a_body_is_taken_from_a_file_a_sample_or_standard_input(body: Path) -> None:
    expected = (0, HEADER + "\n", "")
    assert run("sign", body, "--timestamp", str(NOW)) == expected
    assert run("sign", "shipment_delivered", "--timestamp", str(NOW)) == expected
    assert run("sign", "-", "--timestamp", str(NOW), stdin=BODY) == expected
    assert run("sign", "--timestamp", str(NOW), stdin=BODY) == expected


def test_a_signature_may_be_had_as_json() -> None:
    signed = run("sign", "--timestamp", str(NOW), "--json", stdin=BODY)
    assert signed.lines == [{"header": "Karla-Signature", "value": HEADER}]


def test_a_secret_is_taken_from_a_file_without_its_last_newline(
    body: Path, secret_file: Path
) -> None:
    signed = run(
        "sign", body, "--timestamp", str(NOW), "--secret-file", secret_file, secret="other"
    )
    assert signed.output == HEADER + "\n"


def test_of_several_secrets_the_first_signs_and_all_verify(
    body: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KARLA_WEBHOOK_SECRETS", f"new-secret,{SECRET}")
    from typer.testing import CliRunner

    from karla_receiver.cli.program import program

    monkeypatch.delenv("KARLA_WEBHOOK_SECRET", raising=False)
    signed = CliRunner().invoke(program, ["sign", str(body)])
    assert Verifier("new-secret").verify(BODY, signed.stdout.strip())
    verified = CliRunner().invoke(
        program, ["verify", str(body), "--signature", HEADER, "--at", str(NOW), "--json"]
    )
    assert json.loads(verified.stdout)["secret_index"] == 1

    monkeypatch.setenv("KARLA_WEBHOOK_SECRET", SECRET)
    both = CliRunner().invoke(program, ["sign", str(body)])
    assert both.exit_code == 2
    assert "both KARLA_WEBHOOK_SECRET and" in both.stderr


def test_without_a_secret_a_terminal_is_asked(body: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def prompt(text: str, **options: Any) -> str:
        asked.append({"text": text, **options})
        return SECRET

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("karla_receiver.cli.secret_input.sys.stdin", Terminal())
    monkeypatch.setattr("typer.prompt", prompt)
    monkeypatch.delenv("KARLA_WEBHOOK_SECRET", raising=False)
    from karla_receiver.cli.secret_input import ask_or_refuse

    assert ask_or_refuse(None) == (SECRET,)
    assert asked == [{"text": "Karla's webhook secret", "hide_input": True, "err": True}]


def test_a_genuine_and_fresh_delivery_verifies(body: Path) -> None:
    arguments = ("verify", body, "--signature", HEADER, "--at", str(NOW + 4))

    verified = run(*arguments)
    assert verified == (0, "verified: signed 4 s before, with secret 1\n", "")
    assert run(*arguments, "--json").lines == [
        {"verified": True, "secret_index": 0, "clock_skew": 4.0}
    ]


def test_what_does_not_verify_says_why_and_exits_with_1(body: Path) -> None:
    late = run("verify", body, "--signature", HEADER)
    assert late.status == 1
    assert late.output.startswith("refused: timestamp_too_old: signed +")

    forged = run("verify", body, "--signature", HEADER, "--at", str(NOW), "--json", secret="other")
    assert forged.status == 1
    assert forged.lines == [{"verified": False, "reason": "signature_mismatch", "clock_skew": 0.0}]

    assert run("verify", body, "--signature", "").output.startswith("refused: missing_signature")
    lines = run("verify", body, "--signature", HEADER, "--signature", HEADER)
    assert lines.output.startswith("refused: malformed_header")


def test_the_tolerance_may_be_chosen(body: Path) -> None:
    arguments = ("verify", body, "--signature", HEADER, "--at", str(NOW + 1000))
    assert run(*arguments).status == 1
    assert run(*arguments, "--tolerance", "1000").status == 0


# What is wrong, and what is told about it.
WRONG: dict[str, tuple[list[str], str | None, str]] = {
    "no secret": (
        ["sign", "shipment_delivered"],
        None,
        "no secret: set KARLA_WEBHOOK_SECRET or give --secret-file (there is no terminal here to"
        " ask at)",
    ),
    "no signature": (
        ["verify", "shipment_delivered"],
        SECRET,
        "give the header's value with --signature",
    ),
    "no such file, and no secret": (
        ["verify", "shipment_deliverd"],
        None,
        "'shipment_deliverd' is neither a file nor a sample; did you mean shipment_delivered?"
        " `karla-receiver samples` lists them",
    ),
    "an empty secret": (["sign", "shipment_delivered"], "", "secret 1 is empty or blank"),
    "a secret with a newline": (
        ["verify", "shipment_delivered", "--signature", HEADER],
        "secret\n",
        "starts or ends with a space or newline",
    ),
    "no such file": (["sign", "nothing.json"], SECRET, "'nothing.json' is neither a file nor a"),
    "a folder": (["sign", "."], SECRET, ".: Is a directory"),
    "no such secret file": (
        ["sign", "shipment_delivered", "--secret-file", "nothing.txt"],
        SECRET,
        "--secret-file 'nothing.txt': there is no such file",
    ),
    "a timestamp of another age": (
        ["sign", "shipment_delivered", "--timestamp=-1"],
        SECRET,
        "timestamp must ",
    ),
    "a bad tolerance": (
        ["verify", "shipment_delivered", "--signature", HEADER, "--tolerance=-1"],
        SECRET,
        "tolerance must be ",
    ),
}


@pytest.mark.parametrize(("arguments", "secret", "message"), WRONG.values(), ids=WRONG)
def test_wrong_use_is_told_and_exits_with_2(
    arguments: list[str], secret: str | None, message: str
) -> None:
    wrong = run(*arguments, secret=secret)

    assert (wrong.status, wrong.output) == (2, "")
    assert message in wrong.told


def test_a_secret_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"\xff\xfe")
    wrong = run("sign", "shipment_delivered", "--secret-file", tmp_path / "key")
    assert wrong.status == 2
    assert "holds no text in UTF-8" in wrong.told


def test_a_secret_is_never_an_argument() -> None:
    for command in ("sign", "verify", "send", "replay", "listen", "explain"):
        assert run(command, "--secret", SECRET).status == 2


@pytest.mark.slow
def test_samples_are_listed_and_printed_byte_for_byte() -> None:
    listed = run("samples")
    assert listed.status == 0
    assert [line.split()[0] for line in listed.output.splitlines()] == samples.names()

    as_json = run("samples", "--json").lines
    assert [each["name"] for each in as_json] == samples.names()
    assert as_json[0]["event_group"] == "claim_created"

    for name in samples.names():
        assert run("samples", name).output.encode() == samples.read(name)


def test_a_sample_that_is_not_there_is_told_where_those_are_listed_that_are() -> None:
    wrong = run("samples", "nothing")
    assert wrong.status == 2
    assert wrong.told == (
        "karla-receiver: no sample is called 'nothing': `karla-receiver samples` lists them"
    )
    guessed = run("samples", "claim_craeted").told
    assert "'claim_craeted'; did you mean claim_created? `karla-receiver samples` lists" in guessed


@contextmanager
def at_a_terminal(*arguments: str | Path, **variables: str) -> Generator[subprocess.Popen[bytes]]:
    """Start a command whose standard input is a terminal, where nobody types."""
    master, terminal = pty.openpty()
    environment = {key: value for key, value in os.environ.items() if "KARLA" not in key}
    try:
        with subprocess.Popen(
            [sys.executable, "-W", "error", "-c", MAIN, *map(str, arguments)],
            stdin=terminal,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # or it would ask at the terminal of whoever runs the tests
            env={**environment, **variables},
        ) as process:
            try:
                yield process
            finally:
                process.kill()
    finally:
        os.close(master)
        os.close(terminal)


def told_until(process: subprocess.Popen[bytes], ending: bytes) -> bytes:
    assert process.stderr is not None
    told = b""
    while not told.endswith(ending):
        byte = process.stderr.read(1)
        assert byte, told
        told += byte
    return told


@pytest.mark.slow
def test_an_interrupt_at_the_prompt_leaves_quietly(body: Path) -> None:
    with at_a_terminal("sign", body) as process:
        told_until(process, b"Karla's webhook secret: ")
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, output, errors.strip()) == (130, b"", b"")


@pytest.mark.slow
@pytest.mark.parametrize("command", ["sign", "explain"])
def test_whoever_sits_at_a_terminal_is_told_that_it_is_read(command: str) -> None:
    with at_a_terminal(command, KARLA_WEBHOOK_SECRET=SECRET) as process:
        told = told_until(process, b"\n")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert told == b"reading standard input; end it with Ctrl-D, or give a file\n"
    assert process.returncode == 130


@pytest.mark.parametrize("command", ["verify", "explain"])
@pytest.mark.parametrize("at", ["nan", "inf", "yesterday", ""])
def test_what_is_no_time_names_its_option(command: str, at: str) -> None:
    wrong = run(command, "shipment_delivered", "--signature", HEADER, f"--at={at}")
    assert wrong.status == 2
    assert f"Invalid value for '--at': {at!a} is no time: give unix seconds" in wrong.told


@pytest.mark.parametrize("command", ["verify", "explain"])
@pytest.mark.parametrize("at", ["2023-11-14T22:13:21", "2023-11-14T23:13:21+01:00", str(NOW + 1)])
def test_a_time_may_be_in_iso_or_unix_seconds(command: str, at: str) -> None:
    assert NOW == 1_700_000_000
    header = run("sign", "shipment_delivered", "--timestamp", "2023-11-14T22:13:20Z").output.strip()
    assert header.startswith(f"t={NOW},")
    assert run(command, "shipment_delivered", "--signature", header, "--at", at).status == 0


def test_a_time_may_be_how_long_ago() -> None:
    header = run("sign", "shipment_delivered", "--timestamp", "2h").output.strip()
    assert run("verify", "shipment_delivered", "--signature", header).status == 1
    assert run("verify", "shipment_delivered", "--signature", header, "--at", "2h").status == 0


@pytest.mark.parametrize("command", ["verify", "explain"])
def test_a_signature_may_be_of_a_sample(command: str) -> None:
    header = run("sign", "shipment_delivered").output.strip()
    assert run(command, "shipment_delivered", "--signature", header).status == 0
