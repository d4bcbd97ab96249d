"""The installed service under a real systemd as process 1, from `install-service` to its end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MEASURED
from tests.real.pid1 import COMMAND, HOME, Box, frozen, running_box, wipe
from tests.real.small import write_small_mesh, write_small_scan

pytestmark = [pytest.mark.real, pytest.mark.timeout(240), pytest.mark.usefixtures("parts")]

ENGINE = "http://127.0.0.1:8089"
UNIT = "vpe-watcher"
SECRET = "sandbox"
PLANTED = "planted-4f1c8a-never-to-be-seen"
CONFIG_FILE = "/etc/vpe-watcher/config.toml"
STATE = "/var/lib/vpe-watcher"
INBOX = "/srv/vpe/inbox"
# Only a proof and a trusted lease take a scan before an hour has passed.
CONFIG = """
inbox = "{base}/inbox"
outbox = "{base}/outbox"
archive = "{base}/archive"
failed = "{base}/failed"
state_file = "{state}/state.sqlite3"
[engine]
base_url = "{engine}"
version = "24.06"
[engine.auth]
client_id = "sandbox"
token_url = "{engine}/oauth/token"
[job.outputFiles]
meshes = [{{ extension = ".stl", structures = ["mandible"] }}]
[intake]
settle_s = {settle_s}
scan_every_s = 1
[limits]
poll_every_s = 0.5
poll_at_most_s = 1
retry_first_s = 0.2
retry_at_most_s = 1
jobs_per_day = 0
stop_grace_s = 3
[retention]
min_free = 0
"""
TELL = """
import sys, urllib.request as ask
body = sys.argv[2].encode() if len(sys.argv) > 2 else None
request = ask.Request(sys.argv[1], body, {"Content-Type": "application/json"})
print(ask.build_opener(ask.ProxyHandler({})).open(request).read().decode())
"""


@dataclass
class Clinic:
    """The machine with an Engine in it, and one service on a clean ground."""

    box: Box
    scratch: Path
    unit: str = UNIT
    base: str = "/srv/vpe"
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(1, 100)))

    def install(self, *more: str) -> str:
        """Install the service; return what the command says it has done."""
        return self.box.run(COMMAND, "install-service", *more)

    def configure(self, *, settle_s: float = 3600, state: str = STATE, extra: str = "") -> None:
        """Write the configuration, over the skeleton that is there."""
        name = self.unit.partition("@")[2]
        path = self.box.at(f"/etc/vpe-watcher/{name or 'config'}.toml")
        text = CONFIG.format(
            base=self.base,
            state=f"{state}-{name}" if name else state,
            engine=ENGINE,
            settle_s=settle_s,
        )
        path.write_text(text + extra)

    def hide_secret(self, text: str = SECRET) -> None:
        """Put the secret where root alone sees it, as the how-to says."""
        folder = self.box.at("/etc/credstore")
        folder.mkdir(mode=0o700, exist_ok=True)
        secret = folder / f"{self.unit.replace('@', '-')}.client_secret"
        secret.touch(mode=0o600)
        secret.write_text(text)

    def change_unit(self, *lines: str) -> None:
        """Do what `systemctl edit` does."""
        folder = self.box.at(f"/etc/systemd/system/{self.unit}.service.d")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "test.conf").write_text("\n".join(["[Service]", *lines, ""]))
        self.box.run("systemctl", "daemon-reload")

    def start(self) -> None:
        """Start it: this returns when the daemon has said that it is ready."""
        started = self.box.try_("systemctl", "start", self.unit)
        assert started.returncode == 0, self.box.run("journalctl", "-n", "30", "--no-pager")
        assert self.show("ActiveState") == "active"

    def set_up(self, *lines: str, settle_s: float = 3600, state: str = STATE) -> None:
        """Install, configure and start it, with some lines of the unit changed."""
        self.install()
        self.configure(settle_s=settle_s, state=state)
        self.hide_secret()
        if lines:
            self.change_unit(*lines)
        self.start()

    def change_state_file(self, statement: str) -> None:
        """Change the state file behind the daemon's back."""
        change = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute(sys.argv[2])"
        python = [f"{HOME}/bin/python", "-c", change]
        self.box.run(
            "runuser", "-u", "vpe-watcher", "--", *python, f"{STATE}/state.sqlite3", statement
        )

    def show(self, name: str) -> str:
        """Return a property of the service."""
        return self.box.show(self.unit, name)

    def drop(self, name: str, *, user: str = "anna") -> None:
        """Let somebody copy a scan into the inbox."""
        number = next(self.numbers)
        if name.endswith(".obj"):
            scan = write_small_mesh(self.scratch / name, number)
        else:
            scan = write_small_scan(self.scratch / f"{name}.nii", number)
        target = self.box.at(f"/opt/scans/{scan.name}")
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(scan.read_bytes())
        copy = f"umask 077; cp '/opt/scans/{scan.name}' {self.base}/inbox/"
        self.box.run("runuser", "-u", user, "--", "sh", "-c", copy)

    def may(self, user: str, command: str) -> bool:
        """Tell whether a command of somebody works."""
        return self.box.try_("runuser", "-u", user, "--", "sh", "-c", command).returncode == 0

    def result(self, name: str) -> Path:
        """Return where the result will lie."""
        return self.box.at(f"{self.base}/outbox/{name}/result.json")

    def wait_for(self, name: str, *, timeout_s: float = 30) -> dict[str, Any]:
        """Wait for a result; return its document."""
        path = self.result(name)
        self.box.wait(path.exists, f"{name} was not delivered", timeout_s=timeout_s)
        document: dict[str, Any] = json.loads(path.read_text())
        return document

    def states(self) -> dict[str, str]:
        """Return the state of each case by its name."""
        said = self.box.run(COMMAND, "cases", "--json", "--config", CONFIG_FILE)
        return {row["case_name"]: row["state"] for row in json.loads(said)["cases"]}

    def tell_engine(self, what: str, content: Sequence[Any] | Mapping[str, Any]) -> None:
        """Change how the Engine answers from now on."""
        url = f"{ENGINE}/_sandbox/{what}"
        self.box.run(f"{HOME}/bin/python", "-c", TELL, url, json.dumps(content))

    def jobs(self) -> list[dict[str, Any]]:
        """Return the jobs that were started, which is what a customer pays for."""
        ledger = self.box.run(f"{HOME}/bin/python", "-c", TELL, f"{ENGINE}/_sandbox/ledger")
        return [job for job in json.loads(ledger)["jobs"] if job["started"]]

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return what the journal has of one event."""
        return self.box.journal(self.unit, f"VPE_EVENT={name}")

    def clear(self) -> None:
        """Leave nothing of the service behind."""
        self.box.try_("systemctl", "stop", self.unit, "engine")
        self.box.try_("systemctl", "reset-failed")
        self.box.try_(COMMAND, "uninstall-service")
        for path in self.box.at("/etc/systemd/system").glob("vpe-watcher*.d"):
            wipe(path)
        self.box.run("systemctl", "daemon-reload")
        for folder in (self.base, STATE, "/etc/vpe-watcher", "/etc/credstore", "/opt/scans"):
            wipe(self.box.at(folder))


@pytest.fixture(name="box", scope="module")
def boot_box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """Boot one machine for all tests, with two disks that can be frozen."""
    with running_box(tmp_path_factory.mktemp("pid1"), [STATE, INBOX]) as box:
        box.run("useradd", "--create-home", "anna")
        yield box


@pytest.fixture(name="clinic")
def open_clinic(box: Box, tmp_path: Path) -> Iterator[Clinic]:
    """Start an Engine, with the accounts there and nothing else."""
    clinic = Clinic(box, tmp_path)
    engine = ["systemd-run", "--quiet", "--unit=engine", COMMAND, "sandbox", "--simple"]
    box.run(*engine, "--port", ENGINE.rpartition(":")[2])
    box.run("systemd-sysusers", "--inline", "g vpe-people -", "m anna vpe-people")
    box.run("journalctl", "--rotate", "--vacuum-time=1s")
    try:
        yield clinic
    finally:
        clinic.clear()


def test_from_installation_to_delivery(
    clinic: Clinic, record_property: Callable[[str, object], None]
) -> None:
    """Install, start, drop, deliver; the state in one line, the log in fields, a stop with 0."""
    said = clinic.install().splitlines()
    assert sum(line.startswith(("wrote ", "ran ")) for line in said) == len(said)
    clinic.configure()
    clinic.hide_secret()
    clinic.start()
    clinic.box.wait(
        lambda: clinic.show("StatusText") == "Nothing to do, Engine ok", "it says nothing"
    )
    began = time.monotonic()
    clinic.drop("scan")
    document = clinic.wait_for("scan")
    record_property(MEASURED, f"under systemd a scan took {time.monotonic() - began:.1f} s")
    clinic.box.wait(lambda: clinic.events("case.done"), "it was not archived")
    assert clinic.may(
        "anna", "cat /srv/vpe/archive/scan/result.json /srv/vpe/archive/scan/scan.nii"
    )
    assert clinic.may("anna", "rm -r /srv/vpe/outbox/scan")
    assert not clinic.may("anna", "rm -r /srv/vpe/archive/scan")
    assert not clinic.may("anna", "ls /srv/vpe/inbox/.vpe-watcher")
    (event,) = clinic.box.journal(UNIT, f"VPE_CASE_ID={document['case_id']}", "VPE_EVENT=case.done")
    assert json.loads(event["MESSAGE"])["case_id"] == document["case_id"]
    assert (event["PRIORITY"], event["_SYSTEMD_UNIT"]) == ("6", f"{UNIT}.service")
    assert event["_UID"] == clinic.box.run("id", "-u", "vpe-watcher").strip()
    clinic.box.run("systemctl", "stop", UNIT)
    assert (clinic.show("Result"), clinic.show("ExecMainStatus")) == ("success", "0")


def test_leases_of_other_users_files(clinic: Clinic) -> None:
    """The capability of the unit lets it ask who writes to anna's file; without it, it waits."""
    clinic.set_up("AmbientCapabilities=", "CapabilityBoundingSet=")
    clinic.drop("scan")
    clinic.box.wait(lambda: clinic.events("candidate.seen"), "it was not seen")
    time.sleep(3)
    assert clinic.states() == {}
    clinic.change_unit()
    clinic.box.run("systemctl", "restart", UNIT)
    clinic.wait_for("scan")


