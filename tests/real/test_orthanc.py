"""A real PACS exports the head: as a DICOMDIR tree, as a ZIP, by a script into a folder."""

from __future__ import annotations

import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trimesh

from tests.real.house import REAL_MESHES, House, Plan, running_house
from tests.real.series import Series, instances_of, write_series
from tests.real.servers import Pacs, running_pacs
from tests.real.small import move_in

pytestmark = [pytest.mark.real, pytest.mark.timeout(300), pytest.mark.usefixtures("parts")]

SETTLE_S = 2.0
PLAN = Plan(intake={"settle_s": 0.5, "series_settle_s": SETTLE_S}, is_simple=REAL_MESHES.is_simple)
BY_LUA = """
function OnStableSeries(series, tags, metadata)
  local folder = '{inbox}/' .. series
  os.execute('mkdir -p ' .. folder)
  local instances = ParseJson(RestApiGet('/series/' .. series .. '/instances'))
  for _, instance in pairs(instances) do
    local target = assert(io.open(folder .. '/' .. instance['ID'] .. '.dcm', 'wb'))
    target:write(RestApiGet('/instances/' .. instance['ID'] .. '/file'))
    target:close()
  end
end
"""


@pytest.fixture(scope="module", name="pacs")
def run_pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pacs]:
    """Run one Orthanc for all exports that somebody asks for."""
    with running_pacs(tmp_path_factory.mktemp("pacs")) as pacs:
        yield pacs


@pytest.fixture(name="house")
def run_house(tmp_path: Path) -> Iterator[House]:
    """Run a house whose Engine makes real meshes."""
    with running_house(tmp_path, PLAN) as house:
        yield house


@pytest.fixture(name="series")
def write_one(tmp_path: Path) -> Series:
    """Write the head as the PACS gets it."""
    return write_series(tmp_path / "modality")


def _exported(pacs: Pacs, series: Series, form: str, target: Path) -> Path:
    pacs.export(pacs.store(series.files), form, target)
    return target


def _only_case(house: House) -> dict[str, Any]:
    """Return the one case, delivered; what would come of a second look has had its time."""
    house.wait_for_rest(1, timeout_s=120)
    time.sleep(SETTLE_S + 1.5)
    (case,) = house.cases()
    assert case["state"] == "done", case
    mesh = trimesh.load_mesh(Path(case["outbox"]) / "mandible.stl")
    assert len(mesh.faces) > 10_000
    assert mesh.is_watertight
    return case


def _assert_sent_once(house: House, series: Series) -> None:
    """One paid job got a ZIP with exactly these slices, and nothing but slices."""
    (job,) = house.jobs()
    assert len(house.ledger()["jobs"]) == 1
    assert instances_of(house.unzipped(job)) == sorted(series.instances)


def test_media_unpacked_into_the_inbox(
    house: House, pacs: Pacs, series: Series, tmp_path: Path
) -> None:
    """A DICOMDIR tree appears file by file; the DICOMDIR itself is no slice."""
    export = _exported(pacs, series, "media", tmp_path / "media.zip")
    with zipfile.ZipFile(export) as archive:
        for name in archive.namelist():
            archive.extract(name, house.inbox / "CD of the clinic")
            time.sleep(0.01)
    case = _only_case(house)
    assert case["case_name"] == "CD of the clinic"
    _assert_sent_once(house, series)


def test_media_unpacked_beside_and_moved_in(
    house: House, pacs: Pacs, series: Series, tmp_path: Path
) -> None:
    """A DICOMDIR that lists exactly what is there spares the quiet time."""
    export = _exported(pacs, series, "media", tmp_path / "media.zip")
    staged = tmp_path / "moved CD"
    with zipfile.ZipFile(export) as archive:
        archive.extractall(staged)
    moved_at = time.time()
    move_in(staged, house.inbox)
    assert _only_case(house)["case_name"] == "moved CD"
    _assert_sent_once(house, series)
    assert house.jobs()[0]["created"] - moved_at < SETTLE_S


def test_archive_dropped_as_a_file(
    house: House, pacs: Pacs, series: Series, tmp_path: Path
) -> None:
    """The ZIP goes to the Engine as Orthanc made it."""
    export = _exported(pacs, series, "archive", tmp_path / "study.zip")
    body = export.read_bytes()
    move_in(export, house.inbox)
    assert _only_case(house)["case_name"] == "study"
    (job,) = house.jobs()
    assert house.received(job).read_bytes() == body
    assert job["inputs"]["cbct"]["extension"] == ".zip"


def test_a_lua_script_writes_a_folder(house: House, series: Series, tmp_path: Path) -> None:
    """`OnStableSeries` writes one instance after the other into the inbox."""
    script = tmp_path / "export.lua"
    script.write_text(BY_LUA.replace("{inbox}", str(house.inbox)))
    with running_pacs(tmp_path / "pacs", scripts=[script]) as pacs:
        pacs.store(series.files)
        _only_case(house)
    _assert_sent_once(house, series)
