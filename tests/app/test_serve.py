"""`sandbox`, `run` and `demo` as processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.app.desk import make_home
from vpe_watcher.adapters.settings import Settings
from vpe_watcher.app import cli
from vpe_watcher.app.commands import opened, serve
from vpe_watcher.app.demo import plain_words
from vpe_watcher.app.demo_mesh import Expected, expected_of, misfit_of
from vpe_watcher.core.errors import ConfigError
from vpe_watcher.sandbox.phantom import MeshFacts, Phantom, check_mesh, make_phantom

VPE_WATCHER = [sys.executable, "-m", "vpe_watcher"]
BOX = ((0.0, 0.0, 0.0), (10.0, 10.0, 10.0))


@contextmanager
def _sandbox(*options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [*VPE_WATCHER, "sandbox", "--simple", *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().strip()
        finally:
            process.terminate()


@pytest.fixture(name="phantom")
def make_small_phantom(tmp_path: Path) -> Phantom:
    """Write a coarse phantom."""
    return make_phantom(tmp_path / "small.dcm", shape=(50, 80, 80), spacing_mm=2.0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_sandbox_says_its_url_first_and_stops_politely(number: signal.Signals) -> None:
    """The first line on stdout is the URL alone; a signal ends it with 0."""
    with _sandbox() as (process, url):
        with urllib.request.urlopen(f"{url}/_sandbox/ledger", timeout=10) as answer:  # noqa: S310
            assert answer.status == 200
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (0, "")
    assert "not a segmentation" in err


def test_the_sandbox_takes_a_fault_script(tmp_path: Path) -> None:
    """What is to go wrong goes wrong."""
    script = tmp_path / "faults.json"
    script.write_text(json.dumps([{"on": "token", "do": {"status": 503}}]))
    with _sandbox("--fault-script", str(script)) as (_, url):
        config = make_home(tmp_path / "home", port=int(url.rpartition(":")[2]))
        done = subprocess.run(
            [*VPE_WATCHER, "check", "--config", config], capture_output=True, text=True, check=False
        )
    assert done.returncode == 1
    assert "503" in done.stdout


@pytest.mark.parametrize("script", ["{", "{}", '[{"on": "lunch", "do": {"reset": true}}]'])
def test_a_fault_script_that_makes_no_sense_is_usage(
    tmp_path: Path, script: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 2, said in words, before anything is served."""
    (tmp_path / "faults.json").write_text(script)
    arguments = ["sandbox", "--simple", "--fault-script", str(tmp_path / "faults.json")]
    assert cli.run(arguments) == 2
    assert "--fault-script" in capsys.readouterr().err


