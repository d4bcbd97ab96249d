"""Run trials: `python -m tests.simulation --seeds 1-200`, or one again: `--seed 17`.

A trial that fails prints the law that was broken, the command that repeats it, and the shortest
script that was found to break a law as well.
"""

from __future__ import annotations

import argparse
import os
import sys

from tests.simulation.campaign import Campaign, fix_hashes, run_campaign, show
from tests.simulation.mutants import hunt_all
from tests.simulation.replay import replay


def main() -> int:
    """Read the command line; 0 when all laws held, 1 when one was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seeds", default="1-20", help="such as 1-200")
    parser.add_argument("--events", type=int, default=800, help="events of each script")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--complete", action="store_true", help="each fault must have fired")
    parser.add_argument("--seed", type=int, help="run one trial, shrink it if it fails")
    parser.add_argument("--keep", default="", help="only these events, such as 3,17-20")
    parser.add_argument("--mutants", action="store_true", help="each deliberate bug must be caught")
    parser.add_argument("--quiet", action="store_true", help="no table of faults")
    chosen = parser.parse_args()
    if chosen.seed is not None:
        return replay(chosen.seed, chosen.events, chosen.keep)
    first, _, last = chosen.seeds.partition("-")
    seeds = range(int(first), int(last or first) + 1)
    if chosen.mutants:
        return hunt_all(seeds, chosen.events, chosen.processes)
    result = run_campaign(Campaign(seeds, chosen.events, chosen.processes))
    return show(result, is_complete=chosen.complete, is_quiet=chosen.quiet)


if __name__ == "__main__":
    fix_hashes()
    sys.exit(main())