def test_a_wrong_configuration_waits_for_a_person(clinic: Clinic) -> None:
    """Exit 78 is never tried again; after the repair the next start works."""
    clinic.install()
    clinic.configure(extra="[nonsense]\n")
    clinic.hide_secret()
    clinic.change_unit("RestartSec=1")
    assert clinic.box.try_("systemctl", "start", UNIT).returncode == 1
    time.sleep(3)
    assert [clinic.show(name) for name in ("ActiveState", "ExecMainStatus", "NRestarts")] == [
        "failed",
        "78",
        "0",
    ]
    clinic.configure()
    clinic.start()


def test_a_start_that_waits_for_its_state_file_is_not_killed(clinic: Clinic) -> None:
    """It asks for more time than the unit gives, says why, and is ready when the file is."""
    clinic.set_up("TimeoutStartSec=8")
    clinic.box.run("systemctl", "stop", UNIT)
    trouble = "CREATE TRIGGER trouble BEFORE UPDATE ON daemon BEGIN SELECT trouble(); END"
    clinic.change_state_file(trouble)
    clinic.box.run("systemctl", "start", "--no-block", UNIT)
    time.sleep(10)
    assert clinic.show("ActiveState") == "activating"
    assert clinic.show("StatusText").startswith("Not started yet: The state file")
    clinic.change_state_file("DROP TRIGGER trouble")
    clinic.box.wait(lambda: clinic.show("ActiveState") == "active", "it does not start")
    assert clinic.show("NRestarts") == "0"


