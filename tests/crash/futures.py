"""Every sequence of deaths of a scenario, up to a number of them, each future tried once.

The points of a life are many, the states in which a death can leave the house are fewer: most
deaths leave what another one leaves too, and have its future. So each state is tried at the first
sequence of deaths that leads to it, and every longer sequence goes on from there.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from tests.crash.trials import Graveyard, Trial, Verdict

START = ""


@dataclass(frozen=True, slots=True)
class Futures:
    """What was tried. `sequences` counts the sequences of deaths that it stands for, by length."""

    verdicts: tuple[Verdict, ...]
    sequences: tuple[int, ...]


def all_futures(graveyard: Graveyard, scenario: str, *, deaths: int) -> Futures:
    """Try every state that up to `deaths` deaths leave; the first verdict is that of none."""
    fresh = {START: Trial(scenario)}
    next_of: dict[str, Counter[str]] = {}
    verdicts: list[Verdict] = []
    for length in range(deaths + 1):
        found = graveyard.tried(list(fresh.values()), is_watched=length < deaths)
        verdicts += found
        states = dict(zip(fresh, found, strict=True))
        next_of |= {state: Counter(verdict.states) for state, verdict in states.items()}
        fresh = _reached_first(found, known=next_of)
    return Futures(tuple(verdicts), _lengths(next_of, deaths))


def _reached_first(verdicts: list[Verdict], *, known: dict[str, Counter[str]]) -> dict[str, Trial]:
    """Return the states that none has led to before, each with one way there."""
    fresh: dict[str, Trial] = {}
    for verdict in verdicts:
        for point, state in enumerate(verdict.states, start=1):
            if state not in known:
                trial = Trial(verdict.trial.scenario, (*verdict.trial.deaths, point))
                fresh.setdefault(state, trial)
    return fresh


def _lengths(next_of: dict[str, Counter[str]], deaths: int) -> tuple[int, ...]:
    """Count the sequences of one death, of two, and so on."""
    reached = Counter({START: 1})
    lengths = []
    for _ in range(deaths):
        further: Counter[str] = Counter()
        for state, ways in reached.items():
            for after, points in next_of[state].items():
                further[after] += ways * points
        reached = further
        lengths.append(reached.total())
    return tuple(lengths)
