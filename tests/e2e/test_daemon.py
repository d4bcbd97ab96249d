"""The daemon as a service: signals, words, other processes that look, folders that come and go."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import stat
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.machine import Engine, Machine, clean_environment, stop
from tests.flow.house import nifti
from vpe_watcher.adapters.telemetry import FIELDS

Build = Callable[..., Machine]
STALLED = [{"on": "submit", "do": {"stall_s": 40.0}}]
TEN_LOOKS = """
import sys
from vpe_watcher.app import cli

for _ in range(10):
    assert cli.run(["status", "--json", "--config", sys.argv[1]]) == 0
    print(chr(12))
"""
EAVESDROPPER = """
import os, sys

def listen(event, arguments):
    if event == "socket.getaddrinfo":
        heard = f"getaddrinfo {arguments[0]}"
    elif event in ("socket.connect", "socket.sendto"):
        heard = f"{event} {arguments[1]}"
    elif event in ("socket.gethostbyname", "socket.gethostbyaddr"):
        heard = f"{event} {arguments[0]}"
    else:
        return
    with open(os.environ["HEARD"], "a") as file:
        file.write(heard + "\\n")

sys.addaudithook(listen)
"""


# --- signals -------------------------------------------------------------------------------------


def test_sigterm_ends_it_in_good_order(machine: Machine, engine: Engine) -> None:
    """Exit 0 in the midst of work, and the next start goes on where it was."""
    engine.set_options(processing_s=1.5)
    machine.drop("scan.nii", nifti())
    with machine.daemon() as process:
        machine.wait(lambda: machine.states().get("scan") == "waiting")
        started = time.monotonic()
        assert stop(process, signal.SIGTERM, within_s=10) == 0
        assert time.monotonic() - started < 2.0
    assert machine.events()[-1]["event"] == "daemon.stopped"
    with machine.daemon():
        machine.wait(lambda: machine.is_delivered("scan"))


@pytest.mark.real
def test_a_step_that_hangs_is_given_up_after_the_grace(build: Build, engine: Engine) -> None:
    """Stopping is crashing politely: exit 0 within stop_grace_s, the attempt is found at start."""
    engine.set_faults(STALLED)
    machine = build(stop_grace_s=0.7)
    machine.drop("scan.nii", nifti())
    with machine.daemon() as process:
        machine.wait(lambda: machine.states().get("scan") == "submitting")
        time.sleep(0.3)
        started = time.monotonic()
        assert stop(process, signal.SIGTERM, within_s=10) == 0
        assert time.monotonic() - started < 2.5
    engine.set_faults([])
    with machine.daemon():
        machine.wait(lambda: machine.is_delivered("scan"))
    assert "step.interrupted" in {event["event"] for event in machine.events()}


def test_a_second_sigterm_ends_it_at_once(machine: Machine, engine: Engine) -> None:
    """Whoever asks twice does not want to wait."""
    engine.set_faults(STALLED)
    machine.drop("scan.nii", nifti())
    with machine.daemon() as process:
        machine.wait(lambda: machine.states().get("scan") == "submitting")
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert process.poll() is None
        assert stop(process, signal.SIGTERM, within_s=1.0) != 0


def test_sigint_is_like_sigterm_and_sighup_is_no_end(machine: Machine) -> None:
    """Ctrl-C ends it with 0; a hang-up is logged and changes nothing."""
    with machine.daemon() as process:
        process.send_signal(signal.SIGHUP)
        machine.wait(lambda: "config." in machine.log)
        machine.drop("scan.nii", nifti())
        machine.wait(lambda: machine.is_delivered("scan"))
        assert stop(process, signal.SIGINT, within_s=10) == 0


@pytest.mark.real
def test_a_flood_of_hangups_stops_nothing(machine: Machine) -> None:
    """Thousands of signals in the midst of work: it is done all the same, and SIGTERM is heard."""
    with machine.daemon() as process:
        machine.drop("scan.nii", nifti())
        for _ in range(5000):
            process.send_signal(signal.SIGHUP)
        machine.wait(lambda: machine.is_delivered("scan"))
        assert stop(process, signal.SIGTERM, within_s=10) == 0


@pytest.mark.real
def test_it_waits_at_start_for_its_state_file(machine: Machine) -> None:
    """A state file that cannot be used yet ends nothing, and a signal ends the wait with 0."""
    assert machine.run("run", "--once").returncode == 0
    path = machine.root / "state" / "state.sqlite3"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "CREATE TRIGGER trouble BEFORE UPDATE ON daemon BEGIN SELECT trouble(); END"
        )
    machine.drop("scan.nii", nifti())
    with machine.starting() as process:
        machine.wait(lambda: "state_unusable" in machine.log)
        assert stop(process, signal.SIGTERM, within_s=10) == 0
    with machine.starting():
        machine.wait(lambda: machine.log.count("state_unusable") > 1)
        with closing(sqlite3.connect(path, timeout=10)) as connection:
            connection.execute("DROP TRIGGER trouble")
        machine.wait(lambda: machine.is_delivered("scan"))


@pytest.mark.real
def test_systemd_hears_how_it_is(machine: Machine) -> None:
    """Ready when it works, asking for time while it cannot, one line of truth, and the stop."""
    machine.environment["NOTIFY_SOCKET"] = str(machine.root / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(machine.environment["NOTIFY_SOCKET"])
        ear.settimeout(10)
        with machine.starting() as process:
            words = [ear.recv(4096).decode() for _ in range(2)]
            assert stop(process, signal.SIGTERM, within_s=10) == 0
            words += [ear.recv(4096).decode() for _ in range(2)]
        stopping = ["STATUS=Stopping", "STOPPING=1\nEXTEND_TIMEOUT_USEC=15000000"]
        assert words == ["READY=1", "STATUS=Nothing to do, Engine ok", *stopping]
        path = machine.root / "state" / "state.sqlite3"
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(
                "CREATE TRIGGER trouble BEFORE UPDATE ON daemon BEGIN SELECT trouble(); END"
            )
        with machine.starting():
            assert ear.recv(4096) == b"EXTEND_TIMEOUT_USEC=90000000"
            assert b"STATUS=Not started yet: The state file cannot be used" in ear.recv(4096)
            with closing(sqlite3.connect(path, timeout=10)) as connection:
                connection.execute("DROP TRIGGER trouble")
            machine.wait(lambda: ear.recv(4096) == b"READY=1")


# --- one daemon a state file ---------------------------------------------------------------------


def test_a_second_daemon_is_refused(machine: Machine) -> None:
    """75, and the message names the first one's pid."""
    with machine.daemon() as process:
        ran = machine.run("run", "--once")
        assert (ran.returncode, ran.stdout) == (75, "")
        assert f"pid {process.pid}" in ran.stderr
        assert machine.json("status")["daemon"]["pid"] == process.pid
    after = machine.json("status")["daemon"]
    assert (after["running"], after["pid"], after["since"]) == (False, None, None)


