"""How fast uploads go: rates that are kept, shared equally, and never in the way of a stop."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.adapters.engine.conftest import MakeClient
from vpe_watcher.adapters.engine import EngineClient, Pace, Paces, Part, Timeouts, zip_size
from vpe_watcher.core.errors import Stopped

MIB = 1024**2
Flow = Iterator[tuple[int, float]]


@dataclass
class Line:
    """Uploads that send all the time, on a clock of their own: one event after the other."""

    paces: Paces = field(init=False)
    now: float = 1000.0
    sent: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._slept: list[float] = []
        self.paces = Paces(monotonic=lambda: self.now, sleep=self._slept.append)

    def run(self, seconds: float, *recipes: str, at_most: int = 1 << 62) -> None:
        """Let one upload of each recipe (a name may come again) send as fast as it may."""
        names = [f"{recipe}{number}" for number, recipe in enumerate(recipes)]
        flows = {
            name: self._flow(self.paces.of(recipe))
            for name, recipe in zip(names, recipes, strict=True)
        }
        end, turn = self.now + seconds, 0
        due = [(self.now, number, name) for number, name in enumerate(names)]
        while due:
            moment, _, name = heapq.heappop(due)
            self.now = max(self.now, moment)
            if self.now >= end:
                break
            size, wait_s = next(flows[name])
            self.sent[name] = self.sent.get(name, 0) + size
            turn += 1
            if self.sent[name] < at_most:
                heapq.heappush(due, (self.now + wait_s, turn + len(names), name))
        self.now = end

    def _flow(self, pace: Pace) -> Flow:
        """Yield what was sent, and how long to wait before the next: as a thread's sleep would."""
        while True:
            size, before = pace.piece_bytes, self.now
            self._slept.clear()
            waited = _Waiting(self)
            pace._monotonic = waited.monotonic  # noqa: SLF001 - its time passes for it alone
            pace._sleep = waited.sleep  # noqa: SLF001
            pace.wait(size, should_stop=lambda: False)
            yield size, waited.now - before


class _Waiting:
    """The time of one who sleeps while the others go on."""

    def __init__(self, line: Line) -> None:
        self.now = line.now

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


@pytest.fixture
def line() -> Line:
    """Return a line without limits."""
    return Line()


@pytest.mark.parametrize("rate", [1024, 10_000, MIB, 100 * MIB])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_rate_holds_for_all_together_and_is_shared_equally(
    line: Line, rate: int, count: int
) -> None:
    """Each gets its part, however many there are, and nothing is left unused."""
    line.paces.set(rate, {})
    line.run(60, *(["default"] * count))
    assert sum(line.sent.values()) == pytest.approx(60 * rate, rel=0.03)
    for sent in line.sent.values():
        assert sent == pytest.approx(60 * rate / count, rel=0.05)


def test_a_recipe_has_its_own_rate_and_leaves_the_rest_to_others(line: Line) -> None:
    """What it may not use is not lost."""
    line.paces.set(10 * MIB, {"slow": MIB})
    line.run(60, "slow", "default")
    assert line.sent["slow0"] == pytest.approx(60 * MIB, rel=0.05)
    assert sum(line.sent.values()) == pytest.approx(600 * MIB, rel=0.05)


def test_a_narrow_recipe_gets_its_fair_part_of_all(line: Line) -> None:
    """Two who both could use more than half get half each, though one sends in smaller pieces."""
    line.paces.set(100_000, {"narrow": 60_000})
    line.run(60, "narrow", "default")
    assert line.sent["narrow0"] == pytest.approx(60 * 50_000, rel=0.05)
    assert line.sent["default1"] == pytest.approx(60 * 50_000, rel=0.05)


def test_a_rate_may_change_while_it_is_used(line: Line) -> None:
    """At once, for those that run; none lets everything pass."""
    line.paces.set(MIB, {})
    pace = line.paces.of("default")
    assert pace.piece_bytes == MIB // 10
    line.run(10, "default")
    line.paces.set(4 * MIB, {})
    line.run(10, "default")
    assert sum(line.sent.values()) == pytest.approx(50 * MIB, rel=0.05)
    line.paces.set(0, {})
    assert pace.piece_bytes == 256 * 1024
    pace.wait(MIB, should_stop=lambda: False)


def test_what_was_not_used_is_not_caught_up(line: Line) -> None:
    """After an hour of nothing the line is not flooded."""
    line.paces.set(MIB, {})
    line.run(1, "default")
    line.now += 3600
    before = line.sent["default0"]
    line.run(10, "default")
    assert line.sent["default0"] - before <= 10.8 * MIB