def test_a_reload_takes_a_good_configuration_and_refuses_a_bad_one(clinic: Clinic) -> None:
    """What is bad changes nothing and is shown; it is the same process all along."""
    clinic.set_up()
    pid = clinic.show("MainPID")
    clinic.configure(settle_s=2)
    clinic.box.run("systemctl", "reload", UNIT)
    clinic.box.wait(lambda: clinic.events("config.reloaded"), "it was not read again")
    clinic.drop("good lower.obj")  # a format that cannot tell: it takes as long as settle_s says
    clinic.wait_for("good lower")
    clinic.configure(settle_s=2, extra="[nonsense]\n")
    clinic.box.run("systemctl", "reload", UNIT)
    clinic.box.wait(lambda: clinic.events("config.refused"), "it was not refused")
    clinic.drop("bad lower.obj")
    clinic.wait_for("bad lower")
    assert clinic.show("StatusText").endswith("the new configuration is refused")
    clinic.configure(settle_s=2)
    status = clinic.box.run(COMMAND, "status", "--json", "--config", CONFIG_FILE)
    assert "nonsense" in json.loads(status)["daemon"]["config_error"]
    clinic.box.run("systemctl", "reload", UNIT)
    clinic.box.wait(lambda: clinic.events("config.unchanged"), "the error stays")
    assert (clinic.show("MainPID"), clinic.show("ActiveState")) == (pid, "active")


