"""The ledger, the controls, and the life of the faces."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.sandbox.client import Client
from vpe_watcher.core.errors import ConfigError
from vpe_watcher.sandbox.adapter import SandboxAdapter
from vpe_watcher.sandbox.rules import Sandbox
from vpe_watcher.sandbox.server import SandboxServer, serve
from vpe_watcher.sandbox.workshop import require_extra


def control(client: Client, what: str, content: Any) -> requests.Response:
    """Post to one of the controls."""
    return client.session.post(f"{client.url}/_sandbox/{what}", json=content, timeout=5)


def test_ledger_tells_the_whole_story(client: Client) -> None:
    """Every request is there in order, without its query, and the job with its times."""
    client.clock.now = 1000
    client.ask_token()
    body = client.result(client.run())
    client.fetched(body)
    ledger = client.get(f"{client.url}/_sandbox/ledger").json()
    kinds = list(dict.fromkeys(seen["kind"] for seen in ledger["requests"]))
    assert kinds == ["token", "submit", "upload", "notify", "poll", "download"]
    assert {seen["authorization"] for seen in ledger["requests"] if seen["kind"] == "notify"} == {
        True
    }
    assert not any("?" in seen["path"] for seen in ledger["requests"])
    (job,) = ledger["jobs"]
    assert (job["id"], job["version"], job["started"], job["started_at"]) == (
        body["jobId"],
        "24.06",
        1,
        1000,
    )
    assert job["inputs"]["cbct"]["notifications"] == [1000]
    assert (ledger["tokens_issued"], ledger["presigned_with_authorization"]) == (1, 0)


def test_ledger_marks_what_a_fault_did(client: Client) -> None:
    """A request that went wrong by the script is marked; one without a status line has none."""
    client.sandbox.set_faults([{"on": "submit", "times": 1, "do": {"reset": True}}])
    with pytest.raises(requests.ConnectionError):
        client.submit()
    client.submit()
    seen = [(entry.status, entry.fault) for entry in client.sandbox.ledger.requests]
    assert seen == [(None, True), (200, False)]
    assert client.sandbox.ledger.count("submit") == 2
    assert client.sandbox.ledger.count("submit", 200) == 1


def test_controls_change_script_and_options(client: Client) -> None:
    """What is posted holds from the next request on."""
    assert control(client, "faults", [{"on": "submit", "do": {"status": 418}}]).status_code == 200
    assert client.submit().status_code == 418
    assert control(client, "faults", []).status_code == 200
    assert control(client, "options", {"processing_s": 5, "missing": ["skull"]}).status_code == 200
    assert (client.sandbox.options.processing_s, client.sandbox.options.missing) == (5, ("skull",))
    assert control(client, "options", {"revoke_tokens": True}).status_code == 200
    assert client.submit().status_code == 401


@pytest.mark.parametrize(
    ("what", "content"),
    [
        ("options", {"spelling": "odd"}),
        ("options", {"speed": 1}),
        ("options", {"success": 1}),
        ("options", []),
        ("faults", {"on": "poll"}),
    ],
)
def test_controls_refuse_what_they_do_not_know(client: Client, what: str, content: Any) -> None:
    """A mistake is a 400 with a reason and changes nothing."""
    before = client.sandbox.options
    answer = control(client, what, content)
    assert (answer.status_code, bool(answer.json()["message"])) == (400, True)
    assert client.sandbox.options == before


def test_unknown_control(client: Client) -> None:
    """There are three controls and no other."""
    assert control(client, "self-destruct", {}).status_code == 404


def test_server_listens_on_loopback_and_comes_back(sandbox: Sandbox) -> None:
    """A server that was stopped refuses connections until another takes its port."""
    with SandboxServer(sandbox) as server:
        url, port = server.url, server.port
        assert url == f"http://127.0.0.1:{port}"
        with requests.Session() as session:
            assert session.get(url, timeout=5).status_code == 404
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)
    with SandboxServer(sandbox, port=port) as again:
        assert requests.get(again.url, timeout=5).status_code == 404


def test_stopping_cuts_what_stalls(sandbox: Sandbox) -> None:
    """Leaving the server does not wait for a stall."""
    sandbox.set_faults([{"on": "poll", "do": {"stall_s": 300}}])
    with SandboxServer(sandbox) as server, pytest.raises(requests.ReadTimeout):
        requests.get(f"{server.url}/24.06/pollJobResults", timeout=0.05)
    assert sandbox.ledger.count("poll") == 1


def test_serve_tells_its_url_and_stops(sandbox: Sandbox) -> None:
    """The function behind the command gives its URL and returns when it is told to stop."""
    stop, urls, ready = threading.Event(), list[str](), threading.Event()

    def started(url: str) -> None:
        urls.append(url)
        ready.set()

    options = {"port": 0, "stop": stop, "started": started}
    thread = threading.Thread(target=serve, args=(sandbox,), kwargs=options)
    thread.start()
    assert ready.wait(5)
    assert requests.get(f"{urls[0]}/_sandbox/ledger", timeout=5).status_code == 200
    stop.set()
    thread.join(5)
    assert not thread.is_alive()


def test_adapter_that_is_down_refuses(sandbox: Sandbox) -> None:
    """Down means what a refused connection means to requests."""
    adapter = SandboxAdapter(sandbox)
    adapter.down = True
    with requests.Session() as session:
        session.mount("https://sandbox.test", adapter)
        with pytest.raises(requests.ConnectionError, match="refused") as caught:
            session.get("https://sandbox.test/x", timeout=1)
    assert type(caught.value.args[0].reason).__name__ == "NewConnectionError"
    assert sandbox.ledger.requests == []


def test_absent_extra_is_a_clear_error() -> None:
    """Without the libraries of the extra the error says what to install."""
    with pytest.raises(ConfigError, match="no_such_module") as caught:
        require_extra(["json", "no_such_module"])
    assert caught.value.hint == "pip install 'vpe-watcher[sandbox]'"


def test_heavy_libraries_wait_until_they_are_needed() -> None:
    """Importing every part of the sandbox needs neither numpy nor pydicom nor zmesh."""
    modules = "adapter meshes meshing phantom rules server vti_volumes volumes dicom_volumes"
    imports = "; ".join(f"import vpe_watcher.sandbox.{name}" for name in modules.split())
    code = f"{imports}; import sys; print({{'numpy', 'pydicom', 'zmesh'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_many_clients_at_once(client: Client) -> None:
    """Jobs that run at the same time do not disturb one another."""
    ids: list[str] = []

    def work(number: int) -> None:
        job_id = client.run(data=b"x" * number)
        assert client.fetched(client.result(job_id)).status_code == 200
        ids.append(job_id)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    jobs = client.sandbox.ledger.as_json()["jobs"]
    assert sorted(job["inputs"]["cbct"]["size"] for job in jobs) == list(range(1, 9))
    assert {job["id"] for job in jobs} == set(ids)


def test_scratch_is_the_only_place(sandbox: Sandbox, client: Client, tmp_path: Path) -> None:
    """Uploads and results lie below the scratch folder."""
    client.result(client.run(data=b"the scan"))
    kept = {path.parent.name for path in (tmp_path / "scratch").rglob("*") if path.is_file()}
    assert "uploads" in kept
    assert len(kept) == 2
