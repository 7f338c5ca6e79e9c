"""Where the file lies: only its owner may read it, and its log lies beside it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from stat import S_IMODE

import pytest

from karla_receiver import ConfigurationError
from karla_receiver.errors import StorageError
from karla_receiver.idempotency import SQLiteStore
from karla_receiver.inbox import SQLiteInbox
from karla_receiver.sqlite import place
from tests.inbox.stock import delivery, query, states

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    return tmp_path / "karla.db"


@pytest.fixture(params=[0o000, 0o022, 0o777], ids=oct)
def _umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def modes(path: Path) -> dict[str, int]:
    """Return the modes of all files in the directory, which are the database's."""
    return {each.name: S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}


PRIVATE = {"karla.db": 0o600, "karla.db-shm": 0o600, "karla.db-wal": 0o600}


@pytest.mark.usefixtures("_umask")
def test_only_the_owner_may_use_the_file_and_those_beside_it(path: Path) -> None:
    inbox = SQLiteInbox(path)
    store = SQLiteStore(path)
    inbox.put(delivery())
    store.claim("key", "occurrence")
    assert modes(path) == PRIVATE
    store.close()
    inbox.close()
    assert modes(path) == {"karla.db": 0o600}


def test_files_that_are_there_are_closed_to_others(path: Path) -> None:
    before = SQLiteInbox(path)
    before.put(delivery("first"))
    for name in modes(path):
        path.with_name(name).chmod(0o666)

    inbox = SQLiteInbox(path)
    assert modes(path) == PRIVATE
    inbox.put(delivery("second"))
    inbox.close()
    before.close()


def test_a_file_that_is_not_a_database_keeps_its_mode(path: Path) -> None:
    path.write_text("127.0.0.1 localhost, and a text that is longer than a page's header" * 9)
    path.chmod(0o644)
    with pytest.raises(ConfigurationError, match="not a SQLite database"):
        SQLiteInbox(path)
    assert modes(path)["karla.db"] == 0o644


def test_a_file_of_another_user_is_used_and_reported_once(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    SQLiteInbox(path).close()
    path.chmod(0o660)

    def refuse(self: Path, mode: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", refuse)
    for _ in range(2):
        inbox = SQLiteInbox(path)
        assert inbox.put(delivery()) in ("new", "duplicate")
        inbox.close()
    messages = [each.getMessage() for each in caplog.records if str(path) in each.getMessage()]
    assert [each.split(",")[0] for each in messages if f"{path}," in each] == [
        f"other users can read {path}"
    ]


# --- links ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_there", [True, False])
def test_a_link_leads_to_its_file(tmp_path: Path, path: Path, is_there: bool) -> None:
    target = tmp_path / "data" / "real.db"
    target.parent.mkdir()
    if is_there:
        SQLiteInbox(target).close()
    path.symlink_to(Path("data") / "real.db")

    inbox = SQLiteInbox(path)
    assert inbox.put(delivery()) == "new"
    assert inbox.put(delivery()) == "duplicate"
    assert states(target) == {"one": "waiting"}
    inbox.close()
    assert path.is_symlink()
    assert [each.name for each in target.parent.iterdir()] == ["real.db"]


def test_a_link_that_leads_elsewhere_meanwhile_is_noticed(tmp_path: Path, path: Path) -> None:
    for name in ("one.db", "other.db"):
        SQLiteInbox(tmp_path / name).close()
    path.symlink_to("one.db")
    inbox = SQLiteInbox(path)
    inbox.put(delivery("first"))
    path.unlink()
    path.symlink_to("other.db")
    with pytest.raises(StorageError, match="deleted or replaced"):
        inbox.put(delivery("second"))

    inbox.put(delivery("third"))
    inbox.close()
    assert states(tmp_path / "other.db") == {"third": "waiting"}


# --- what cannot be written ----------------------------------------------------------------------

# As another user, where this one is root: root may write everywhere. The import comes first, for
# that user may not read the code.
AS_NOBODY = """
import os, sys
from karla_receiver import ConfigurationError
from karla_receiver.inbox import SQLiteInbox
if os.geteuid() == 0:
    os.seteuid(65534)
try:
    SQLiteInbox(sys.argv[1])
except ConfigurationError as error:
    print(error)
"""


def as_nobody(path: Path) -> str:
    command = [sys.executable, "-c", AS_NOBODY, str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout


@pytest.fixture(name="shared")
def _shared() -> Iterator[Path]:
    """Return a database in a directory that everybody may enter, unlike those of pytest."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield Path(folder) / "karla.db"


def test_the_other_user_may_use_what_it_may_write_to(shared: Path) -> None:
    assert as_nobody(shared) == ""


def test_a_file_that_cannot_be_written_is_refused_when_the_inbox_is_made(shared: Path) -> None:
    SQLiteInbox(shared).close()
    shared.chmod(0o444)
    assert f"this user may not write to {shared}\n" in as_nobody(shared)
    assert modes(shared) == {"karla.db": 0o444}


@pytest.mark.parametrize("name", ["karla.db", "."])
def test_what_the_system_says_cannot_be_written_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    SQLiteInbox(path).close()
    refused = str(path.parent / name)
    monkeypatch.setattr(os, "access", lambda asked, mode, **_: str(asked) != refused)
    with pytest.raises(ConfigurationError, match=f"this user may not write to {refused}$"):
        SQLiteInbox(path)


@pytest.mark.parametrize("is_there", [True, False])
def test_a_directory_that_cannot_be_written_is_refused_when_the_inbox_is_made(
    shared: Path, is_there: bool
) -> None:
    if is_there:
        SQLiteInbox(shared).close()
        shared.chmod(0o666)
    shared.parent.chmod(0o555)
    assert f"this user may not write to {shared.parent}\n" in as_nobody(shared)


# --- a single file in a container ----------------------------------------------------------------


def mounted(path: Path, program: str) -> subprocess.CompletedProcess[str]:
    """Run a program where the file is mounted over itself, in a name space of its own."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("mounting needs Linux, and to be root")
    script = 'mount --bind "$1" "$1" && exec "$2" -c "$3" "$1"'
    command = ["unshare", "-m", "sh", "-c", script, "sh", str(path), sys.executable, program]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


OPEN = """
import sys
from karla_receiver.inbox import SQLiteInbox
from tests.inbox.stock import delivery
inbox = SQLiteInbox(sys.argv[1])
print(inbox.put(delivery()))
"""


@pytest.mark.parametrize("name", ["karla.db", "a b\\c\té.db"])
def test_a_single_file_that_is_mounted_is_refused_when_the_inbox_is_made(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    SQLiteInbox(path).close()
    run = mounted(path, OPEN)
    assert "ConfigurationError" in run.stderr
    assert "mounted as a single file" in run.stderr
    assert query(path, "SELECT count(*) FROM karla_inbox") == [(0,)]


def test_a_directory_that_is_mounted_is_used(tmp_path: Path) -> None:
    path = tmp_path / "karla.db"
    SQLiteInbox(path).close()
    program = f"import sys; sys.argv[1] += '/karla.db'{OPEN}"
    run = mounted(tmp_path, program)
    assert run.stdout == "new\n", run.stderr
    assert states(path) == {"one": "waiting"}


def test_where_no_list_of_mounts_is_none_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, "_MOUNTS", path.with_name("none"))
    SQLiteInbox(path).close()
