"""Everything goes wrong at once, for a time; then it must end well: `python -m tests.chaos.trial`.

Owns the order of what happens. Scans, faults of connections and the order of acts are drawn from
the seed and come again with it; at which instruction they meet the daemon does not.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from random import Random, SystemRandom
from urllib.parse import urlsplit

from tests.chaos.disks import MEBIBYTE, STATE, Disk, enter_namespace, make_folders
from tests.chaos.keeper import Keeper, ledger_of, running_engine
from tests.chaos.laws import Findings, broken_laws, verdicts
from tests.chaos.proxy import (
    ANSWER,
    CUT,
    HALF_CLOSE,
    REQUEST,
    RESET,
    STALL,
    THROTTLE,
    Fault,
    Proxy,
)
from tests.chaos.scans import Scan, Supply, drop
from tests.crash.onlooker import Onlooker
from tests.crash.trials import MEMORY

MODULE = "tests.chaos.trial"
BACKLOG = 30  # no more scans under way: the daemon is struck in the middle of work, not of a queue
DRAIN_AT_MOST_S = 120
DISK_BYTES, DISK_BYTES_A_SECOND = 24 * MEBIBYTE, MEBIBYTE // 4
REST = frozenset({"done", "partial", "duplicate", "failed", "held", "cancelled"})
KINDS = (
    *((RESET, way) for way in (REQUEST, ANSWER)),
    *((STALL, way) for way in (REQUEST, ANSWER)),
    *((THROTTLE, way) for way in (REQUEST, ANSWER)),
    *((HALF_CLOSE, way) for way in (REQUEST, ANSWER)),
    (CUT, ANSWER),
)


class Trial:
    """One run. `fired` counts what was done to the daemon."""

    def __init__(self, seed: str, *, keeper: Keeper, proxy: Proxy, disks: dict[str, Disk]) -> None:
        self.fired: Counter[str] = Counter()
        self.scans: list[Scan] = []
        self._seed = seed
        self._weather = weather(seed)
        self._keeper = keeper
        self._proxy = proxy
        self._disks = disks
        self._supply = Supply(Random(f"{seed} scans"))
        self._droppers: list[threading.Thread] = []
        self._later: list[tuple[float, Callable[[], None]]] = []
        self._sick: set[str] = set()

    def rage(self, seconds: float, inbox: Path, finished: Callable[[], int]) -> None:
        """Do one thing after the other for so long."""
        self._proxy.use(self._weather)
        ends_at = time.monotonic() + seconds
        acts: list[tuple[Callable[[Random], None], float]] = [
            (lambda chance: self._drop_some(chance, inbox, finished()), 10),
            (self._keeper.kill, 0.7),
            (self._keeper.kill_often, 0.2),
            (self._keeper.freeze, 0.5),
            (self._keeper.stop, 0.4),
            (self._take_engine_down, 0.3),
            (self._fill_a_disk, 0.6 if self._disks else 0),
            (self._protect_a_disk, 0.3 if self._disks else 0),
        ]
        for number in count():
            if time.monotonic() > ends_at:
                return
            chance = Random(f"{self._seed} act {number}")
            self._keeper.keep()
            chance.choices(*zip(*acts, strict=True))[0](chance)
            self._do_what_is_due()
            time.sleep(chance.uniform(0.02, 0.5))

    def calm_down(self) -> None:
        """End every fault, and let everybody finish dropping."""
        self._do_what_is_due(is_all=True)
        self._proxy.use(Fault)
        for dropper in self._droppers:
            dropper.join(60)
            assert not dropper.is_alive(), "a scan could not be dropped"

    def _drop_some(self, chance: Random, inbox: Path, finished: int) -> None:
        for _ in range(chance.randint(1, 4)):
            if len(self.scans) - finished >= BACKLOG:
                return
            scan = self._supply.next()
            self.scans.append(scan)
            pace = Random(f"{self._seed} {scan.name}")
            dropper = threading.Thread(target=drop, args=(scan, inbox, pace))
            dropper.start()
            self._droppers.append(dropper)

    def _take_engine_down(self, chance: Random) -> None:
        self.fired["Engine down"] += 1
        self._proxy.use(lambda: Fault(RESET, REQUEST))
        self._in(chance.uniform(0.5, 3), lambda: self._proxy.use(self._weather))

    def _fill_a_disk(self, chance: Random) -> None:
        name = chance.choice(sorted(self._disks))
        if name in self._sick:
            return
        self._sick.add(name)
        self.fired[f"disk {name} full"] += 1
        self._disks[name].fill(leave_bytes=chance.choice([0, 4096, 65536, 200_000]))
        self._in(chance.uniform(0.3, 4), lambda: self._free(name))

    def _protect_a_disk(self, chance: Random) -> None:
        """Make a disk read-only, as a kernel does that has met errors on it."""
        # Not that of the state file: it is in use as long as a daemon lives.
        name = chance.choice([name for name in sorted(self._disks) if name != STATE])
        if name not in self._sick and self._disks[name].protect():
            self._sick.add(name)
            self.fired[f"disk {name} read-only"] += 1
            self._in(chance.uniform(0.3, 4), lambda: self._unprotect(name))

    def _unprotect(self, name: str) -> None:
        self._sick.discard(name)
        self._disks[name].unprotect()

    def _free(self, name: str) -> None:
        self._sick.discard(name)
        self._disks[name].free()

    def _in(self, seconds: float, work: Callable[[], None]) -> None:
        self._later.append((time.monotonic() + seconds, work))

    def _do_what_is_due(self, *, is_all: bool = False) -> None:
        now = time.monotonic()
        due = [entry for entry in self._later if is_all or entry[0] <= now]
        self._later = [entry for entry in self._later if entry not in due]
        for _, work in due:
            work()


def weather(seed: str) -> Callable[[], Fault]:
    """Return what draws the fault of each connection: a fine one would be used for ever."""
    chance = Random(f"{seed} weather")

    def draw() -> Fault:
        if chance.random() < 0.15:
            return Fault()
        kind, way = chance.choice(KINDS)
        return Fault(
            kind,
            way,
            after_bytes=int(10 ** chance.uniform(0, 5.3)),
            stall_s=chance.uniform(0.1, 3),
            bytes_per_s=10 ** chance.uniform(3.5, 5.5),
        )

    return draw


def run(seconds: float, seed: str, root: Path, *, no_disks: str) -> bool:
    """Run a trial in `root` and print what came of it; true if every law held."""
    size = DISK_BYTES + int(seconds * DISK_BYTES_A_SECOND)
    folders, disks = make_folders(root, has_disks=not no_disks, size_bytes=size)
    home = root / "home"
    home.mkdir()
    with ExitStack() as stack:
        engine = stack.enter_context(running_engine(root))
        port = urlsplit(engine).port
        assert port
        proxy = stack.enter_context(Proxy(port, Fault))
        onlooker = stack.enter_context(Onlooker(folders["outbox"]))
        keeper = Keeper(home, folders, proxy.url)
        stack.callback(keeper.end)
        trial = Trial(seed, keeper=keeper, proxy=proxy, disks=disks)
        trial.rage(
            seconds,
            folders["inbox"],
            lambda: len(onlooker.seen) + sum(1 for _ in folders["failed"].glob("[!.]*")),
        )
        trial.calm_down()
        began = time.monotonic()
        broken = _drained(keeper, folders["inbox"], trial.scans)
        if held := keeper.retry_held():
            trial.fired.update(held)
            broken += _drained(keeper, folders["inbox"], trial.scans)
        drained_s = time.monotonic() - began
        keeper.end()
        found = Findings(
            scans=trial.scans,
            folders=folders,
            cases=keeper.ask("cases")["cases"],
            ledger=ledger_of(engine),
            engine=root / "engine",
            log=keeper.log.read_bytes(),
        )
        broken += [*keeper.complaints, *onlooker.complaints, *broken_laws(found)]
    _report(trial, keeper, proxy, found, drained_s)
    for line in broken:
        _say(f"BROKEN: {line}")
    return not broken


def _drained(keeper: Keeper, inbox: Path, scans: Sequence[Scan]) -> list[str]:
    """Wait until nothing is under way any more; say what still is when time is up."""
    ends_at = time.monotonic() + DRAIN_AT_MOST_S
    waiting: list[str] = []
    while time.monotonic() < ends_at:
        keeper.keep()
        cases = keeper.ask("cases")["cases"]
        waiting = [f"{row['case_name']} is {row['state']}" for row in cases]
        waiting = [one for one in waiting if one.rpartition(" ")[2] not in REST]
        waiting += [f"{path.name} lies in the inbox" for path in inbox.glob("[!.]*")]
        if not waiting and len(cases) >= len(scans):
            return []
        time.sleep(0.5)
    status = keeper.ask("status")
    return [f"not drained within {DRAIN_AT_MOST_S} s: {waiting}", f"status: {status}"]


def _report(trial: Trial, keeper: Keeper, proxy: Proxy, found: Findings, drained_s: float) -> None:
    jobs = found.ledger["jobs"]
    started = sum(job["started"] for job in jobs)
    faults = {f"{kind} ({way})": count for (kind, way), count in proxy.fired.items()}
    opened = Counter(
        line.partition(b'"code": "')[2].partition(b'"')[0].decode()
        for line in found.log.splitlines()
        if b'"breaker.opened"' in line
    )
    for title, counts in (
        ("scans", Counter(scan.way for scan in trial.scans)),
        ("came to rest as", verdicts(found)),
        ("connections broken", faults),
        ("signals", keeper.sent),
        ("other faults", trial.fired),
        ("breakers opened", opened),
    ):
        words = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
        _say(f"{title}: {sum(counts.values())} ({words})")
    _say(f"jobs: {len(jobs)} made, {started} started; drained in {drained_s:.0f} s")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def main() -> int:
    """Read the command line, enter a namespace if there can be one, run, print."""
    parser = argparse.ArgumentParser(prog=f"python -m {MODULE}", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120, help="how long faults last")
    parser.add_argument("--seed", default="", help="of an earlier run, to draw the same again")
    parser.add_argument("--keep", action="store_true", help="leave the folders and logs there")
    words = parser.parse_args()
    seed = words.seed or str(SystemRandom().randrange(10**9))
    again = ["--seconds", f"{words.seconds:g}", "--seed", seed, *(["--keep"] * words.keep)]
    no_disks = enter_namespace(MODULE, again)
    base = MEMORY if MEMORY.is_dir() else None
    root = Path(tempfile.mkdtemp(dir=base, prefix="vpe-watcher-chaos-"))
    is_well = run(words.seconds, seed, root, no_disks=no_disks)
    if no_disks:
        _say(f"no disks were filled: {no_disks}")
    verdict = "all laws held" if is_well else "LAWS BROKEN"
    _say(f"{verdict}; again: python -m {MODULE} {' '.join(again)}")
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
