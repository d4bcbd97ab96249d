"""`install-service` and `uninstall-service` on the file system of an image; real PID 1: tests/real.

Stand-ins for systemd's tools, found by PATH, write down what they were asked.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from vpe_watcher.adapters.units import shipped
from vpe_watcher.app import cli
from vpe_watcher.app.commands import service
from vpe_watcher.app.result import Result
from vpe_watcher.core.errors import Refusal, UsageError

COMMAND = "/opt/vpe-watcher/bin/vpe-watcher"
TOOLS = ("systemd-sysusers", "systemd-tmpfiles", "systemctl")
UNIT = "etc/systemd/system/vpe-watcher.service"
TEMPLATE = "etc/systemd/system/vpe-watcher@.service"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="changes /etc of an image: root's")


@dataclass(frozen=True, slots=True)
class Image:
    """A file system, and what systemd's tools were asked about it."""

    root: Path

    def install(self, instance: str | None = None, *, command: str = COMMAND) -> Result:
        """Install the service there."""
        return service.install(instance, root=self.root, is_dry=False, command=command)

    def uninstall(self, instance: str | None = None) -> Result:
        """Take it back."""
        return service.uninstall(instance, root=self.root, is_dry=False)

    def files(self) -> dict[str, str]:
        """Return all files below /etc, by their path."""
        below = [path for path in (self.root / "etc").rglob("*") if path.is_file()]
        return {str(path.relative_to(self.root)): path.read_text() for path in below}

    def calls(self) -> list[str]:
        """Return what the tools were asked, without this root."""
        log = self.root / "calls"
        text = log.read_text() if log.exists() else ""
        return text.replace(f"--root={self.root} ", "").splitlines()


@pytest.fixture(name="image")
def make_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Image:
    """Make an empty image, and tools that note what they are asked."""
    (tmp_path / "tools").mkdir()
    (tmp_path / "etc").mkdir()
    for name in TOOLS:
        tool = tmp_path / "tools" / name
        tool.write_text(f'#!/bin/sh\necho {name} "$@" >>{tmp_path}/calls\n')
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'tools'}:/usr/bin:/bin")
    return Image(tmp_path)


@needs_root
def test_all_is_put_in_place_and_said(image: Image) -> None:
    """Unit, accounts, folders, configuration; a line for each; the tools are asked for theirs."""
    result = image.install()
    assert set(image.files()) == {
        UNIT,
        "etc/sysusers.d/vpe-watcher.conf",
        "etc/tmpfiles.d/vpe-watcher.conf",
        "etc/vpe-watcher/config.toml",
    }
    assert image.calls() == [
        "systemd-sysusers vpe-watcher.conf",
        "systemd-tmpfiles --create vpe-watcher.conf",
    ]
    assert [line.split()[0] for line in result.lines] == ["wrote"] * 3 + ["ran"] * 2 + [
        "wrote",
        "systemd",
    ]
    mode = (image.root / "etc/vpe-watcher/config.toml").stat().st_mode
    assert stat.S_IMODE(mode) == 0o640


@needs_root
def test_the_unit_starts_the_command_that_installed_it(image: Image) -> None:
    """Wherever the program lies, also where systemd would read a sign in its path."""
    image.install(command=service._quoted("/srv/my tools/50%/vpe-watcher"))  # noqa: SLF001
    start = 'ExecStart="/srv/my tools/50%%/vpe-watcher" run --config /etc/vpe-watcher/config.toml'
    assert start in image.files()[UNIT].splitlines()


@needs_root
def test_a_second_time_changes_nothing(image: Image) -> None:
    """Also not the configuration, which is the person's own."""
    image.install()
    (image.root / "etc/vpe-watcher/config.toml").write_text("inbox = '/elsewhere'\n")
    before = image.files()
    result = image.install()
    assert image.files() == before
    assert sum(line.endswith("is up to date") for line in result.lines) == 3


