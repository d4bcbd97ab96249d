"""The iso-surface is where the volume's surface is, in every format, closed and in millimetres."""

from __future__ import annotations

import gzip
import hashlib
import io
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from pytest_httpserver import HTTPServer

from tests.sandbox import spheres
from tests.sandbox.client import READY_MADE, STL, Client, FakeClock
from vpe_watcher.sandbox.ledger import Job, JobInput, Upload
from vpe_watcher.sandbox.meshing import extract_surface, write_surface
from vpe_watcher.sandbox.rules import Sandbox
from vpe_watcher.sandbox.volumes import Volume
from vpe_watcher.sandbox.workshop import Source, Unreadable, Workshop

BOX = trimesh.creation.box(extents=(2, 3, 4))


def surface_of(
    folder: Path, content: bytes, extension: str, *, to: str = ".stl"
) -> trimesh.Trimesh:
    """Return the surface that the sandbox makes of a volume, as another library reads it."""
    source = folder / f"scan{extension}"
    source.write_bytes(content)
    target = folder / f"surface{to}"
    write_surface(Source(source, extension, is_volume=True), {to: target})
    return trimesh.load_mesh(target)


def assert_is_the_ball(mesh: trimesh.Trimesh) -> None:
    """Check that a mesh is closed, looks outwards, and lies within a voxel of the ball."""
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * spheres.RADIUS**3, rel=0.02)
    for side, sign in zip(mesh.bounds, (-1, 1), strict=True):
        expected = np.array(spheres.CENTRE) + sign * spheres.RADIUS
        assert (np.abs(side - expected) < spheres.SPACING).all()


@pytest.mark.parametrize("name", spheres.FORMATS)
def test_ball_in_every_format(tmp_path: Path, name: str) -> None:
    """Whatever the format, the ball has its size and its place."""
    extension, write = spheres.FORMATS[name]
    assert_is_the_ball(surface_of(tmp_path, write(spheres.ball()), extension))


@pytest.mark.parametrize("name", ["multi-frame", "slices", "nifti", "nrrd", "vti-raw"])
def test_ball_in_gzip(tmp_path: Path, name: str) -> None:
    """Each kind may be compressed as a whole."""
    extension, write = spheres.FORMATS[name]
    content = gzip.compress(write(spheres.ball()), 1)
    assert_is_the_ball(surface_of(tmp_path, content, f"{extension}.gz"))


@pytest.mark.parametrize("to", [".stl", ".ply", ".obj"])
def test_ball_to_every_format(tmp_path: Path, to: str) -> None:
    """Each output format holds the same closed mesh and says what it is not."""
    mesh = surface_of(tmp_path, spheres.nifti(spheres.ball()), ".nii", to=to)
    assert_is_the_ball(mesh)
    assert b"NOT A SEGMENTATION" in (tmp_path / f"surface{to}").read_bytes()[:200]


def test_points_are_shared() -> None:
    """The mesh is one closed piece before any reader merges equal points."""
    mesh = extract_surface(Volume(spheres.ball(), (1.5, 1.0, 0.8)))
    whole = trimesh.Trimesh(mesh.points, mesh.faces, process=False)
    assert whole.is_watertight
    assert whole.euler_number == 2  # of one ball; each further piece would add two