def test_a_lost_state_file_refuses_to_start(machine: Machine) -> None:
    """78 with the way out: the folders remember, and no empty file is left that looks like it."""
    assert machine.run("run", "--once").returncode == 0
    shutil.rmtree(machine.root / "state")
    (machine.root / "state").mkdir(mode=0o700)
    ran = machine.run("run", "--once")
    assert (ran.returncode, ran.stdout) == (78, "")
    assert "recover" in ran.stderr
    assert [path.name for path in (machine.root / "state").iterdir()] == ["state.sqlite3.lock"]
    assert machine.run("status").returncode == 78
    assert machine.run("recover").returncode == 0
    assert machine.run("run", "--once").returncode == 0


# --- other processes look ------------------------------------------------------------------------


@pytest.mark.real
def test_looking_never_disturbs(machine: Machine, engine: Engine) -> None:
    """Thirty looks from other processes during work: each is whole, and the WAL stays the WAL."""
    engine.set_options(processing_s=1.0)
    wal = machine.root / "state" / "state.sqlite3-wal"
    with machine.daemon():
        inode = wal.stat().st_ino
        for number in range(8):
            machine.drop(f"scan{number}.nii", nifti(seed=number))
        with ThreadPoolExecutor(3) as looks:
            shown = [look for ten in looks.map(_ten_looks, [machine] * 3) for look in ten]
        assert len(shown) == 30
        assert wal.stat().st_ino == inode
        for status in shown:
            _check_status(status)
        machine.drop("late.nii", nifti(seed=99))
        machine.wait(lambda: machine.is_delivered("late"))
        machine.wait(lambda: set(machine.states().values()) == {"done"})
        assert len(machine.states()) == 9
        assert wal.stat().st_ino == inode
    assert machine.json("status")["cases"]["done"] == 9