def test_a_port_that_is_taken_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 1 with a hint."""
    with _sandbox() as (_, url):
        assert cli.run(["sandbox", "--simple", "--port", url.rpartition(":")[2]]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "--port" in shown.err


def test_submit_and_wait_with_a_real_daemon(tmp_path: Path, phantom: Phantom) -> None:
    """From the command to the folder in the outbox, through a daemon and an Engine."""
    with _sandbox() as (_, url):
        config = make_home(tmp_path / "home", port=int(url.rpartition(":")[2]))
        fast = "settle_s = 0.2\nscan_every_s = 0.5"
        slow = "[limits]"
        text = config.read_text().replace("[intake]", f"[intake]\n{fast}")
        config.write_text(text.replace(slow, f"{slow}\npoll_every_s = 0.2"))
        with subprocess.Popen(
            [*VPE_WATCHER, "run", "--config", config], stderr=subprocess.PIPE, text=True
        ) as daemon:
            assert daemon.stderr is not None
            for line in daemon.stderr:
                if "daemon.started" in line:
                    break
            done = subprocess.run(
                [*VPE_WATCHER, "submit", "--wait", phantom.path, "--config", config],
                capture_output=True,
                text=True,
                timeout=40,
                check=False,
            )
            daemon.terminate()
            daemon.communicate(timeout=30)
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.strip())
    assert folder == tmp_path / "home" / "outbox" / "small"
    assert (folder / "result.json").is_file()
    assert phantom.path.is_file()
    assert daemon.returncode == 0


@pytest.mark.real
def test_demo_with_a_scan_of_ones_own(tmp_path: Path, phantom: Phantom) -> None:
    """The last line on stdout is the mesh's absolute path alone; each step is told."""
    command = [*VPE_WATCHER, "demo", str(tmp_path / "demo"), "--scan", str(phantom.path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=55, check=False)
    assert done.returncode == 0, done.stderr
    mesh = Path(done.stdout.splitlines()[-1])
    assert mesh == (tmp_path / "demo" / "outbox" / "small" / "mandible.stl").resolve()
    facts = check_mesh(mesh)
    assert misfit_of(facts, expected_of(phantom)) == ""
    for words in ("claimed", "uploaded", "Engine is working", "delivered", "not a segmentation"):
        assert words in done.stderr
    assert f"triangles:     {facts.triangles}" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.real
def test_demo_with_its_phantom(tmp_path: Path) -> None:
    """The mesh fits the phantom of real size, in less than a minute."""
    done = subprocess.run(
        [*VPE_WATCHER, "demo", tmp_path / "demo"],
        capture_output=True,
        text=True,
        timeout=58,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert ": fits" in done.stderr
    assert Path(done.stdout.splitlines()[-1]).is_file()


def test_demo_leaves_a_used_folder_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is mixed into what is there."""
    (tmp_path / "mine").touch()
    assert cli.run(["demo", str(tmp_path)]) == 1
    assert "not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_demo_refuses_what_is_no_scan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Told before the daemon would wait for ever."""
    letter = tmp_path / "letter.txt"
    letter.write_text("Dear doctor")
    assert cli.run(["demo", str(tmp_path / "demo"), "--scan", str(letter)]) == 1
    assert "Scans are .dcm" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (MeshFacts(200, BOX), ""),
        (MeshFacts(0, BOX), "no triangle"),
        (MeshFacts(200, (BOX[0], (10.0, 10.0, 15.0))), "5.0 mm off"),
        (MeshFacts(99, BOX), "number of triangles"),
        (MeshFacts(501, BOX), "number of triangles"),
    ],
)
def test_a_mesh_that_is_not_the_phantoms_is_told(facts: MeshFacts, words: str) -> None:
    """Box and triangles both must fit."""
    misfit = misfit_of(facts, Expected(BOX, 0.4, 100))
    assert words in misfit
    assert bool(words) is bool(misfit)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"event": "step.done", "step": "uploading", "bytes": 1048576}', "uploaded 1 MiB"),
        ('{"event": "step.done", "step": "fetching"}', "downloaded"),
        ('{"event": "scan.done", "level": "debug"}', ""),
        ('{"event": "x.y", "level": "error", "reason": "so"}', "x.y: so"),
        ("Traceback (most recent call last):", "Traceback (most recent call last):"),
    ],
)
def test_log_lines_become_plain_words(line: str, words: str) -> None:
    """A visitor reads sentences, and whatever is no log line as it is."""
    assert plain_words(line) == words


def test_signals_count_from_the_first_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGHUP and SIGTERM while the configuration is read: it ends with 0, and nothing was begun."""
    home = make_home(tmp_path)
    read = opened.settings_of

    def read_slowly(config: Path | None, *, asks_engine: bool = False) -> Settings:
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGTERM)
        return read(config, asks_engine=asks_engine)

    monkeypatch.setattr(opened, "settings_of", read_slowly)
    assert serve.run(home, once=False).exit_code == 0
    assert not list(tmp_path.glob("**/marker.json"))


def test_what_is_no_file_is_not_waited_for_at_a_reload(tmp_path: Path) -> None:
    """A FIFO in the place of the configuration would keep every later reload waiting."""
    os.mkfifo(tmp_path / "vpe-watcher.toml")
    with pytest.raises(ConfigError) as caught:
        serve.reread(tmp_path / "vpe-watcher.toml")
    assert caught.value.code == "config_unreadable"