def test_a_slow_rate_trickles_instead_of_pausing(line: Line) -> None:
    """Between two pieces lies no time in which a server would give up on a sender."""
    line.paces.set(1024, {})
    assert line.paces.of("default").piece_bytes / 1024 <= 0.1


# --- real uploads over loopback -------------------------------------------------------------------


class Receiver(ThreadingHTTPServer):
    """A store on loopback that takes bodies and says when what came."""

    daemon_threads = True

    def __init__(self) -> None:
        self.times: dict[str, tuple[float, float, int]] = {}
        super().__init__(("127.0.0.1", 0), _Taking)

    @property
    def url(self) -> str:
        """Return its address."""
        return f"http://127.0.0.1:{self.server_port}"


class _Taking(BaseHTTPRequestHandler):
    server: Receiver

    def do_PUT(self) -> None:
        started, left = time.monotonic(), int(self.headers["Content-Length"])
        size = left
        while left and (block := self.rfile.read1(left)):
            left -= len(block)
        self.server.times[self.path] = (started, time.monotonic(), size - left)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Return a store that takes several uploads at a time."""
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def _upload(
    client: EngineClient,
    receiver: Receiver,
    path: str,
    source: Path | tuple[Part, ...],
    pace: Pace,
    *,
    should_stop: Callable[[], bool] = lambda: False,
) -> None:
    size = (
        source.stat().st_size
        if isinstance(source, Path)
        else zip_size([(part.name, part.size) for part in source])
    )
    client.upload(
        receiver.url + path, source, size=size, modality="cbct",
        on_progress=lambda _: None, should_stop=should_stop, pace=pace,
    )  # fmt: skip


@pytest.mark.real
@pytest.mark.parametrize("is_series", [False, True])
def test_two_real_uploads_keep_the_rate_together(
    make_client: MakeClient,
    receiver: Receiver,
    tmp_path: Path,
    *,
    is_series: bool,
) -> None:
    """Within a tenth of `upload_rate`, as the receiver measures it: files and streamed ZIPs."""
    rate, size = 2 * MIB, 3 * MIB
    paces = Paces()
    paces.set(rate, {})
    client = make_client(receiver.url, timeouts=Timeouts(connect_s=5, stall_s=5))
    sources: list[Path | tuple[Part, ...]] = []
    for name in "ab":
        folder = tmp_path / name
        folder.mkdir()
        count = 12 if is_series else 1
        for number in range(count):
            (folder / f"{number}.dcm").write_bytes(b"\1" * (size // count))
        parts = tuple(Part(one, one.name, one.stat().st_size) for one in sorted(folder.iterdir()))
        sources.append(parts if is_series else parts[0].path)
    threads = [
        threading.Thread(
            target=_upload, args=(client, receiver, f"/{name}", source, paces.of("default"))
        )
        for name, source in zip("ab", sources, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    took_s = max(end for _, end, _ in receiver.times.values()) - min(
        start for start, _, _ in receiver.times.values()
    )
    received = sum(size for _, _, size in receiver.times.values())
    assert received >= 2 * size
    assert received / took_s == pytest.approx(rate, rel=0.1)
    ends = sorted(end for _, end, _ in receiver.times.values())
    assert ends[1] - ends[0] < 0.4 * took_s


def test_a_stop_is_prompt_and_our_own_brake_is_no_stall(
    make_client: MakeClient, receiver: Receiver, tmp_path: Path
) -> None:
    """Longer between two pieces than the stall time-out: it goes on until it is told to stop."""
    paces = Paces()
    paces.set(1024, {})
    client = make_client(receiver.url, timeouts=Timeouts(connect_s=5, stall_s=0.1))
    scan = tmp_path / "scan.dcm"
    scan.write_bytes(b"\1" * MIB)
    for _ in range(4):  # the others of four keep it waiting for longer than the stall time-out
        paces._all.book()  # noqa: SLF001
    asked = threading.Event()
    stopped_at: list[float] = []

    def send() -> None:
        with pytest.raises(Stopped):
            _upload(client, receiver, "/a", scan, paces.of("default"), should_stop=asked.is_set)
        stopped_at.append(time.monotonic())

    thread = threading.Thread(target=send)
    thread.start()
    thread.join(1.0)
    assert thread.is_alive()
    asked.set()
    before = time.monotonic()
    thread.join(10)
    assert stopped_at[0] - before < 0.5