@needs_root
def test_a_newer_program_updates_what_nobody_changed(image: Image) -> None:
    """The seal tells: another text of ours is replaced, and that is said."""
    image.install(command="/opt/old/vpe-watcher")
    result = image.install()
    assert f"updated /{UNIT}" in result.lines
    assert COMMAND in image.files()[UNIT]


@needs_root
@pytest.mark.parametrize("is_link", [False, True])
def test_what_a_person_changed_stays_and_is_told(image: Image, *, is_link: bool) -> None:
    """The new text lies beside it; uninstalling takes that away, and says what it leaves."""
    image.install()
    unit = image.root / UNIT
    if is_link:
        unit.unlink()
        unit.symlink_to("/dev/null")  # masked
    else:
        unit.write_text(unit.read_text().replace("WatchdogSec=120", "WatchdogSec=600"))
    before = unit.read_text()
    result = image.install(command="/opt/new/vpe-watcher")
    assert unit.read_text() == before
    assert unit.is_symlink() == is_link
    assert "/opt/new/vpe-watcher" in image.files()[f"{UNIT}.new"]
    changed = "somebody has changed it"
    assert f"wrote /{UNIT}.new, and kept /{UNIT}: {changed}" in result.lines
    lines = image.uninstall().lines
    assert f"kept /{UNIT}: {changed}" in lines
    assert f"removed /{UNIT}.new" in lines
    assert f"{UNIT}.new" not in image.files()
    assert unit.read_text() == before


@needs_root
def test_a_new_text_goes_when_it_is_taken_over(image: Image) -> None:
    """Unless a person works in it: then it stays, and that is said."""
    image.install()
    beside = image.root / f"{UNIT}.new"
    beside.write_text((image.root / UNIT).read_text())
    assert f"removed /{UNIT}.new" in image.install().lines
    assert not beside.exists()
    beside.write_text("mine")
    assert f"kept /{UNIT}.new: somebody has changed it" in image.uninstall().lines
    assert beside.read_text() == "mine"


@pytest.mark.parametrize("verb", [service.install, service.uninstall])
def test_a_root_that_is_not_there_is_refused(tmp_path: Path, verb: Callable[..., Result]) -> None:
    """A typing error makes no tree of its own."""
    with pytest.raises(Refusal) as caught:
        verb(None, root=tmp_path / "typo", is_dry=False)
    assert caught.value.code == "root_missing"
    assert list(tmp_path.iterdir()) == []


@needs_root
def test_uninstalling_leaves_what_is_the_persons(image: Image) -> None:
    """The configuration, the state file and the scans stay; all else is as it was before."""
    image.install()
    scan = image.root / "srv/vpe/inbox/scan.dcm"
    scan.parent.mkdir(parents=True)
    scan.write_text("a scan")
    result = image.uninstall()
    assert set(image.files()) == {"etc/vpe-watcher/config.toml"}
    assert scan.exists()
    assert image.calls()[-1] == "systemctl disable vpe-watcher"
    assert "kept /etc/vpe-watcher/config.toml, the state file, " in result.lines[-1]
    assert not any("when it starts" in line for line in result.lines)


@needs_root
def test_uninstalling_what_never_was_keeps_nothing_of_it(image: Image) -> None:
    """No file is named that is not there."""
    last = image.uninstall().lines[-1]
    assert (
        last == "kept the state file, all folders with scans, and the accounts (if there are any)"
    )


@needs_root
def test_instances_share_template_and_accounts(image: Image) -> None:
    """Each has a configuration, a state folder and folders of its own; the last one takes all."""
    image.install("pacs")
    image.install("ios_2")
    files = image.files()
    assert UNIT not in files
    assert "/srv/vpe/pacs/inbox" in files["etc/tmpfiles.d/vpe-watcher-pacs.conf"]
    assert "NAME" not in files["etc/tmpfiles.d/vpe-watcher-pacs.conf"]
    config = tomllib.loads(files["etc/vpe-watcher/pacs.toml"])
    assert config["inbox"] == "/srv/vpe/pacs/inbox"
    assert config["state_file"] == "/var/lib/vpe-watcher-pacs/state.sqlite3"
    image.uninstall("pacs")
    assert {TEMPLATE, "etc/sysusers.d/vpe-watcher.conf"} <= set(image.files())
    image.uninstall("ios_2")
    assert set(image.files()) == {"etc/vpe-watcher/pacs.toml", "etc/vpe-watcher/ios_2.toml"}


