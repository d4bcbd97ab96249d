"""Many trials on some processes, and what came of them all."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.simulation.network import ALL_FAULTS
from tests.simulation.trial import MUST_FIRE, Report, run, script_of

MEMORY = Path("/dev/shm")  # noqa: S108 - a fresh folder of our own is made in it
PR_SET_PDEATHSIG = 1  # prctl(2)
SHARE = 20  # trials that a process runs before it tells


@dataclass(frozen=True, slots=True)
class Campaign:
    """Which seeds, how many events for each, on how many processes."""

    seeds: range
    events: int
    processes: int


@dataclass
class Result:
    """What came of a campaign. `busy_s`: seconds of all processors."""

    events: int
    trials: int = 0
    steps: int = 0
    busy_s: float = 0.0
    took_s: float = 0.0
    broken: list[Report] = field(default_factory=list)
    fired: Counter[str] = field(default_factory=Counter)

    def add(self, reports: list[Report], busy_s: float) -> None:
        """Add what a process tells."""
        for report in reports:
            self.trials += 1
            self.steps += report.steps
            self.fired.update(report.fired)
            if report.broken:
                self.broken.append(report)
        self.busy_s += busy_s


def fix_hashes() -> None:
    """Start this program again with fixed hashes, as sets of texts are walked in their order."""
    if os.environ.get("PYTHONHASHSEED") == "0":
        return
    os.environ["PYTHONHASHSEED"] = "0"
    again = [sys.executable, "-m", "tests.simulation", *sys.argv[1:]]
    os.execv(sys.executable, again)  # noqa: S606 - ourselves


@contextmanager
def ground() -> Iterator[Path]:
    """Return a folder in memory; its name has always as many signs."""
    parent = MEMORY if os.access(MEMORY, os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="vpe-simulated-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def pool_of(processes: int) -> ProcessPoolExecutor:
    """Return fresh processes, with hashes fixed as ours are, that do not outlive us."""
    return ProcessPoolExecutor(
        processes,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_end_with,
        initargs=(os.getpid(),),
    )


def _end_with(parent: int) -> None:
    """Let the system kill this process when its parent is gone, be it killed itself."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # it was gone before


def run_share(base: Path, seeds: range, events: int) -> tuple[list[Report], float]:
    """Run some trials, one after the other, in a folder that is this process's for all its shares.

    So it reads the settings, which hold its name, once.
    """
    before = time.process_time()
    gc.freeze()  # what was imported need not be walked again and again
    gc.disable()  # a trial leaves few cycles behind
    own = base / f"{os.getpid():08}"
    own.mkdir(exist_ok=True)
    reports = [run(own, seed, script_of(seed, events)) for seed in seeds]
    gc.collect()
    return reports, time.process_time() - before


def run_campaign(campaign: Campaign) -> Result:
    """Run all trials of a campaign."""
    result, began = Result(campaign.events), time.monotonic()
    shares = [
        campaign.seeds[start : start + SHARE] for start in range(0, len(campaign.seeds), SHARE)
    ]
    with ground() as base, pool_of(campaign.processes) as pool:
        run_one = partial(run_share, base, events=campaign.events)
        for told in pool.map(run_one, shares):
            result.add(*told)
    result.took_s = time.monotonic() - began
    return result


def missing_of(result: Result) -> list[str]:
    """Name what never fired."""
    return sorted((ALL_FAULTS | MUST_FIRE) - set(result.fired))


def show(result: Result, *, is_complete: bool, is_quiet: bool) -> int:
    """Print what came of a campaign; 1 when a law was broken, or a fault never fired."""
    lines = [] if is_quiet else [f"{n:9,}  {what}" for what, n in sorted(result.fired.items())]
    missing = missing_of(result) if is_complete else []
    lines += [f"never fired: {what}" for what in missing]
    for report in result.broken:
        lines += [
            f"seed {report.seed}, step {report.steps}: {report.broken}",
            f"  again: python -m tests.simulation --seed {report.seed} --events {result.events}",
        ]
    speed = result.steps / max(result.busy_s, 0.001)
    lines.append(
        f"{result.steps:,} steps in {result.trials:,} trials, {len(result.broken)} broken; "
        f"{speed:,.0f} steps a second on one core, {result.took_s:.0f} s in all"
    )
    sys.stdout.write("\n".join(lines) + "\n")
    return int(bool(result.broken or missing))