def _ten_looks(machine: Machine) -> list[dict[str, Any]]:
    """Ask ten times in a process of its own: each time the state file is opened and closed."""
    ran = subprocess.run(
        [sys.executable, "-c", TEN_LOOKS, str(machine.config)],
        capture_output=True,
        text=True,
        check=True,
        timeout=50,
        env=clean_environment(),
    )
    return [json.loads(line) for line in ran.stdout.split("\f\n")[:-1]]


def _check_status(status: dict[str, Any]) -> None:
    assert set(status) == {"schema", "daemon", "cases", "candidates", "breakers"}
    assert status["schema"] == "vpe-watcher/status/1"
    assert set(status["daemon"]) == {"running", "pid", "since", "version", "config_error"}
    assert status["daemon"]["running"] is True
    assert len(status["cases"]) == 14
    for candidate in status["candidates"]:
        assert set(candidate) == {"path", "recipe", "state", "reason", "age_s"}
    for breaker in status["breakers"]:
        assert set(breaker) == {"name", "open", "since", "reason", "hint"}


@pytest.mark.real
def test_words_act_within_two_seconds(machine: Machine, engine: Engine) -> None:
    """A person who says `retry` or `cancel` sees it happen."""
    engine.set_faults([{"on": "submit", "times": 1, "do": {"status": 422}}])
    engine.set_options(processing_s=600.0)
    with machine.daemon():
        machine.drop("scan.nii", nifti())
        machine.wait(lambda: machine.states().get("scan") == "failed")
        assert machine.run("retry", "scan").returncode == 0
        assert machine.wait(lambda: machine.states()["scan"] != "failed") < 2.0
        machine.wait(lambda: machine.states()["scan"] == "waiting")
        assert machine.run("cancel", "scan").returncode == 0
        assert machine.wait(lambda: machine.states()["scan"] == "cancelled") < 2.0
        assert machine.run("cancel", "scan").returncode == 1


@pytest.mark.real
def test_a_cancel_stops_a_running_upload(machine: Machine, engine: Engine) -> None:
    """Also a long transfer ends within two seconds, and is not begun again."""
    content = bytearray(nifti()) + bytes(range(256)) * (2 * 300**3 // 256)
    struct.pack_into("<3h", content, 42, 300, 300, 300)
    with _slow_store() as url, machine.daemon():
        engine.set_options(store_url=url)
        machine.drop("big.nii", bytes(content[: 352 + 2 * 300**3]))
        machine.wait(lambda: machine.states().get("big") == "uploading")
        time.sleep(1.0)
        assert machine.run("cancel", "big").returncode == 0
        assert machine.wait(lambda: machine.states()["big"] == "cancelled") < 2.0
    assert (machine.root / "failed" / "big" / "big.nii").exists()


@contextmanager
def _slow_store() -> Iterator[str]:
    """Listen like an object store on a thin line: some 640 kB a second, and never an answer."""
    over = threading.Event()

    def serve(listener: socket.socket) -> None:
        with suppress(OSError), listener.accept()[0] as line:
            while not over.wait(0.1) and line.recv(65536):
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve, args=(listener,))
        server.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)
            server.join(10)


# --- what it writes ------------------------------------------------------------------------------


def test_the_log_is_json_and_stdout_is_clean(machine: Machine, engine: Engine) -> None:
    """Every line is one object with fields of the list; no name, secret or URL with a query."""
    engine.set_faults([{"on": "submit", "nth": 2, "do": {"status": 422}}])
    with machine.daemon():
        machine.drop("Mueller Anna 1970.nii", nifti())
        machine.wait(lambda: machine.is_delivered("Mueller Anna 1970"))
        machine.drop("Schmidt Karl.nii", nifti(seed=1))
        machine.wait(lambda: "case.failed" in machine.log)
    assert (machine.root / "daemon.out").read_text() == ""
    for event in machine.events():
        assert set(event) <= FIELDS
        assert set(event) >= {"event", "timestamp", "level"}
        assert event["timestamp"].endswith("Z")
    names = {event["event"] for event in machine.events()}
    assert names >= {"daemon.started", "case.claimed", "step.done", "case.delivered", "case.failed"}
    for secret in ("Mueller", "Anna", "Schmidt", "eyJ", "?", str(machine.root)):
        assert secret not in machine.log


