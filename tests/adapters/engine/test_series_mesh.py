"""The whole way of a series: slices on the disk, one ZIP on the wire, the right mesh back."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import trimesh

from tests.adapters.engine.conftest import MakeClient
from tests.sandbox import spheres
from tests.sandbox.client import READY_MADE, STL
from tests.sandbox.test_surfaces import assert_is_the_ball
from vpe_watcher.adapters.engine import EngineClient, Part, ReadyToken, zip_size
from vpe_watcher.sandbox.rules import Sandbox
from vpe_watcher.sandbox.server import SandboxServer

ASKED = {"inputFiles": {"cbct": {"extension": ".zip"}}, "outputFiles": {"meshes": [STL]}}


def parts_in(folder: Path) -> tuple[Part, ...]:
    """Write the slices of the ball as a PACS would, and return them in the order of their names."""
    parts = []
    for number, content in enumerate(spheres.scattered(spheres.ball(), seed=1).values()):
        path = folder / f"IM{number:05d}"
        path.write_bytes(content)
        parts.append(Part(path, f"{number + 1:06d}.dcm", len(content)))
    return tuple(parts)


def result_of(client: EngineClient, parts: tuple[Part, ...]) -> dict[str, Any]:
    """Run a job with a series as its volume."""
    answer = client.submit(ASKED)
    links = answer["presignedUploadUrl"]["cbct"]
    client.upload(
        links["presignedUploadUrl"],
        parts,
        size=zip_size((part.name, part.size) for part in parts),
        modality="cbct",
        on_progress=lambda _: None,
        should_stop=lambda: False,
    )
    client.notify(links["notifyFinishUploadUrl"])
    while (body := client.poll(answer["jobId"]).body) is None:
        pass
    return body


def test_the_mesh_is_that_of_the_slices(make_client: MakeClient, tmp_path: Path) -> None:
    """Size and place are right, although neither names nor numbers follow the positions."""
    sandbox = Sandbox(tmp_path / "sandbox", tokens=[READY_MADE])
    target = io.BytesIO()
    with SandboxServer(sandbox) as server:
        client = make_client(server.url, auth=ReadyToken(lambda: READY_MADE))
        (mesh,) = result_of(client, parts_in(tmp_path))["outputFiles"]["meshes"]
        client.download(
            mesh["url"],
            target,
            size=mesh["size"],
            on_progress=lambda _: None,
            should_stop=lambda: False,
        )
        client.close()
    sandbox.close()
    target.seek(0)
    assert_is_the_ball(trimesh.load_mesh(target, file_type="stl"))