def test_a_kill_is_followed_by_a_start_that_goes_on(clinic: Clinic) -> None:
    """The case that was under way is delivered, and was paid once."""
    clinic.set_up("RestartSec=1")
    clinic.tell_engine("options", {"processing_s": 4})
    clinic.drop("scan")
    clinic.box.wait(lambda: clinic.states().get("scan") == "waiting", "it is not under way")
    clinic.box.run("systemctl", "kill", "--signal=KILL", UNIT)
    assert clinic.wait_for("scan")["attempts"] == 1
    assert (clinic.show("NRestarts"), len(clinic.jobs())) == ("1", 1)


def test_a_stop_in_the_middle_of_an_upload(clinic: Clinic) -> None:
    """It ends well and in time; the next start sends it, for the first time as the counts go."""
    clinic.set_up()
    clinic.tell_engine("faults", [{"on": "upload", "times": 1, "do": {"stall_s": 60}}])
    clinic.drop("scan")
    clinic.box.wait(lambda: clinic.states().get("scan") == "uploading", "it is not under way")
    began = time.monotonic()
    clinic.box.run("systemctl", "stop", UNIT)
    assert time.monotonic() - began < 10
    assert (clinic.show("Result"), clinic.show("ExecMainStatus")) == ("success", "0")
    clinic.start()
    assert clinic.wait_for("scan")["attempts"] == 1
    assert len(clinic.jobs()) == 1


def test_a_frozen_state_file_ends_in_a_new_start(
    clinic: Clinic, record_property: Callable[[str, object], None]
) -> None:
    """The watchdog kills a daemon whose state file answers no more; the next one goes on."""
    clinic.set_up("WatchdogSec=4", "RestartSec=1", "TimeoutAbortSec=60")
    with frozen(clinic.box.at(STATE)):
        frozen_at = time.monotonic()
        clinic.drop("scan")
        clinic.box.wait(lambda: _was_watched(clinic), "it is not killed", timeout_s=100)
        took_s = time.monotonic() - frozen_at
    record_property(MEASURED, f"a frozen state file was noticed after {took_s:.0f} s (period 4 s)")
    assert clinic.wait_for("scan")["attempts"] == 1
    assert (clinic.show("NRestarts"), len(clinic.jobs())) == ("1", 1)