def test_the_state_folder_is_nobodys_else(machine: Machine) -> None:
    """Every file in it is 0600 under an ordinary umask, while it runs and afterwards."""
    with machine.daemon():
        machine.drop("scan.nii", nifti())
        machine.wait(lambda: machine.is_delivered("scan"))
        machine.json("status")
        modes = _modes(machine.root / "state")
    assert set(modes) >= {
        "state.sqlite3",
        "state.sqlite3-wal",
        "state.sqlite3-shm",
        "state.sqlite3.lock",
        "token.json",
    }
    assert set(modes.values()) == {0o600}
    assert set(_modes(machine.root / "state").values()) == {0o600}


def _modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


def test_it_speaks_to_nobody_but_its_engine(machine: Machine, engine: Engine) -> None:
    """No name is resolved, and every connection goes to loopback."""
    tap = machine.root / "tap"
    tap.mkdir()
    (tap / "sitecustomize.py").write_text(EAVESDROPPER)
    heard = machine.root / "heard.txt"
    machine.environment.update(PYTHONPATH=str(tap), HEARD=str(heard))
    machine.drop("scan.nii", nifti())
    assert machine.run("run", "--once").returncode == 0
    assert machine.is_delivered("scan")
    port = engine.url.rpartition(":")[2]
    lines = set(heard.read_text().splitlines())
    assert lines <= {"getaddrinfo 127.0.0.1", f"socket.connect ('127.0.0.1', {port})"}
    assert f"socket.connect ('127.0.0.1', {port})" in lines


# --- folders -------------------------------------------------------------------------------------


def test_events_wake_it(build: Build) -> None:
    """With a scan only once an hour a dropped file is taken as soon as it is quiet."""
    machine = build(scan_every_s=3600)
    with machine.daemon():
        machine.drop("scan.nii", nifti())
        assert machine.wait(lambda: machine.is_delivered("scan")) < 8.0
        folder = machine.root / "draft"
        folder.mkdir()
        (folder / "volume.nii").write_bytes(nifti(seed=1))
        folder.rename(machine.root / "inbox" / "patient")
        machine.wait(lambda: machine.is_delivered("patient"))


def test_an_inbox_that_goes_and_comes_is_watched_again(build: Build) -> None:
    """A share that is mounted again has other inodes: its events are heard again too."""
    machine = build(scan_every_s=3600)
    inbox, copy = machine.root / "inbox", machine.root / "copy"
    with machine.daemon():
        shutil.copytree(inbox, copy)
        shutil.rmtree(inbox)
        machine.wait(lambda: "breaker.opened" in machine.log)
        assert machine.json("status")["breakers"][0]["name"] == "inbox:default"
        copy.rename(inbox)
        machine.wait(lambda: "breaker.closed" in machine.log)
        machine.drop("first.nii", nifti())
        machine.wait(lambda: machine.is_delivered("first"))
        machine.drop("second.nii", nifti(seed=1))
        assert machine.wait(lambda: machine.is_delivered("second")) < 8.0


def test_an_inbox_that_is_replaced_unseen_is_watched_again(build: Build) -> None:
    """Between two looks another folder takes its place: what lies in it is found."""
    machine = build(scan_every_s=3600)
    inbox, copy = machine.root / "inbox", machine.root / "copy"
    with machine.daemon():
        shutil.copytree(inbox, copy)
        (copy / "scan.nii").write_bytes(nifti())
        inbox.rename(machine.root / "old")
        copy.rename(inbox)
        machine.wait(lambda: machine.is_delivered("scan"))


# --- what it costs -------------------------------------------------------------------------------


@pytest.mark.real
def test_idle_it_is_small_and_quiet(machine: Machine) -> None:
    """Less than 70 MiB resident after work, and less than a tenth of one processor."""
    with machine.daemon() as process:
        machine.drop("scan.nii", nifti())
        machine.wait(lambda: machine.is_delivered("scan"))
        time.sleep(0.5)
        resident, before = _resident_mib(process), _processor_s(process)
        time.sleep(1.5)
        used_s = _processor_s(process) - before
    print(f"\nidle resident memory: {resident:.1f} MiB")  # noqa: T201 - the figure that is asked for
    assert resident < 70
    assert used_s < 0.2


def _resident_mib(process: subprocess.Popen[str]) -> float:
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024 / 1024


def _processor_s(process: subprocess.Popen[str]) -> float:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_status_object_is_the_only_stdout(machine: Machine) -> None:
    """Also where no daemon ever ran."""
    ran = machine.run("status", "--json")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert json.loads(ran.stdout)["daemon"]["running"] is False
