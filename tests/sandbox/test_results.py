"""What a finished job answers, and what lies behind its URLs."""

from __future__ import annotations

import pytest

from tests.sandbox.client import STL, Client


def test_result_echoes_what_was_asked(client: Client) -> None:
    """Lists stay lists, single items stay single, other kinds are Missing, extra fields come."""
    outputs = {
        "meshes": [STL, {"extension": ".ply", "structures": ["skull", "airway"]}],
        "report": {"extension": ".pdf"},
    }
    body = client.result(client.run(outputs))
    first, second = body["outputFiles"]["meshes"]
    assert (first["status"], first["extension"], first["structures"]) == (
        "Available",
        ".stl",
        ["mandible"],
    )
    assert second["structures"] == ["skull", "airway"]
    assert body["outputFiles"]["report"] == {"status": "Missing", "extension": ".pdf"}
    assert body["notice"] == "sandbox: iso-surface, not a segmentation"
    assert {"jobId", "engineVersion"} < set(body)


def test_single_mesh_item_is_answered_as_one(client: Client) -> None:
    """A meshes value that is no list is answered by an object."""
    assert client.result(client.run({"meshes": STL}))["outputFiles"]["meshes"]["url"]


@pytest.mark.parametrize("extension", [".stl", ".ply", ".obj"])
def test_download_has_the_announced_size_and_label(client: Client, extension: str) -> None:
    """Each format that can be written is labelled as no segmentation."""
    body = client.result(client.run({"meshes": [{**STL, "extension": extension}]}))
    content = client.fetched(body).content
    assert len(content) == body["outputFiles"]["meshes"][0]["size"]
    assert b"NOT A SEGMENTATION: sandbox iso-surface" in content[:200]


def test_draco_fails_with_a_reason(client: Client) -> None:
    """The sandbox cannot write Draco: that output alone is Failed."""
    item = client.result(client.run({"meshes": [{**STL, "extension": ".drc"}]}))
    mesh = item["outputFiles"]["meshes"][0]
    assert (mesh["status"], mesh["reason"]) == ("Failed", "sandbox: cannot write .drc")


def test_missing_and_failed_structures(client: Client) -> None:
    """Options name the structures that are Missing or Failed; neither has a URL."""
    client.sandbox.set_options(missing=["tooth18"], failed=["airway"])
    wanted = [{"extension": ".stl", "structures": [name]} for name in ("tooth18", "airway")]
    meshes = client.result(client.run({"meshes": [*wanted, STL]}))["outputFiles"]["meshes"]
    assert [mesh["status"] for mesh in meshes] == ["Missing", "Failed", "Available"]
    assert ["url" in mesh for mesh in meshes] == [False, False, True]


def test_failed_job_has_no_outputs_unless_told(client: Client) -> None:
    """A failed job has an error, and outputs only on request."""
    client.sandbox.set_options(success=False)
    job_id = client.run()
    body = client.result(job_id)
    assert (body["success"], body["outputFiles"], "error" in body) == (False, {}, True)
    client.sandbox.set_options(outputs_when_failed=True)
    assert client.result(job_id)["outputFiles"]["meshes"][0]["status"] == "Available"


def test_output_with_upload_url_has_no_url(client: Client) -> None:
    """What the Engine would put elsewhere is Available without a URL."""
    item = {**STL, "uploadUrl": "https://bucket.test/x"}
    mesh = client.result(client.run({"meshes": [item]}))["outputFiles"]["meshes"][0]
    assert (mesh["status"], "url" in mesh, "uploadUrl" in mesh) == ("Available", False, False)


def test_result_url_has_two_spellings(client: Client) -> None:
    """The option calls the URL downloadUrl."""
    client.sandbox.set_options(result_url_key="downloadUrl")
    mesh = client.result(client.run())["outputFiles"]["meshes"][0]
    assert "url" not in mesh
    assert client.get(mesh["downloadUrl"]).status_code == 200


def test_polling_again_gives_fresh_urls(client: Client) -> None:
    """An expired download URL is a 403, the next poll's one works."""
    job_id = client.run()
    old = client.result(job_id)
    client.clock.now += 3600
    refused = client.fetched(old)
    assert (refused.status_code, b"Request has expired" in refused.content) == (403, True)
    assert client.fetched(client.result(job_id)).status_code == 200
