"""Roots that do not answer: their breakers, and what must not wait for them.

A root is silent when it owes a simple answer for a minute, an inbox also when a look at it stands
still for as long. Called by the main thread; never asks a folder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from vpe_watcher.app.soundings import Soundings
from vpe_watcher.app.standstill import Standstill, Turn
from vpe_watcher.core.errors import EnvironmentFault
from vpe_watcher.flow.breakers import Breakers
from vpe_watcher.flow.schedule import SILENCE, Schedule

SILENT_AFTER_S = 60.0


class Silence:
    """The roots (`inbox:<recipe>`, `outbox`, …) that are silent now."""

    def __init__(
        self,
        roots: Mapping[str, tuple[Path, ...]],
        soundings: Soundings,
        *,
        breakers: Breakers,
        schedule: Schedule,
        monotonic: Callable[[], float],
        after_s: float = SILENT_AFTER_S,
    ) -> None:
        """Prepare; nobody is silent."""
        self._roots = dict(roots)
        self._soundings = soundings
        self._breakers = breakers
        self._schedule = schedule
        self._standstill = Standstill(monotonic)
        self._after_s = after_s
        self._silent: frozenset[str] = frozenset()

    def use(self, roots: Mapping[str, tuple[Path, ...]]) -> None:
        """Look after other roots from now on."""
        self._roots = dict(roots)
        self._silent &= roots.keys()

    def mind(self, turns: Mapping[str, Turn]) -> None:
        """Open and close breakers; `turns` are the looks under way, by the root's name."""
        silent = {name for name in self._roots if self._silent_folder(name) is not None}
        silent |= {name for name in turns.keys() & self._roots if self._stands(name, turns[name])}
        for name in sorted(silent):
            if name not in self._silent or not self._breakers.is_open(name):
                self._breakers.open(self._fault(name), kind=SILENCE)
        self._schedule.set_silent(frozenset(silent))
        for name in sorted(self._silent - silent):
            self._breakers.close(name, kind=SILENCE)
        self._silent = frozenset(silent)

    def _silent_folder(self, name: str) -> Path | None:
        folders = self._roots[name]
        return next(
            (one for one in folders if self._soundings.silent_for_s(one) >= self._after_s), None
        )

    def _stands(self, name: str, turn: Turn) -> bool:
        return self._standstill.seconds(name, turn) >= self._after_s

    def _fault(self, name: str) -> EnvironmentFault:
        culprit = next(filter(self._silent_folder, (name, *self._roots)), name)
        folder = self._silent_folder(culprit) or self._roots[name][0]
        mount = self._soundings.mount_of(folder)
        what = f"The folder of {name} has not answered for {self._after_s:g} s."
        if culprit != name:
            what = f"A look at {name} waits for the folder of {culprit}, which does not answer."
        return EnvironmentFault(
            what,
            code="folder_silent",
            hint=f"That folder lies on {mount.source} ({mount.fs_type}) at {mount.mount_point}: "
            "look after that share or disk, or unmount it. When it answers, work goes on by "
            "itself.",
            breaker=name,
        )