def _was_watched(clinic: Clinic) -> bool:
    words = [line["MESSAGE"] for line in clinic.box.journal("init.scope", f"UNIT={UNIT}.service")]
    return any("Watchdog timeout" in one for one in words)


def test_a_frozen_inbox_is_no_reason_to_be_killed(clinic: Clinic) -> None:
    """A claim that hangs stops its own inbox; the daemon lives, and goes on when it answers."""
    clinic.set_up("WatchdogSec=2", settle_s=3)
    pid = clinic.show("MainPID")
    clinic.drop("scan upper.obj")  # a format that cannot tell whether it is whole
    clinic.box.wait(lambda: clinic.events("candidate.seen"), "it was not seen")
    with frozen(clinic.box.at(INBOX)):
        clinic.box.wait(lambda: clinic.states().get("scan upper"), "its claim does not begin")
        time.sleep(6)
        assert clinic.states()["scan upper"] == "claiming"
    clinic.wait_for("scan upper")
    assert (clinic.show("MainPID"), clinic.show("NRestarts")) == (pid, "0")


def test_the_secret_is_nowhere_to_be_seen(clinic: Clinic) -> None:
    """Not in what systemd shows, not in the environment or the command line, not in the log."""
    clinic.set_up()
    clinic.hide_secret(PLANTED)
    clinic.box.run("systemctl", "restart", UNIT)
    clinic.drop("scan")
    clinic.box.wait(lambda: clinic.events("breaker.opened"), "the wrong secret was not used")
    pid = clinic.show("MainPID")
    seen = [
        clinic.box.run("systemctl", "show", UNIT),
        clinic.box.run("systemctl", "cat", UNIT),
        clinic.box.run(
            "cat", f"/proc/{pid}/environ", f"/proc/{pid}/cmdline", f"/proc/{pid}/status"
        ),
        clinic.box.run("journalctl", "--no-pager", "-o", "export"),
        clinic.box.run(COMMAND, "status", "--config", CONFIG_FILE),
    ]
    assert all(seen)
    assert not [text for text in seen if PLANTED in text]
    secret = f"/run/credentials/{UNIT}.service/client_secret"
    assert clinic.box.run("cat", secret) == PLANTED  # there it is, for root …
    read = clinic.box.try_("runuser", "-u", "anna", "--", "cat", secret)
    assert read.returncode != 0  # … and for the service alone


def test_a_user_that_exists_only_while_it_runs(clinic: Clinic) -> None:
    """DynamicUser works with the group of the folders, and leases do, too."""
    clinic.set_up(
        *("StateDirectory=", "StateDirectory=vpe-dynamic"),  # the usual one is a mount here
        "DynamicUser=yes",
        "User=vpe-daemon",
        "Group=vpe-daemon",
        "SupplementaryGroups=vpe-watcher",
        state="/var/lib/vpe-dynamic",
    )
    clinic.drop("scan")
    clinic.wait_for("scan")
    uid = clinic.box.run("ps", "-o", "uid=", "-p", clinic.show("MainPID")).strip()
    assert 61184 <= int(uid) <= 65519  # systemd's range for such users


def test_an_instance_lives_beside(clinic: Clinic) -> None:
    """The template's instance has its own configuration, folders and state, and is taken back."""
    clinic.unit, clinic.base = f"{UNIT}@second", "/srv/vpe/second"
    clinic.install("--instance", "second")
    clinic.configure()
    clinic.hide_secret()
    clinic.start()
    clinic.drop("scan")
    clinic.wait_for("scan")
    assert clinic.box.at(f"{STATE}-second/state.sqlite3").exists()
    said = clinic.box.run(COMMAND, "uninstall-service", "--instance", "second")
    assert "removed /etc/systemd/system/vpe-watcher@.service" in said
    assert clinic.box.try_("systemctl", "cat", clinic.unit).returncode != 0
    assert clinic.result("scan").exists()
