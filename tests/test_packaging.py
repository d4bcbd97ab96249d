"""What is shipped around the code: metadata, locks, laws of import, the systemd unit."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import vpe_watcher
from tests.conftest import MEASURED
from vpe_watcher.adapters.units import shipped

ROOT = Path(__file__).parent.parent
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
UNITS = sorted((ROOT / "systemd").glob("*.service"))
SHIPPED_BY = {"zipstream": "zipstream-ng"}
"""Which package brings what is imported, where the names differ."""


@pytest.fixture(name="metadata")
def read_metadata() -> dict[str, Any]:
    """Read what pyproject.toml says of the project."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def _pins(lock: Path) -> dict[str, set[str]]:
    """Map each pinned `name==version` (without markers) to its hashes."""
    pins: dict[str, set[str]] = {}
    name = ""
    for line in lock.read_text().splitlines():
        if not line.startswith((" ", "#")):
            name = line.split(";")[0].rstrip("\\ ")
            pins[name] = set()
        elif match := re.fullmatch(r" +--hash=(sha256:[0-9a-f]{64})(?: \\)?", line):
            pins[name].add(match[1])
    return pins


def _name(requirement: str) -> str:
    """Return the normalized name of a requirement or pin."""
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower().replace("_", "-")


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_pin_has_a_hash(lock: Path) -> None:
    """Nothing is installed that was not seen when the lock was made."""
    pins = _pins(lock)
    assert len(pins) > 20
    assert all("==" in pin and hashes for pin, hashes in pins.items())


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_names_no_place(lock: Path) -> None:
    """Where packages come from is the installing machine's own business."""
    assert not re.search(r"://|file:|--(extra-)?index-url|--find-links|@ ", lock.read_text())


def test_locks_agree() -> None:
    """What is tested is what is shipped: one version of each package in all locks."""
    names = ("run", "demo", "dicom", "notify", "test")
    run, demo, dicom, notify, test = (
        _pins(ROOT / "requirements" / f"{name}.txt") for name in names
    )
    assert run.items() <= demo.items() <= test.items()
    assert run.items() <= dicom.items() <= test.items()
    assert run.items() <= notify.items() <= test.items()


def test_locks_hold_what_the_project_asks_for(metadata: dict[str, Any]) -> None:
    """No lock was forgotten when a dependency was added."""
    project = metadata["project"]
    extras = project["optional-dependencies"]
    groups = metadata["dependency-groups"]
    asked = {
        "run": project["dependencies"] + metadata["build-system"]["requires"],
        "demo": extras["sandbox"],
        "dicom": extras["dicom"],
        "notify": extras["notify"],
        "test": groups["test"] + groups["lint"],
    }
    for lock, requirements in asked.items():
        pinned = {_name(pin) for pin in _pins(ROOT / "requirements" / f"{lock}.txt")}
        assert {_name(requirement) for requirement in requirements} <= pinned


def test_the_version_is_the_packages_own() -> None:
    """The installed metadata and the code tell the same version."""
    from importlib.metadata import version

    assert version("vpe-watcher") == vpe_watcher.__version__


def test_core_imports_the_standard_library_alone() -> None:
    """The rules run wherever Python runs: import-linter cannot say this without a list."""
    sources = set((ROOT / "vpe_watcher" / "core").rglob("*.py"))
    assert sources
    assert _foreign_imports(sources) == set()


def test_dependencies_are_what_is_imported(metadata: dict[str, Any]) -> None:
    """Nothing is installed unused, and nothing imported that only another package brings along."""
    project = metadata["project"]
    needed = {_name(entry) for entry in project["dependencies"]}
    extras = project["optional-dependencies"]
    package = ROOT / "vpe_watcher"
    rooms = {
        "sandbox": set((package / "sandbox").rglob("*.py")),
        "dicom": set((package / "adapters" / "dicom_receiver").rglob("*.py")),
        "notify": {package / "adapters" / "notify" / "services.py"},
    }
    daemon = _foreign_imports(set(package.rglob("*.py")).difference(*rooms.values()))
    # The demo judges the mesh by the phantom, which cannot be made without the extra.
    assert daemon - {"numpy"} == needed
    for extra, sources in rooms.items():
        assert _foreign_imports(sources) - needed == {_name(entry) for entry in extras[extra]}


def _foreign_imports(sources: set[Path]) -> set[str]:
    imported = {
        (name or "").split(".")[0]
        for source in sources
        for node in ast.walk(ast.parse(source.read_text()))
        for name in _imported_names(node)
    }
    ours = {"vpe_watcher", "_typeshed"}  # the latter is there for the type checker alone
    foreign = imported - sys.stdlib_module_names - ours
    return {_name(SHIPPED_BY.get(name, name)) for name in foreign}


def _imported_names(node: ast.AST) -> list[str | None]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module] if isinstance(node, ast.ImportFrom) else []


def test_the_example_configuration_is_toml() -> None:
    """The file that everybody copies can be read."""
    assert "engine" in tomllib.loads((ROOT / "config.example.toml").read_text())


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_takes_every_line_of_the_unit(tmp_path: Path, unit: Path) -> None:
    """No key is unknown, no value refused (without these flags unknown keys pass)."""
    copy = tmp_path / unit.name
    # The command is installed where the unit says, but not on the machine that runs the tests.
    copy.write_text(re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text()))
    verify = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=one", str(copy)]
    result = subprocess.run(verify, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_the_exposure_of_the_unit_is_small(
    unit: Path, record_property: Callable[[str, object], None]
) -> None:
    """At most 1.6 of 10, by systemd's own count; the figure stands in the summary."""
    measure = ["systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold=16"]
    result = subprocess.run([*measure, str(unit)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    figure = re.search(r"Overall exposure level for \S+: ([\d.]+)", result.stdout)
    assert figure is not None
    record_property(MEASURED, f"exposure of {unit.name}: {figure[1]} (at most 1.6)")


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_the_unit_keeps_leases_possible(unit: Path) -> None:
    """Leases on files of other users need the capability, and no user namespace."""
    lines = unit.read_text().splitlines()
    assert "AmbientCapabilities=CAP_LEASE" in lines
    assert not [line for line in lines if line.startswith(("PrivateUsers", "RequiresMountsFor"))]


def test_the_manual_page_is_shipped(metadata: dict[str, Any]) -> None:
    """It lies where `man` looks for it beside the command."""
    wheel = metadata["tool"]["hatch"]["build"]["targets"]["wheel"]
    page = "docs/reference/vpe-watcher.1"
    assert wheel["shared-data"] == {page: "share/man/man1/vpe-watcher.1"}
    assert (ROOT / page).is_file()


def test_the_files_for_systemd_are_shipped(metadata: dict[str, Any]) -> None:
    """What people read at the top of the repository is what the installed program puts in place."""
    wheel = metadata["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["force-include"] == {"systemd": "vpe_watcher/systemd"}
    assert shipped("vpe-watcher.service") == (ROOT / "systemd" / "vpe-watcher.service").read_text()
