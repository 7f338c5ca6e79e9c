from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from karla_receiver import ConfigurationError
from karla_receiver.cli.recording import Recorded, Recorder, decoded

DELIVERY = Recorded(
    received_at=1_700_000_000.25,
    path="/webhooks/karla",
    headers=[("karla-signature", "t=1,v1=ab"), ("Karla-Signature", "more"), ("x-odd", "\xe9")],
    body=b"\x00\xff {}\r\n",
    status=401,
    reason="no_v1",
)


def numbered(number: int) -> Recorded:
    return Recorded(received_at=number, headers=[], body=b"%d" % number)


def bodies(path: Path) -> list[bytes]:
    return [each.body for each in decoded(path.read_bytes(), "it").values()]


@given(body=st.binary())
def test_the_bytes_of_a_body_are_exact(
    tmp_path_factory: pytest.TempPathFactory, body: bytes
) -> None:
    path = tmp_path_factory.mktemp("recording") / "it"
    Recorder(path, 1).add(Recorded(received_at=0, headers=[], body=body))
    assert bodies(path) == [body]


def test_everything_of_a_delivery_is_kept(tmp_path: Path) -> None:
    Recorder(tmp_path / "it", 1).add(DELIVERY)
    assert decoded((tmp_path / "it").read_bytes(), "it") == {1: DELIVERY}


def test_the_signature_is_that_of_all_lines_in_any_case() -> None:
    assert DELIVERY.signature == ["t=1,v1=ab", "more"]


def test_a_repr_shows_neither_body_nor_headers() -> None:
    assert repr(DELIVERY) == "<Recorded 'POST' '/webhooks/karla', 7 bytes>"


def test_only_the_owner_may_read_a_recording(tmp_path: Path) -> None:
    path = tmp_path / "it"
    recorder = Recorder(path, 1)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for number in range(3):
        recorder.add(numbered(number))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["it", "it.new"])
def test_a_recording_that_others_can_read_is_closed_to_them(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.touch()
    path.chmod(0o666)
    recorder = Recorder(tmp_path / "it", 1)
    for number in range(4):
        recorder.add(numbered(number))
    assert [stat.S_IMODE(each.stat().st_mode) for each in tmp_path.iterdir()] == [0o600]


def test_a_file_of_another_user_that_others_can_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "it"
    path.touch()
    path.chmod(0o666)

    def refuse(self: Path, mode: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", refuse)
    with pytest.raises(ConfigurationError, match="another user's, and others can read it"):
        Recorder(path, 1)


def test_the_last_ones_are_kept_and_no_more_than_twice_as_many(tmp_path: Path) -> None:
    path = tmp_path / "it"
    recorder = Recorder(path, 3)
    for number in range(20):
        recorder.add(numbered(number))
        kept = bodies(path)
        assert kept[-3:] == [b"%d" % each for each in range(max(0, number - 2), number + 1)]
        assert len(kept) <= 6
    assert [each.name for each in tmp_path.iterdir()] == ["it"]


def test_a_recording_is_continued(tmp_path: Path) -> None:
    path = tmp_path / "it"
    Recorder(path, 2).add(numbered(1))
    again = Recorder(path, 2)
    for number in range(2, 6):
        again.add(numbered(number))
    assert bodies(path) == [b"4", b"5"]


def test_an_empty_file_is_a_recording_to_begin(tmp_path: Path) -> None:
    path = tmp_path / "it"
    path.touch()
    Recorder(path, 2).add(numbered(1))
    assert bodies(path) == [b"1"]


def test_a_file_that_is_something_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "it"
    path.write_bytes(b"my diary\n")
    with pytest.raises(ConfigurationError, match="line 1 is no recorded delivery"):
        Recorder(path, 2)
    assert path.read_bytes() == b"my diary\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"\n \n", "it is empty"),
        (b"{}", "it, line 1 is no recorded delivery .*missing required field"),
        (b"\n\nnot json", "it, line 3 is no recorded delivery"),
        (b'{"karla_delivery":2,"received_at":0,"headers":[],"body":""}', "Invalid enum value 2"),
        (b'{"karla_delivery":1,"received_at":0,"headers":[],"body":"?"}', "line 1 .*base64"),
        (b'"\xff"', "line 1 is no recorded delivery"),
    ],
)
def test_what_is_no_recording_is_told_with_its_line(content: bytes, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        decoded(content, "it")
