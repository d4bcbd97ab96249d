"""A scenario: what comes before the lives that die, and how it must look in the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tests.crash.lives import Stage
from tests.flow.house import merged
from vpe_watcher.adapters.settings import Settings
from vpe_watcher.core.model import State
from vpe_watcher.sandbox.options import Options

QUICK = {
    "intake": {"settle_s": 1, "scan_every_s": 5, "incomplete_after_s": 10},
    "limits": {"poll_every_s": 1, "retry_first_s": 1, "retry_at_most_s": 2},
}
S = TypeVar("S", bound=Stage)


@dataclass(frozen=True, slots=True)
class Scenario:
    """A run and its end. `prepare` does what came before the lives that die.

    `states` are the cases by name, `files` all visible files below the four folders, `jobs` how
    many jobs the Engine started; `far` names folders on file systems of their own, `is_fine`
    counts more points. `follow` is what people do after each death and again when all is at rest,
    until it says that it is done; `more_cases` are those that come of it. `archives` are the ZIPs
    that the Engine computes from: by the folder of their case, the dropped files that each holds.
    `is_sampled`: outside of a soak only some of its points are tried.
    """

    name: str
    prepare: Callable[[Stage], None]
    states: dict[str, State]
    files: tuple[str, ...]
    jobs: int = 1
    overrides: dict[str, Any] = field(default_factory=dict)
    options: Options = field(default_factory=Options)
    far: tuple[str, ...] = ()
    is_fine: bool = False
    follow: Callable[[Stage], bool] | None = None
    more_cases: tuple[tuple[str, State], ...] = ()
    archives: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    is_sampled: bool = False

    def settings(self, root: Path) -> Settings:
        """Read what the daemon is told in `root`."""
        return Stage(root, merged(QUICK, self.overrides)).settings

    def stage(self, root: Path, *, settings: Settings | None = None) -> Stage:
        """Set the scene in `root`, which is emptied."""
        return self.stage_of(Stage, root, settings=settings)

    def stage_of(self, kind: type[S], root: Path, *, settings: Settings | None = None) -> S:
        """Set the scene on a stage of some kind."""
        stage = kind(
            root,
            merged(QUICK, self.overrides),
            self.options,
            far=self.far,
            is_fine=self.is_fine,
            known_settings=settings,
        )
        self.prepare(stage)
        return stage