@pytest.mark.parametrize("instance", ["config", "inbox", "../x", "a b", "", "-x", "%i"])
def test_an_instance_needs_a_name_of_its_own(image: Image, instance: str) -> None:
    """One that is no plain word, or would share the folders of the service without a name."""
    with pytest.raises(UsageError):
        image.install(instance)
    assert image.files() == {}


@pytest.mark.parametrize("words", [["install-service"], ["uninstall-service"]])
def test_a_dry_run_needs_no_root_and_changes_nothing(
    image: Image, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What would be done is said, and nothing is."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr("sys.executable", "/opt/vpe-watcher/bin/python")
    assert cli.run([*words, "--dry-run", "--root", str(image.root)]) == 0
    assert (image.files(), image.calls()) == ({}, [])


def test_without_root_it_is_refused_with_a_hint(
    image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever forgot sudo hears of sudo."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Refusal) as caught:
        image.install()
    assert (caught.value.code, caught.value.hint[:5]) == ("needs_root", "sudo ")
    assert image.files() == {}


@pytest.mark.parametrize("command", ["/home/anna/venv/bin/vpe-watcher", '"/tmp/a b/vpe-watcher"'])
def test_a_command_that_the_service_cannot_see_is_refused(image: Image, command: str) -> None:
    """A unit with ProtectHome and PrivateTmp would fail with a riddle (203/EXEC)."""
    with pytest.raises(Refusal) as caught:
        image.install(command=command)
    assert caught.value.code == "command_hidden"


@needs_root
def test_a_tool_that_refuses_is_told(image: Image) -> None:
    """Its own words come with it, and the next call goes on from there."""
    tool = image.root / "tools" / "systemd-tmpfiles"
    works = tool.read_text()
    tool.write_text("#!/bin/sh\necho no such group >&2\nexit 73\n")
    with pytest.raises(Refusal) as caught:
        image.install()
    assert "no such group" in caught.value.message
    tool.write_text(works)
    assert image.install().exit_code == 0


@needs_root
def test_a_machine_without_systemd_is_told(image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command is for systemd alone, and says what to do elsewhere."""
    monkeypatch.setenv("PATH", str(image.root / "etc"))
    with pytest.raises(Refusal) as caught:
        image.install()
    assert caught.value.code == "no_systemd"


def test_the_template_is_the_unit_but_for_the_instance() -> None:
    """Both are hardened alike: what differs is the name."""
    unit, template = (_directives(f"vpe-watcher{kind}.service") for kind in ("", "@"))
    renamed = [
        line.replace("vpe-watcher-%i", "vpe-watcher").replace("%i.toml", "config.toml")
        for line in template
    ]
    assert [line.replace(" (%i)", "") for line in renamed] == unit


def test_each_line_of_the_service_has_its_reason() -> None:
    """Above each setting, or the group of settings that it begins, stands a comment."""
    service_part = shipped("vpe-watcher.service").partition("[Service]\n")[2].partition("[Inst")[0]
    hardening = service_part[service_part.index("# A read lease") :]
    lines = hardening.splitlines()
    bare = [line for before, line in pairwise(lines) if _is_bare(before, line)]
    assert bare == []


def _is_bare(before: str, line: str) -> bool:
    return bool(re.match(r"\w+=", line)) and not before.startswith("#")


def _directives(name: str) -> list[str]:
    return [line for line in shipped(name).splitlines() if line and not line.startswith("#")]
