"""`receive` as a process of its own: what is acknowledged is there, whatever happens to it."""

from __future__ import annotations

import io
import json
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode

from tests.app.desk import DAEMON_ID, Desk
from tests.pacs import PATIENT, associated, fresh_instance, instance, status_of
from vpe_watcher.adapters.files import Disk
from vpe_watcher.adapters.lock import lock_holder
from vpe_watcher.adapters.settings import load_settings
from vpe_watcher.app.listening import LEAVING, Listening
from vpe_watcher.app.receiving import REQUIREMENTS, Receiving

VPE_WATCHER = [sys.executable, "-m", "vpe_watcher"]
ROOT = Path(__file__).parent.parent.parent


@dataclass
class Process:
    """A receiver that runs."""

    port: int
    popen: subprocess.Popen[str]

    def end(self, number: signal.Signals = signal.SIGTERM) -> list[dict[str, Any]]:
        """Stop it and return what it logged since it listens."""
        self.popen.send_signal(number)
        out, err = self.popen.communicate(timeout=40)
        assert out == ""
        return [json.loads(line) for line in err.splitlines()]


@pytest.fixture(name="inbox")
def make_inbox(desk: Desk) -> Path:
    """Return an inbox that bears the daemon's marker."""
    mark(desk)
    return desk.home / "inbox"


def mark(desk: Desk) -> None:
    """Write the marker, as the daemon does at its start."""
    hidden = desk.home / "inbox" / ".vpe-watcher"
    hidden.mkdir(exist_ok=True)
    (hidden / "marker.json").write_text(json.dumps({"daemon_id": DAEMON_ID, "starts": 1}))