def test_threshold_is_midway_without_hounsfield_units() -> None:
    """Values that are no HU are cut in the middle of their range."""
    voxels = ((spheres.ball().astype(np.int32) + 1000) * 255 // 2800).astype(np.uint8)
    points = extract_surface(Volume(voxels, (1.5, 1.0, 0.8))).points
    # Midway of -1000 … 1800 is 400; the surface runs half a voxel outside of what is within.
    within = {level: (spheres.ball() > level).any(axis=(0, 1)).sum() for level in (300, 400)}
    assert within[400] < within[300]
    width = points[:, 0].max() - points[:, 0].min()
    assert width == pytest.approx(within[400] * spheres.SPACING[0], abs=1e-4)


def test_surface_closes_at_the_border_of_the_volume() -> None:
    """Bone that is cut off by the field of view still gives a closed mesh."""
    mesh = extract_surface(Volume(spheres.ball()[8:20, 10:, :20], (1.5, 1.0, 0.8)))
    assert trimesh.Trimesh(mesh.points, mesh.faces, process=False).is_watertight


def test_whole_numbers_at_the_threshold_make_no_holes() -> None:
    """Voxels of exactly 300 HU count as bone and make no degenerate triangle."""
    voxels = np.full((6, 6, 6), -1000, np.int16)
    voxels[2:4, 2:4, 2:4] = 300
    mesh = extract_surface(Volume(voxels, (1.0, 1.0, 1.0), is_hounsfield=True))
    assert trimesh.Trimesh(mesh.points, mesh.faces, process=False).is_watertight


@pytest.mark.parametrize("extension", [".dcm", ".zip", ".nii", ".nrrd", ".vti", ".nii.gz"])
@pytest.mark.parametrize("content", [b"", b"no scan at all" * 100], ids=["empty", "text"])
def test_unreadable_volumes(tmp_path: Path, extension: str, content: bytes) -> None:
    """What is no volume is Unreadable, whatever its readers raise."""
    with pytest.raises(Unreadable):
        surface_of(tmp_path, content, extension)


@pytest.mark.parametrize("name", spheres.FORMATS)
def test_truncated_volumes(tmp_path: Path, name: str) -> None:
    """Half a file is Unreadable in every format."""
    extension, write = spheres.FORMATS[name]
    content = write(spheres.ball())
    with pytest.raises(Unreadable):
        surface_of(tmp_path, content[: len(content) // 2], extension)


def test_volume_without_a_surface() -> None:
    """A volume of one value, or with a negative slope, has no surface to give."""
    even = Volume(np.zeros((4, 4, 4), np.int16), (1.0, 1.0, 1.0))
    for volume in (even, replace(even, slope=-1.0)):
        with pytest.raises(Unreadable):
            extract_surface(volume)


def textured_ply() -> bytes:
    """Return a PLY square with colours at its points and texture coordinates at its faces."""
    head = (
        "ply\nformat binary_little_endian 1.0\ncomment TextureFile x.png\nelement vertex 4\n"
        "property float x\nproperty float y\nproperty float z\nproperty uchar red\n"
        "element face 1\nproperty list uchar int vertex_indices\n"
        "property list uchar float texcoord\nend_header\n"
    )
    point = np.dtype([("xyz", "<f4", 3), ("red", "u1")])
    points = np.zeros(4, point)
    points["xyz"] = [(0, 0, 0), (2, 0, 0), (2, 3, 0), (0, 3, 0)]
    face = b"\x04" + np.arange(4, dtype="<i4").tobytes() + b"\x08" + bytes(32)
    return head.encode() + points.tobytes() + face


def zipped(content: bytes, name: str) -> bytes:
    """Return a ZIP with one file."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, content)
    return file.getvalue()


MESHES = {
    "stl": (".stl", BOX.export(file_type="stl")),
    "ascii stl": (".stl", BOX.export(file_type="stl_ascii").encode()),
    "ply": (".ply", BOX.export(file_type="ply")),
    "ascii ply": (".ply", BOX.export(file_type="ply", encoding="ascii")),
    "obj": (".obj", BOX.export(file_type="obj").encode()),
    "zip": (".zip", zipped(BOX.export(file_type="ply"), "jaw/Upper.PLY")),
}


@pytest.mark.parametrize("name", MESHES)
def test_mesh_passes_through(tmp_path: Path, name: str) -> None:
    """A mesh comes back as it went in, in any format."""
    extension, content = MESHES[name]
    source, target = tmp_path / f"jaw{extension}", tmp_path / "out.stl"
    source.write_bytes(content)
    write_surface(Source(source, extension, is_volume=False), {".stl": target})
    mesh = trimesh.load_mesh(target)
    assert mesh.is_watertight
    assert mesh.extents == pytest.approx([2, 3, 4])


def test_textured_polygons_pass_through(tmp_path: Path) -> None:
    """Colours and texture coordinates do not disturb the geometry, polygons become triangles."""
    (tmp_path / "face.ply").write_bytes(textured_ply())
    source = Source(tmp_path / "face.ply", ".ply", is_volume=False)
    write_surface(source, {".obj": tmp_path / "out.obj"})
    assert trimesh.load_mesh(tmp_path / "out.obj").area == pytest.approx(6)


@pytest.mark.parametrize("extension", [".stl", ".ply", ".obj", ".zip"])
def test_unreadable_meshes(tmp_path: Path, extension: str) -> None:
    """What is no mesh is Unreadable."""
    (tmp_path / "x").write_bytes(b"no mesh at all" * 100)
    with pytest.raises(Unreadable):
        write_surface(Source(tmp_path / "x", extension, is_volume=False), {".stl": tmp_path / "y"})


@pytest.fixture
def sandbox(tmp_path: Path, clock: FakeClock) -> Iterator[Sandbox]:
    """Return a sandbox that computes real surfaces."""
    sandbox = Sandbox(tmp_path / "scratch", clock=clock, tokens=[READY_MADE])
    yield sandbox
    sandbox.close()


def test_uploaded_ball_comes_back_as_its_surface(client: Client) -> None:
    """Through both faces the mesh is that of the volume that was uploaded."""
    body = client.result(client.run(data=spheres.nrrd(spheres.ball()), extension=".nrrd"))
    content = client.fetched(body).content
    assert_is_the_ball(trimesh.load_mesh(io.BytesIO(content), file_type="stl"))


def test_all_structures_get_the_same_surface(client: Client) -> None:
    """The sandbox cannot tell structures apart and does not pretend to."""
    outputs = {"meshes": [STL, {"extension": ".stl", "structures": ["skull"]}]}
    data = spheres.nifti(spheres.ball())
    meshes = client.result(client.run(outputs, data=data, extension=".nii"))["outputFiles"][
        "meshes"
    ]
    first, second = (client.get(mesh["url"]).content for mesh in meshes)
    assert first == second


def test_unreadable_upload_fails_the_job(client: Client) -> None:
    """A scan that cannot be read is success false with an error and no outputs."""
    body = client.result(client.run(data=b"no scan"))
    assert (body["success"], body["outputFiles"]) == (False, {})
    assert ".dcm input cannot be read" in body["error"]


def test_download_url_is_fetched_from_this_machine(
    sandbox: Sandbox, client: Client, httpserver: HTTPServer
) -> None:
    """A downloadUrl on loopback is read, a dead one and one elsewhere fail the job."""
    content = spheres.nifti(spheres.ball())
    httpserver.expect_request("/scan.nii").respond_with_data(content)
    outcomes = []
    for url in (
        httpserver.url_for("/scan.nii"),
        httpserver.url_for("/gone.nii"),
        "https://bucket.test/scan.nii",
    ):
        answer = client.submit({"cbct": {"extension": ".nii", "downloadUrl": url}}).json()
        outcomes.append(client.result(answer["jobId"])["success"])
    assert outcomes == [True, False, False]


def job_with(folder: Path, data: bytes) -> Job:
    """Return a started job whose volume has arrived."""
    path = folder / data.decode()
    path.write_bytes(data)
    upload = Upload(0, len(data), hashlib.sha256(data).hexdigest(), path)
    entry = JobInput("cbct", ".dcm", uploads=[upload], notifications=[0])
    return Job("id", 0, "24.06", 0, {"outputFiles": {"meshes": [STL]}}, {"cbct": entry}, 1, 0)


def test_same_bytes_are_computed_once(tmp_path: Path) -> None:
    """Two jobs with the same upload share one computation, another upload has its own."""
    made: list[bytes] = []

    def maker(source: Source, targets: dict[str, Path]) -> None:
        made.append(source.path.read_bytes())
        for target in targets.values():
            target.write_bytes(b"mesh")

    workshop = Workshop(tmp_path, maker)
    outcomes = [workshop.outcome(job_with(tmp_path, data)) for data in (b"one", b"one", b"two")]
    workshop.close()
    assert made == [b"one", b"two"]
    assert outcomes[0] is outcomes[1]
