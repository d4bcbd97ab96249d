"""One trial again, and the shortest script that still breaks a law."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.simulation.campaign import ground
from tests.simulation.trial import Event, run, script_of

Numbered = tuple[int, Event]


def replay(seed: int, events: int, keep: str) -> int:
    """Run one trial; when it breaks a law, shrink its script and print what is left."""
    script = list(enumerate(script_of(seed, events)))
    if keep:
        wanted = _numbers(keep)
        script = [one for one in script if one[0] in wanted]
    with ground() as base:
        report = run(base, seed, [event for _, event in script])
        if not report.broken:
            sys.stdout.write(f"seed {seed}: {report.steps} steps, all laws held\n")
            return 0
        sys.stdout.write(f"seed {seed}, step {report.steps}: {report.broken}\nshrinking ...\n")
        short = shrunk(script, lambda some: _breaks(base, seed, some))
        last = run(base, seed, [event for _, event in short])
    kept = ",".join(str(number) for number, _ in short)
    for number, event in short:
        sys.stdout.write(f"  {number:5} {event.kind} {event.number}\n")
    sys.stdout.write(
        f"{len(short)} of {events} events break it: {last.broken}\n"
        f"again: python -m tests.simulation --seed {seed} --events {events} --keep {kept}\n"
    )
    return 1


def _breaks(base: Path, seed: int, script: Sequence[Numbered]) -> bool:
    return bool(run(base, seed, [event for _, event in script]).broken)


def shrunk(script: list[Numbered], breaks: Callable[[Sequence[Numbered]], bool]) -> list[Numbered]:
    """Leave out halves, quarters, and so on down to single events, as long as it still breaks."""
    size = max(1, len(script) // 2)
    while True:
        start, has_shrunk = 0, False
        while start < len(script):
            some = script[:start] + script[start + size :]
            if breaks(some):
                script, has_shrunk = some, True
            else:
                start += size
        if size == 1 and not has_shrunk:
            return script
        size = max(1, size // 2)


def _numbers(text: str) -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found