@contextmanager
def receiving(config: Path) -> Iterator[Process]:
    """Run the command on a free port until the block ends."""
    command = [*VPE_WATCHER, "receive", "--listen", "127.0.0.1:0", "--config", str(config)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as popen:
        try:
            assert popen.stderr is not None
            line = popen.stderr.readline()
            assert json.loads(line)["event"] == "receive.started", line + popen.stderr.read()
            yield Process(int(json.loads(line)["listen"].rpartition(":")[2]), popen)
        finally:
            popen.kill()


def visible(inbox: Path) -> list[Path]:
    """Return what people and the daemon see in the inbox."""
    return [path for path in inbox.iterdir() if path.is_file() and path.name[0] != "."]


def until(is_so: Callable[[], object]) -> None:
    """Wait for what another process does."""
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def send_most_of(association: Any, sent: Dataset) -> None:
    """Send an instance but for its last piece."""
    request = C_STORE()
    request.MessageID = 1
    request.AffectedSOPClassUID = sent.SOPClassUID
    request.AffectedSOPInstanceUID = sent.SOPInstanceUID
    request.Priority = 2
    request.DataSet = io.BytesIO(encode(sent, is_implicit_vr=False, is_little_endian=True) or b"")
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    context = association.accepted_contexts[0].context_id
    for piece in list(message.encode_msg(context, 4096))[:-1]:
        association.dul.send_pdu(piece)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_pacs_sends_without_any_folder(desk: Desk, inbox: Path, number: signal.Signals) -> None:
    """Each instance is a readable file in the inbox; a signal ends the receiver with 0."""
    sent = [instance(number=n, rows=128) for n in (1, 2, 3)]
    with receiving(desk.config) as process:
        with associated(process.port) as association:
            statuses = [status_of(association, one) for one in (*sent, sent[0])]
        log = process.end(number)
    assert process.popen.returncode == 0
    assert statuses == [0x0000] * 4
    found = sorted(map(pydicom.dcmread, visible(inbox)), key=lambda one: int(one.InstanceNumber))
    assert found == sent
    assert [line["event"] for line in log] == [
        "association.accepted",
        "association.released",
        "receive.stopped",
    ]
    assert (log[1]["count"], log[1]["refused"]) == (4, 0)
    assert PATIENT not in json.dumps(log)


def test_files_are_named_without_patient_data(desk: Desk, inbox: Path) -> None:
    """Neither the patient nor a UID stands in a name, and nothing else is visible."""
    with receiving(desk.config) as process, associated(process.port) as association:
        assert status_of(association, instance()) == 0x0000
    (path,) = visible(inbox)
    assert len(path.stem) == 16
    assert set(path.stem) <= set("0123456789abcdef")


def test_it_receives_beside_a_running_daemon(running: Desk) -> None:
    """The daemon's lock is not the receiver's."""
    mark(running)
    with receiving(running.config) as process, associated(process.port) as association:
        assert status_of(association, instance()) == 0x0000


def test_what_is_cut_in_the_middle_leaves_nothing(desk: Desk, inbox: Path) -> None:
    """An instance of which the last piece is missing is hidden, and goes with its sender."""
    with receiving(desk.config) as process:
        with associated(process.port) as association:
            assert status_of(association, instance(number=1)) == 0x0000
            send_most_of(association, instance(number=2, rows=256))
            until(lambda: list(inbox.rglob("*.part")))
            assert len(visible(inbox)) == 1
            association.abort()
        until(lambda: not list(inbox.rglob("*.part")))
        log = process.end()
    assert len(visible(inbox)) == 1
    assert log[-2]["event"] == "association.aborted"


def test_before_the_first_daemon_everything_is_refused(desk: Desk) -> None:
    """A folder without a marker may be an empty mount point; it heals by itself."""
    with receiving(desk.config) as process:
        with associated(process.port) as association:
            assert status_of(association, instance()) == 0xA700
            assert visible(desk.home / "inbox") == []
            mark(desk)
            assert status_of(association, instance()) == 0x0000
        log = process.end()
    refused = [line["code"] for line in log if line["event"] == "instance.refused"]
    assert refused == ["folder_without_marker"]


def test_a_stop_does_not_wait_for_ever(desk: Desk, inbox: Path) -> None:
    """A sender that stays is aborted after stop_grace_s; what it had sent is there."""
    text = desk.config.read_text().replace("[limits]", "[limits]\nstop_grace_s = 0.3")
    desk.config.write_text(text)
    with receiving(desk.config) as process, associated(process.port) as association:
        assert status_of(association, instance()) == 0x0000
        log = process.end()
    assert process.popen.returncode == 0
    assert [line["event"] for line in log][-2:] == ["association.aborted", "receive.stopped"]
    assert len(visible(inbox)) == 1


def test_a_taken_port_is_for_later(desk: Desk) -> None:
    """Exit 75 with a hint."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ran = desk.run("receive", "--listen", f"127.0.0.1:{taken.getsockname()[1]}")
    assert ran.code == 75
    assert "already in use" in ran.err
    assert "hint:" in ran.err


def test_a_second_receiver_is_for_later(desk: Desk, inbox: Path) -> None:
    """Two would take each other's unfinished instances for leftovers: exit 75 names the first."""
    with receiving(desk.config) as process:
        ran = desk.run("receive", "--listen", "127.0.0.1:0")
    assert ran.code == 75
    assert f"pid {process.popen.pid}" in ran.err


def test_without_the_extra_the_command_to_install_it_is_told(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 78, and the hint can be pasted as it is."""
    for name in list(sys.modules):
        if name.startswith("vpe_watcher.adapters.dicom_receiver"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pynetdicom", None)
    ran = desk.run("receive", "--listen", "127.0.0.1:0")
    assert ran.code == 78
    assert f"{sys.executable} -m pip install 'pydicom>=3.0' 'pynetdicom>=3.0,<4'" in ran.err


def test_the_command_to_install_is_that_of_the_project() -> None:
    """What the hint names is what the extra asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert tuple(project["optional-dependencies"]["dicom"]) == REQUIREMENTS


def test_without_an_address_the_daemons_receiver_stays_still(desk: Desk) -> None:
    """Nobody asked for it: no library is needed, no port opened, no lock taken."""
    log: list[str] = []

    def take_note(event: str, /, **_: object) -> None:
        log.append(event)

    here = Receiving(desk.settings, daemon_id=lambda: DAEMON_ID, log=take_note)
    here.start()
    assert here.stop() is True
    assert log == []
    assert not (desk.home / "state" / "receiver.lock").exists()


def test_who_takes_its_place_finds_it_free(desk: Desk, inbox: Path) -> None:
    """Whenever it says that it is over, its lock can be taken: at each of its last words."""
    overrides = {"dicom.listen": "127.0.0.1:0", "limits.stop_grace_s": 0.2}
    settings = load_settings(desk.config, overrides=overrides, environ={})
    seen: list[tuple[str, bool, bool]] = []

    def take_note(event: str, /, **_: object) -> None:
        holder = lock_holder(desk.settings.state_file.with_name("receiver"))
        seen.append((event, here.is_over, holder is None))

    here = Receiving(settings, daemon_id=lambda: DAEMON_ID, log=take_note)
    here.start()
    assert here.stop() is True
    assert [event for event, *_ in seen] == ["receive.started", "receive.stopped"]
    assert [event for event, is_over, is_free in seen if is_over and not is_free] == []


def test_a_disk_that_hangs_does_not_hold_up_the_end(desk: Desk, inbox: Path) -> None:
    """The one who asks learns that a thread hangs; nothing was acknowledged meanwhile."""
    hang, is_hanging = threading.Event(), threading.Event()

    class Hanging(Disk):
        def rename(self, source: Path, target: Path) -> None:
            is_hanging.set()
            hang.wait(30)
            super().rename(source, target)

    overrides = {"dicom.listen": "127.0.0.1:0", "limits.stop_grace_s": 0.2}
    settings = load_settings(desk.config, overrides=overrides, environ={})
    log: dict[str, dict[str, Any]] = {}

    def take_note(event: str, /, **fields: object) -> None:
        log[event] = fields

    here = Receiving(settings, daemon_id=lambda: DAEMON_ID, log=take_note, disk=Hanging())
    here.start()
    port = int(log["receive.started"]["listen"].rpartition(":")[2])
    with associated(port) as association:
        status: list[int] = []
        sender = threading.Thread(target=lambda: status.append(status_of(association, instance())))
        sender.start()
        assert is_hanging.wait(20)
        begun = time.monotonic()
        here.begin_stop()
        assert time.monotonic() - begun < 0.15
        assert here.stop() is False
        assert visible(inbox) == []
        hang.set()
        sender.join(20)
    assert status == [-1]
    until(lambda: [thread for thread in threading.enumerate() if "Acceptor" in thread.name] == [])


@pytest.mark.real
@pytest.mark.parametrize("is_there", [True, False])
def test_after_a_receiver_that_hung_the_next_one_starts(
    desk: Desk, inbox: Path, *, is_there: bool
) -> None:
    """When the disk of an inbox goes on that a reload has taken away, the new receiver begins.

    Nothing is acknowledged into the old one any more, and what lies there is told.
    """
    hang, is_hanging = threading.Event(), threading.Event()

    class Hanging(Disk):
        def rename(self, source: Path, target: Path) -> None:
            if is_there:
                super().rename(source, target)
            is_hanging.set()
            hang.wait(30)
            if not is_there:
                super().rename(source, target)

    log: list[tuple[str, dict[str, Any]]] = []

    def take_note(event: str, /, **fields: object) -> None:
        log.append((event, fields))

    def of(name: str, disk: Disk | None = None) -> Receiving:
        return Receiving(settings[name], daemon_id=lambda: DAEMON_ID, log=take_note, disk=disk)

    base = {"dicom.listen": "127.0.0.1:0", "limits.stop_grace_s": 0.2}
    moved = {**base, "inbox": str(desk.home / "elsewhere")}
    settings = {
        "old": load_settings(desk.config, overrides=base, environ={}),
        "new": load_settings(desk.config, overrides=moved, environ={}),
    }
    here = Listening(of("old", Hanging()), log=take_note)
    here.keep()
    port = int(log[0][1]["listen"].rpartition(":")[2])
    with associated(port) as association:
        sender = threading.Thread(target=status_of, args=(association, instance()))
        sender.start()
        assert is_hanging.wait(20)
        here.use(of("new"), settings["new"])
        until(lambda: ("receive.stopped", {}) in log)
        here.keep()
        assert (here.shown() or {})["reason"] == LEAVING
        hang.set()
        sender.join(20)

    def has_started_again() -> bool:
        here.keep()
        return [event for event, _ in log].count("receive.started") == 2

    until(has_started_again)
    assert len(visible(inbox)) == is_there
    if is_there:
        until(lambda: "receive.left" in [event for event, _ in log])
    codes = [fields["code"] for event, fields in log if event == "instance.refused"]
    assert codes == (["inbox_left"] if is_there else ["folder_enoent"])
    assert here.stop() is True


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, *(pytest.param(n, marks=pytest.mark.real) for n in (2, 3))])
def test_a_kill_at_any_moment_loses_nothing_acknowledged(
    desk: Desk, inbox: Path, seed: int
) -> None:
    """Acknowledged: there and whole. Visible: whole. Half: hidden, and gone at the next start."""
    delay_s = random.Random(seed).uniform(0.05, 1.0)
    acknowledged: dict[str, Dataset] = {}
    with receiving(desk.config) as process:
        killer = threading.Timer(delay_s, process.popen.kill)
        with associated(process.port) as association:
            killer.start()
            while True:
                sent = fresh_instance(rows=256)
                if not association.is_established or status_of(association, sent) != 0x0000:
                    break
                acknowledged[sent.SOPInstanceUID] = sent
        killer.join()
    found = {one.SOPInstanceUID: one for one in map(pydicom.dcmread, visible(inbox))}
    assert {uid: found.get(uid) for uid in acknowledged} == acknowledged
    assert {len(one.PixelData) for one in found.values()} <= {256 * 256 * 2}
    assert len(found) <= len(acknowledged) + 1
    with receiving(desk.config) as process, associated(process.port) as association:
        assert status_of(association, instance()) == 0x0000
        assert list(inbox.rglob("*.part")) == []


