"""Runs what the page on signatures shows, and checks what it tells."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from karla_receiver import samples, sign
from karla_receiver.explain import Code
from karla_receiver.explain.advice import cause
from karla_receiver.explain.causes import Change
from tests.cli.running import run, started, when_listening
from tests.ports import reserved_port

PAGE = Path(__file__).parents[2] / "docs" / "my-signature-does-not-match.md"
TEXT = PAGE.read_text()
FENCES = [token for token in MarkdownIt().parse(TEXT) if token.type == "fence"]


def blocks(language: str) -> list[str]:
    return [token.content for token in FENCES if token.info == language]


def command(line: str) -> list[str]:
    program, *arguments = shlex.split(line)
    assert program == "karla-receiver"
    return arguments


def test_every_block_is_of_a_kind_that_is_run() -> None:
    assert [token.info for token in FENCES] == ["sh"] * 4 + ["text", "sh", "python"]


@pytest.mark.slow
def test_the_three_commands_lead_to_the_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export, listen, send, explain, _ = blocks("sh")
    name, secret = shlex.split(export)[1].split("=")
    monkeypatch.chdir(tmp_path)
    with (
        reserved_port() as port,  # the page has the default one, which may be taken
        started(*command(listen), "--port", str(port), "--count", "1", **{name: secret}) as process,
    ):
        when_listening(port).close()
        url = f"http://127.0.0.1:{port}/webhooks/karla"
        assert run(*command(send), "--to", url, secret=secret).status == 0
        process.communicate(timeout=60)
    assert process.returncode == 1
    explained = run(*command(explain), secret=secret)
    assert explained.status == 1
    assert explained.output.startswith(blocks("text")[0])


def test_the_command_without_a_recording_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    body = samples.read("shipment_delivered")
    (tmp_path / "body.json").write_bytes(body)
    line = blocks("sh")[-1].replace("$header", sign(body, "a-secret", timestamp=1_700_000_000))
    line = line.replace("$arrived", "1700000001.5")
    assert run(*command(line), secret="a-secret").status == 0


def test_the_python_finds_both_causes(capsys: pytest.CaptureFixture[str]) -> None:
    exec(blocks("python")[0], {"__name__": "page"})  # noqa: S102 - it is our own page
    told = capsys.readouterr().out.splitlines()
    assert [line.partition(" - ")[0] for line in told] == ["json_reserialised", "secret_quoted"]
    assert told[1].endswith("the secret, without the quotes around it")


def test_the_tables_list_every_cause() -> None:
    told = re.findall(r"^\| `(\w+)` \| (.+) \|$", TEXT, re.MULTILINE)
    assert told == [(str(code), cause(Change(code, "")).sentence) for code in Code]
