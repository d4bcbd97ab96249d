"""The head is sent by dcmtk's storescu to `vpe-watcher receive`: no folder, no second program."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pydicom
import pytest

from tests.real.house import COMMAND, Plan
from tests.real.series import SLICES, Series, write_series
from tests.real.servers import STORESCU
from vpe_watcher.adapters.store import Database, Store

pytestmark = [pytest.mark.real, pytest.mark.timeout(240), pytest.mark.usefixtures("parts")]

KILLS = 12
TOLD = "Received Store Response (Success)"
# What storescu is to propose, and the tool that writes it.
SYNTAXES = {
    "JPEG lossless": ("--propose-lossless", ["dcmcjpeg", "+e1"]),
    "JPEG-LS": ("--propose-jls-lossless", ["dcmcjpls", "+el"]),
    "RLE": ("--propose-rle", ["dcmcrle"]),
    "deflated": ("--propose-deflated", ["dcmconv", "+td"]),
    "big endian": ("--propose-big", ["dcmconv", "+tb"]),
    "implicit": ("--propose-implicit", ["dcmconv", "+ti"]),
}


@dataclass
class Receiver:
    """A receiver on folders of its own."""

    root: Path
    port: int
    process: subprocess.Popen[str]

    @property
    def inbox(self) -> Path:
        """Return where it puts what it gets."""
        return self.root / "inbox"

    def sending(self, files: Sequence[Path], *options: str) -> subprocess.Popen[str]:
        """Begin to send files in one association."""
        words = [STORESCU, "-v", *options, "-aec", "VPE-WATCHER", "127.0.0.1", str(self.port)]
        return subprocess.Popen(
            [*words, *map(str, files)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def send(self, files: Sequence[Path], *options: str) -> float:
        """Send files; return how many seconds it took."""
        begun = time.monotonic()
        with self.sending(files, *options) as sender:
            words, _ = sender.communicate(timeout=120)
        assert sender.returncode == 0, words
        assert words.count(TOLD) == len(files), words
        return time.monotonic() - begun

    def received(self) -> dict[str, Path]:
        """Return the visible files by the instance that stands in each; all must be whole."""
        found = [path for path in self.inbox.iterdir() if path.name[0] != "."]
        instances = [pydicom.dcmread(path) for path in found]
        assert all(one.PixelData for one in instances)
        return {str(one.SOPInstanceUID): path for one, path in zip(instances, found, strict=True)}


@contextmanager
def running_receiver(root: Path) -> Iterator[Receiver]:
    """Run `vpe-watcher receive` on an inbox that a daemon has taken before."""
    for name in ("inbox/.vpe-watcher", "outbox", "archive", "failed", "state"):
        (root / name).mkdir(parents=True, exist_ok=True, mode=0o700)
    config = root / "vpe-watcher.toml"
    config.touch(mode=0o600)
    config.write_text(Plan().config("http://127.0.0.1:9"))
    _adopt(root)
    command = [COMMAND, "receive", "--listen", "127.0.0.1:0", "--config", str(config)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            started = json.loads(process.stderr.readline())
            yield Receiver(root, int(started["listen"].rpartition(":")[2]), process)
        finally:
            process.kill()
            process.communicate(timeout=20)


def _adopt(root: Path) -> None:
    """Record a first start in the state file, and mark the inbox as its own."""
    database = Database(root / "state" / "state.sqlite3")
    daemon_id, starts = Store(database, now=time.time).record_start(fresh_id="deadbeef")
    database.close()
    marker = root / "inbox" / ".vpe-watcher" / "marker.json"
    marker.write_text(json.dumps({"daemon_id": daemon_id, "starts": starts}))


@pytest.fixture(name="series")
def write_one(tmp_path: Path) -> Series:
    """Write the head as it lies in the modality."""
    return write_series(tmp_path / "modality")


def test_the_head_at_full_speed(
    tmp_path: Path, series: Series, record_property: Callable[[str, object], None]
) -> None:
    """Every slice arrives with its own pixels; sent again, nothing is new."""
    with running_receiver(tmp_path / "house") as receiver:
        took_s = receiver.send(series.files)
        first = receiver.received()
        again_s = receiver.send(series.files)
        assert receiver.received() == first
    record_property("seconds for 108 slices of 132 kB", f"{took_s:.2f}, again {again_s:.2f}")
    assert set(first) == series.instances
    for path in series.files:
        assert pydicom.dcmread(first[path.stem]) == pydicom.dcmread(path)


@pytest.mark.parametrize("name", SYNTAXES)
def test_each_syntax_arrives_as_it_was_sent(tmp_path: Path, series: Series, name: str) -> None:
    """The data set is that of the file that dcmtk wrote: nothing is decoded."""
    proposed, (tool, *options) = SYNTAXES[name]
    sources = series.cut(0, 6).files
    (tmp_path / "converted").mkdir()
    files = [tmp_path / "converted" / path.name for path in sources]
    for source, target in zip(sources, files, strict=True):
        command = [f"/usr/bin/{tool}", *options, str(source), str(target)]
        subprocess.run(command, check=True, capture_output=True)
    with running_receiver(tmp_path / "house") as receiver:
        receiver.send(files, proposed)
        received = receiver.received()
    assert len(received) == len(files)
    for path in files:
        sent = pydicom.dcmread(path)
        found = pydicom.dcmread(received[str(sent.SOPInstanceUID)])
        assert found.file_meta.TransferSyntaxUID == sent.file_meta.TransferSyntaxUID
        assert found == sent


def test_two_series_at_once(tmp_path: Path, series: Series) -> None:
    """Two modalities at the same time: each slice of both, none twice."""
    other = write_series(tmp_path / "other", number=2)
    with running_receiver(tmp_path / "house") as receiver:
        senders = [receiver.sending(one.files) for one in (series, other)]
        for sender in senders:
            words, _ = sender.communicate(timeout=120)
            assert sender.returncode == 0, words
        received = receiver.received()
        assert set(received) == series.instances | other.instances
        assert len(list(receiver.inbox.glob("*.dcm"))) == 2 * SLICES


def test_a_send_that_is_broken_off_and_repeated(tmp_path: Path, series: Series) -> None:
    """What is visible after the break is whole; after the repetition each slice is there once."""
    with running_receiver(tmp_path / "house") as receiver:
        with receiver.sending(series.files) as sender:
            while len(list(receiver.inbox.glob("*.dcm"))) < SLICES * 0.6:
                assert sender.poll() is None
            sender.kill()
        assert set(receiver.received()) < series.instances
        receiver.send(series.files)
        assert set(receiver.received()) == series.instances
        assert len(list(receiver.inbox.glob("*.dcm"))) == SLICES


def test_the_receiver_killed_again_and_again(tmp_path: Path, series: Series) -> None:
    """What storescu was told arrived is there, after each of twelve kills; then all of it."""
    house = tmp_path / "house"
    for number in range(KILLS):
        with running_receiver(house) as receiver, receiver.sending(series.files) as sender:
            time.sleep(0.1 + 0.05 * number)
            receiver.process.kill()
            words, _ = sender.communicate(timeout=60)
            acknowledged = {path.stem for path in series.files[: words.count(TOLD)]}
            assert acknowledged <= set(receiver.received())
    with running_receiver(house) as receiver:
        receiver.send(series.files)
        assert set(receiver.received()) == series.instances
        assert len(list(receiver.inbox.glob("*.dcm"))) == SLICES
        assert list(receiver.inbox.rglob("*.part")) == []