def findings_of_check(desk: Desk, listen: str) -> list[tuple[str, str]]:
    """Return what `check` finds about receiving on an address."""
    config = desk.config.read_text()
    desk.config.write_text(f'{config}\n[dicom]\nlisten = "{listen}"\n')
    rows = json.loads(desk.run("check", "--json").out)["findings"]
    return [(row["status"], row["what"]) for row in rows if "DICOM" in row["what"]]


def test_check_tells_a_free_port_from_a_taken_one(desk: Desk) -> None:
    """The address is tried before a PACS tries it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        ((status, what),) = findings_of_check(desk, listen)
        assert (status, what) == (
            "error",
            f"DICOM cannot be received on {listen}: Address already in use",
        )
    assert f"ok: DICOM can be received on {listen}" in desk.run("check").out


@pytest.mark.usefixtures("inbox")
def test_check_leaves_a_receiver_alone(desk: Desk) -> None:
    """A port that is taken by the receiver itself is well."""
    with receiving(desk.config) as process:
        found = findings_of_check(desk, f"127.0.0.1:{process.port}")
    assert found == [
        ("ok", f"DICOM is being received on 127.0.0.1:{process.port} (pid {process.popen.pid})")
    ]


def test_check_names_the_extra_that_is_missing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the first PACS is told where to send."""
    monkeypatch.setitem(sys.modules, "pynetdicom", None)
    ((status, what),) = findings_of_check(desk, "127.0.0.1:0")
    assert status == "error"
    assert "pynetdicom is missing" in what


@pytest.mark.parametrize("listen", ["foo", "127.0.0.1:99999", "host:11112"])
def test_a_wrong_address_on_the_command_line_is_usage(desk: Desk, listen: str) -> None:
    """2, as for any wrong command line; the same in the configuration is 78."""
    ran = desk.run("receive", "--listen", listen)
    assert (ran.code, ran.out) == (2, "")
    assert f"--listen {listen}: must be" in ran.err
    assert "127.0.0.1:11112" in ran.err
    desk.config.write_text(f'{desk.config.read_text()}\n[dicom]\nlisten = "{listen}"\n')
    ran = desk.run("receive")
    assert ran.code == 78
    assert "dicom.listen" in ran.err
