"""Several processes on one state file: readers come and go, and no commit is ever lost."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import vpe_watcher
from tests.adapters.store.builders import House, nowhere
from vpe_watcher.adapters.store import Database, NewCase, Queries
from vpe_watcher.core.model import State

PACKAGE = Path(vpe_watcher.__file__).parent

READ_OFTEN = """
import sys
from pathlib import Path
from vpe_watcher.adapters.store import Database, Queries

last = 0
for _ in range(50):
    database = Database(Path(sys.argv[1]), create=False)
    queries = Queries(database, now=float)
    count = len(queries.cases())
    assert count >= last, (count, last)
    assert sum(queries.counts().values()) >= count
    last = count
    database.close()
print(last)
"""

COUNT = """
import sqlite3, sys
print(sqlite3.connect(sys.argv[1]).execute("SELECT COUNT(*) FROM cases").fetchone()[0])
"""


def start(code: str, path: Path) -> subprocess.Popen[str]:
    """Start a process that runs some code on the state file."""
    return subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def output_of(process: subprocess.Popen[str]) -> str:
    """Wait for a process and return what it printed; a failure shows its traceback."""
    printed, errors = process.communicate(timeout=50)
    assert process.returncode == 0, errors
    return printed.strip()


def add_number(house: House, number: int) -> None:
    """Write one more case, by the plain verb."""
    new = NewCase(f"n{number}", "scan", "default", {}, "24.06", (), (), house.now)
    house.store.add_cases([new], is_taken=nowhere)


def test_readers_never_disturb_the_writer(house: House) -> None:
    """While one process commits, another opens and closes the file fifty times.

    The log file stays the same file all the time, and a third process sees every commit.
    """
    add_number(house, 0)
    log = house.path.with_name(house.path.name + "-wal")
    inode = log.stat().st_ino
    reader = start(READ_OFTEN, house.path)
    written = 1
    while reader.poll() is None and written < 5000:
        add_number(house, written)
        written += 1
        assert log.stat().st_ino == inode
    assert 1 <= int(output_of(reader)) <= written
    assert written > 10
    assert log.stat().st_ino == inode
    add_number(house, written)
    assert output_of(start(COUNT, house.path)) == str(written + 1)
    assert log.stat().st_ino == inode


def test_a_reader_in_the_same_process_does_no_harm(house: House) -> None:
    """Closing a second `Database` leaves the first one's locks and log alone."""
    add_number(house, 0)
    for number in range(1, 20):
        reader = Database(house.path, create=False)
        assert len(Queries(reader, now=house.clock).cases()) == number
        reader.close()
        add_number(house, number)
    assert output_of(start(COUNT, house.path)) == "20"


def test_a_reader_sees_the_last_commit_of_a_daemon_that_is_gone(house: House) -> None:
    """`status` without a daemon reads what it left."""
    house.add()
    house.close()
    database = house.open(create=False)
    assert Queries(database, now=house.clock).counts()[State.CLAIMING] == 1


def test_many_threads_write_through_one_database(house: House) -> None:
    """Each thread has its own connection; every commit arrives once."""
    errors: list[BaseException] = []

    def write(first: int) -> None:
        try:
            for number in range(first, first + 20):
                add_number(house, number)
        except BaseException as error:  # noqa: BLE001 - shown by the assertion below
            errors.append(error)

    threads = [threading.Thread(target=write, args=(start * 20,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert house.queries.counts()["claiming"] == 80
    folders = house.database.read("SELECT COUNT(DISTINCT folder) FROM cases")[0][0]
    assert folders == 80


# --- the law that no other code opens these files ------------------------------------------------

OPENING = frozenset(
    {
        "open",
        "read_bytes",
        "read_text",
        "write_bytes",
        "write_text",
        "touch",
        "copy",
        "copy2",
        "copyfile",
        "copyfileobj",
        "connect",
    }
)


def opening_calls(source: str) -> list[str]:
    """Return the calls that open a file and name the state file in an argument or before a dot."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        owner = node.func.value if isinstance(node.func, ast.Attribute) else None
        parts = [*node.args, *(keyword.value for keyword in node.keywords), owner]
        words = " ".join(ast.unparse(part) for part in parts if part is not None)
        words = re.sub(r"lock_path\([^()]*\)", "", words)  # the lock beside it is another file
        if name in OPENING and ("state_file" in words or "database.path" in words):
            found.append(f"{node.lineno}: {ast.unparse(node)}")
    return found


@pytest.mark.parametrize(
    "source",
    [
        "open(settings.state_file)",
        "settings.state_file.open('rb')",
        "os.open(str(self._state_file), os.O_RDONLY)",
        "shutil.copy(settings.state_file, backup)",
        "settings.state_file.read_bytes()",
        "Path(f'{settings.state_file}-wal').touch()",
        "sqlite3.connect(state_file)",
        "io.open(file=database.path)",
    ],
)
def test_the_search_finds_what_it_looks_for(source: str) -> None:
    """Every way of opening the file by another door is seen."""
    assert opening_calls(source)


@pytest.mark.parametrize(
    "source",
    [
        "Database(settings.state_file)",
        "open(path)",
        "settings.state_file.stat()",
        "os.open(lock_path(state_file), os.O_RDONLY)",
    ],
)
def test_the_search_finds_nothing_else(source: str) -> None:
    """Naming or asking about the file is no harm."""
    assert not opening_calls(source)


def test_no_code_opens_the_state_file_but_the_store() -> None:
    """Another descriptor of these files, once closed, would drop SQLite's locks."""
    modules = sorted(PACKAGE.rglob("*.py"))
    assert len(modules) > 20
    found = {
        str(module.relative_to(PACKAGE)): calls
        for module in modules
        if "store" not in module.relative_to(PACKAGE).parts
        and (calls := opening_calls(module.read_text("utf-8")))
    }
    assert found == {}


def test_only_the_store_speaks_sql() -> None:
    """No other module imports sqlite3."""
    importing = set()
    for module in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if "sqlite3" in names:
                importing.add(module.relative_to(PACKAGE).parts[:2])
    assert importing == {("adapters", "store")}
