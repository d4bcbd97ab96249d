"""One trial: a script of events in one world, then peace, in which all must come to rest.

A step is one event: an attempt from one stop to the next (a call, a commit or a rename), one look
of an inbox, one round of a person's words and of the notes, a drop or a piece of one, a deletion, a
move of either clock, a start of the daemon, a death, or the arming of a fault. After each of them
the laws are checked.
"""

from __future__ import annotations

import errno
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.simulation.attempts import Death
from tests.simulation.disk import Folder
from tests.simulation.laws import Broken, Laws, cases_of
from tests.simulation.network import CALLS, faults_of
from tests.simulation.people import DROPS, People
from tests.simulation.world import (
    EXPORT,
    ROOTS,
    VARIANTS,
    PowerCut,
    World,
    simulated_files,
)
from vpe_watcher.app.assembly import Parts
from vpe_watcher.core.errors import ConfigError, EnvironmentFault
from vpe_watcher.core.model import Case, State
from vpe_watcher.flow.places import HIDDEN
from vpe_watcher.flow.roots import MARKER
from vpe_watcher.flow.state_probe import StateProbe

PEACE_AT_MOST = 24_000  # a Retry-After at a date may last a day when the clock jumps behind it
FEW_A_DAY = 3
TAKES_MORE = 0.2  # how often more is taken in hand while attempts are under way
TURNS_AWAY = 0.05  # how often the daemon minds something else meanwhile
NUMBERS = (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES, errno.EDQUOT)
VERBS = ("make_folder", "rename", "create", "write", "replace", "writing", "sync_folder",
         "remove_file", "remove_tree", "copy", "look", "listing", "open", "commit")  # fmt: skip
LOOKS = frozenset({"look", "listing", "open"})
STORMS: tuple[tuple[frozenset[str], tuple[str, ...]], ...] = (
    (
        frozenset({"submit", "notify", "poll"}),
        ("refused", "503", "429 later", "401", "reset after"),
    ),
    (frozenset({"token"}), ("401", "500", "timeout before", "HTML")),
    (frozenset({"upload"}), ("500", "refused", "403", "reset in the middle")),
    (frozenset({"download"}), ("500", "refused", "403", "wrong length")),
    (frozenset(CALLS), ("refused", "timeout before", "unresolved", "500")),
)
MOMENTS = (
    "between steps", "committed", "uncommitted", "call not sent", "call answered", "renamed",
    "replaced", "folder made", "folder synced", "half written", "written, not synced", "written",
    "opened", "half streamed", "streamed, not synced", "streamed", "file removed",
    "folder removed", "half removed", "half copied", "copied",
)  # fmt: skip
RARE = (
    "file removed", "folder removed", "half removed", "half copied", "copied",
    "half streamed", "streamed, not synced", "streamed",
)  # fmt: skip
# What happens, and how often.
WEIGHTS: dict[str, int] = {
    "go": 2400, "look": 20, "tick": 60, "drop": 70, "write": 50, "delete": 8, "word": 20,
    "call": 80, "storm": 4, "disk": 16, "trouble": 5, "death": 16, "cut": 16, "kill": 5,
    "jump": 8, "reload": 3, "unmount": 3, "space": 2, "free": 4,
}  # fmt: skip


# Beside the faults of calls: what a full run must have met at least once.
MUST_FIRE = frozenset(
    {
        *(f"disk {errno.errorcode[number]} {how}" for number in NUMBERS
          for how in ("once", "lasting")),
        *(f"crash: {where}" for where in MOMENTS),
        *(f"power cut: {where}" for where in MOMENTS),
        *(name for name, _ in DROPS),
        *(f"attempt: {state}" for state in State if not state.is_at_rest),
        *(f"deletion: from the {root}" for root in ("inbox", "inbox/teeth", "outbox")),
        "word: cancel", "word: retry", "word: retry --yes", "the wall clock jumps",
        "other settings", "a root is not mounted", "space is low", "start", "clock", "look",
        "words and notes", "writer: goes on", "drop: the rest comes", "others come between",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a script; `number` says all that is left open by its kind."""

    kind: str
    number: int


@dataclass
class Report:
    """What came of a trial."""

    seed: int
    steps: int = 0
    broken: str = ""
    fired: Counter[str] = field(default_factory=Counter)


def script_of(seed: int, length: int) -> list[Event]:
    """Draw a script."""
    chance = Random(seed)
    kinds = chance.choices(list(WEIGHTS), list(WEIGHTS.values()), k=length)
    return [Event(kind, chance.getrandbits(30)) for kind in kinds]


def run(base: Path, seed: int, script: Sequence[Event]) -> Report:
    """Run a script in the world of a seed, and say what came of it."""
    trial = Trial(base, seed)
    with simulated_files(lambda: trial.world.disk):
        try:
            for event in script:
                trial.step(event)
            trial.rest()
        except Broken as broken:
            trial.report.broken = str(broken)
        finally:
            trial.close()
    return trial.report


class Trial:
    """A world with its people and its laws, moved event by event."""

    def __init__(self, base: Path, seed: int) -> None:
        self.world = World(base, seed, far=seed % 2 == 1, is_share=seed % 8 == 4)
        self.laws = Laws(self.world)
        self.people = People(self.world, self.laws)
        self.report = Report(seed)
        self._dice = Random()  # to be seeded for each event; a new one takes longer
        self._turn_at: dict[str, float] = {}
        self._is_to_obey = self._is_to_note = True
        self._mount_again: dict[str, float] = {}
        self._plenty_at = 0.0
        self._pause_s = 0.01

    # --- steps ------------------------------------------------------------------------------------

    def step(self, event: Event) -> None:
        """Let one event happen, and hold the laws against it."""
        self.report.steps += 1
        chance = self._dice
        chance.seed(event.number)
        self._heal()
        try:
            self._happen(event.kind, chance)
        except PowerCut:
            self._lose_power(chance)
        except Death:
            self._lose_daemon()
        except Exception as error:
            raise Broken(f"an error that nobody expects: {error!r} {_place(error)}") from error
        self.laws.check()

    def _happen(self, kind: str, chance: Random) -> None:
        if self.world.parts is None and kind in {"go", "look", "word"}:
            self._boot()
            return
        getattr(self, f"_{kind}")(chance)

    def _count(self, what: str) -> None:
        if what:
            self.report.fired[what] += 1

    def _boot(self) -> None:
        try:
            self.world.boot()
        except EnvironmentFault:
            self.world.time.advance(1.0)
        except ConfigError as error:
            raise Broken(f"the daemon refuses to start: {error.code}: {error}") from error
        else:
            self._count("start")
            self._is_to_obey = self._is_to_note = True
            self._turn_at = {}

    def _lose_daemon(self) -> None:
        self.world.die()

    def _lose_power(self, chance: Random) -> None:
        self._lose_daemon()
        self.world.disk.cut(chance)
        self.laws.forget_what_is_gone()
        self.people.abandon()

    def _go(self, chance: Random) -> None:
        """Let the daemon do something that is due; if nothing is, time passes."""
        parts, attempts = self._parts(), self.world.attempts
        if not attempts.taken and (not attempts.under_way or chance.random() < TAKES_MORE):
            self._take()
        if attempts and chance.random() > TURNS_AWAY:
            return self._attempt(chance)
        now = self.world.time.monotonic()
        for name, inbox in parts.inboxes.items():
            if inbox.wake.is_set() or self._turn_at.get(name, 0.0) <= now:
                return self._turn(name)
        if self._is_to_obey or self._is_to_note:
            return self._mind()
        return self._attempt(chance) if attempts else self._wait()

    def _take(self) -> None:
        parts = self._parts()
        StateProbe(parts.store, parts.breakers, monotonic=self.world.time.monotonic).may_write()
        open_before = frozenset(one.name for one in parts.breakers.all())
        try:
            taken = parts.schedule.take_ready()
        except EnvironmentFault as fault:
            parts.breakers.open(fault, kind="main")
            return
        still_open = {one.name for one in parts.breakers.all()}
        self.laws.check_taken(taken, open_before & still_open)
        self.world.attempts.taken += taken

    def _attempt(self, chance: Random) -> None:
        """Let an attempt begin, or go on to its next stop."""
        attempts = self.world.attempts
        attempt = attempts.draw(self._parts().runner.run, chance)
        if attempt.state is State.ARCHIVING:
            self._release(attempt.case_id)
        self.laws.begin(attempt)
        has_ended = attempts.go_on(attempt)
        self.laws.begin(None)
        self.report.fired["others come between"] += not has_ended and len(attempts.under_way) > 1
        self.report.fired[f"attempt: {attempt.state}"] += has_ended
        self._is_to_note = True

    def _release(self, case_id: str) -> None:
        """Take note of inputs that a setting lets go, as their result is delivered."""
        if self.world.settings.retention.on_success != "delete":
            return
        parts = self._parts()
        case = parts.store.load(case_id)
        if case is not None and case.verdict not in {State.FAILED, State.CANCELLED}:
            self._release_below(self.world.disk.find(parts.places.claim(case)))

    def _release_below(self, node: object) -> None:
        if isinstance(node, Folder):
            for below in node.entries.values():
                self._release_below(below)
        elif node is not None:
            self.laws.released.add(node.content)  # type: ignore[attr-defined]

    def _turn(self, name: str) -> None:
        wait_s = self._parts().inboxes[name].turn()
        self._turn_at[name] = self.world.time.monotonic() + max(wait_s, 0.02)
        self.report.fired["look"] += 1

    def _mind(self) -> None:
        """Obey what people said, keep the notes on held cases, judge free space."""
        parts = self._parts()
        self._is_to_note = False
        try:
            self._is_to_obey = not parts.words.obey()
        except EnvironmentFault as fault:
            parts.breakers.open(fault, kind="main")
            self._is_to_obey = True
        self.world.notes.keep()
        self.world.guard.judge({"outbox": self.world.free})
        self.report.fired["words and notes"] += 1

    def _wait(self) -> None:
        """Let time pass until something is due."""
        parts = self._parts()
        now = self.world.time.monotonic()
        due_in_s = parts.schedule.next_due_in_s()
        moments = [*self._turn_at.values(), *self._mount_again.values(), now + 300.0]
        if due_in_s is not None:
            moments.append(now + due_in_s)
        self.world.time.advance(max(self._pause_s, min(moments) - now))
        self.report.fired["clock"] += 1
        self._is_to_note = True

    # --- what people, chance and the machine do ---------------------------------------------------

    def _look(self, chance: Random) -> None:
        name = chance.choice(sorted(self._parts().inboxes))
        self._parts().inboxes[name].look_anew()
        self._turn(name)

    def _tick(self, chance: Random) -> None:
        self.world.time.advance(chance.choice((0.01, 0.5, 2.5, 11.0)))
        self.report.fired["clock"] += 1

    def _drop(self, chance: Random) -> None:
        self._count(self.people.drop(chance))

    def _write(self, chance: Random) -> None:
        self._count(self.people.go_on(chance))

    def _delete(self, chance: Random) -> None:
        self._count(self.people.take_away(chance))

    def _word(self, chance: Random) -> None:
        cases = cases_of(self._parts().store.database)
        if not cases:
            return
        case_id = chance.choice(cases)
        word, may_cost = chance.choice((("cancel", False), ("retry", False), ("retry", True)))
        self.laws.yes[case_id] += may_cost
        self.world.say(word, case_id, may_cost=may_cost)
        self._is_to_obey = True
        self._count(f"word: {word}{' --yes' if may_cost else ''}")

    def _call(self, chance: Random) -> None:
        """Let something befall the next call of a kind."""
        kind = chance.choice(CALLS)
        fault = chance.choice(faults_of(kind))
        self.world.network.weather.once.setdefault(kind, []).append(fault)

    def _storm(self, chance: Random) -> None:
        """Let all calls of some kinds fail for a while."""
        calls, faults = chance.choice(STORMS)
        until = self.world.time.monotonic() + chance.choice((5.0, 60.0, 600.0, 3600.0))
        self.world.network.weather.storms.append((calls, chance.choice(faults), until))

    def _disk(self, chance: Random) -> None:
        """Let the next verb of a kind be refused."""
        verb = chance.choice(VERBS)
        number = chance.choice((errno.EIO, errno.EACCES) if verb in LOOKS else NUMBERS)
        self.world.troubles.once.setdefault(verb, []).append(number)

    def _trouble(self, chance: Random) -> None:
        """Let a root refuse for a while."""
        root = chance.choice((*ROOTS, EXPORT, "state"))
        number = chance.choice(NUMBERS)
        until = self.world.time.monotonic() + chance.choice((3.0, 40.0, 300.0))
        self.world.troubles.lasting[root] = (number, until)

    def _death(self, chance: Random) -> None:
        self._arm(chance, Death)

    def _cut(self, chance: Random) -> None:
        self._arm(chance, PowerCut)

    def _arm(self, chance: Random, death: type[Death]) -> None:
        """Let the daemon die at a moment that comes soon."""
        fuse = self.world.fuse
        fuse.death = death
        if chance.random() < 0.5:
            fuse.left, fuse.where = chance.choice((1, 2, 3, 5, 8, 13, 25)), ""
        else:
            fuse.left, fuse.where = 1, chance.choice((*MOMENTS[1:], *RARE, *RARE))

    def _kill(self, chance: Random) -> None:
        """Let the daemon or the machine die between two steps."""
        if chance.random() < 0.5:
            self._count("crash: between steps")
            raise Death
        self._count("power cut: between steps")
        raise PowerCut

    def _jump(self, chance: Random) -> None:
        self.world.time.wall += chance.choice((-86_400.0, -3600.0, -5.0, 5.0, 3600.0, 100_000.0))
        self._count("the wall clock jumps")

    def _reload(self, chance: Random) -> None:
        """Restart with other settings."""
        self._lose_daemon()
        self.world.variant = chance.randrange(len(VARIANTS))
        settings = self.world.settings
        self.laws.may_rerun |= settings.recipes["default"].intake.duplicates == "rerun"
        self._count("other settings")

    def _unmount(self, chance: Random) -> None:
        """Let an empty folder lie where a root was, for a while."""
        name = chance.choice(ROOTS)
        if not self.world.attempts.under_way and self._is_known(name) and self.world.unmount(name):
            until = self.world.time.monotonic() + chance.choice((3.0, 50.0, 200.0))
            self._mount_again[name] = until
            self._count("a root is not mounted")

    def _is_known(self, root: str) -> bool:
        """Tell whether a root bears its marker: what lies in a mount point before is another's."""
        parts = self.world.parts
        marker = self.world.disk.find(self.world.base / root / HIDDEN / MARKER)
        if parts is None or marker is None or self.world.fuse.left:
            return False
        return str(self.world.base / root) in parts.store.known_roots().values()

    def _space(self, chance: Random) -> None:
        """Let space run low, without a write failing."""
        self.world.free = 0
        self._plenty_at = self.world.time.monotonic() + 40.0
        self._is_to_note = True
        self._count("space is low")

    def _free(self, chance: Random) -> None:
        """Judge what is free, as the daemon does every few seconds."""
        if self.world.parts is not None:
            self.world.guard.judge({"outbox": self.world.free})

    def _heal(self) -> None:
        """End what was to last for a while."""
        now = self.world.time.monotonic()
        if self._mount_again:
            for name in [name for name, until in self._mount_again.items() if until <= now]:
                del self._mount_again[name]
                self.world.mount(name)
        if self._plenty_at <= now:
            self.world.free = 1 << 40

    # --- the end ----------------------------------------------------------------------------------

    def rest(self) -> None:
        """Switch all faults off, and let the daemon go on until all is quiet."""
        world = self.world
        world.network.weather.clear()
        world.troubles.clear()
        world.fuse.left = 0
        world.free = 1 << 40
        for name in list(self._mount_again):
            world.mount(name)
        self._mount_again.clear()
        self._pause_s = 5.0  # who waits for another looks twice a second, which takes many steps
        if world.settings.limits.jobs_per_day == FEW_A_DAY:
            self._lose_daemon()
            world.variant = 0  # a person sees that this many scans are meant
        self.people.abandon()
        for node_owner in [world.disk.root]:
            _close_all(node_owner)
        for number in range(PEACE_AT_MOST):
            self.step(Event("go", number))
            if self._is_quiet():
                break
        else:
            raise Broken(f"no rest: {self._unrest()}")
        self._mind()
        self.laws.check()
        self.laws.check_end(self._cases())

    def _is_quiet(self) -> bool:
        parts = self.world.parts
        if parts is None or self.world.attempts or self._is_to_obey or self._is_to_note:
            return False
        if any(self._turn_at.get(name, 0.0) == 0.0 for name in parts.inboxes):
            return False
        if not all(inbox.is_idle() for inbox in parts.inboxes.values()):
            return False
        if parts.store.due() or parts.store.words():
            return False
        return parts.store.held_notes() == ([], [])

    def _unrest(self) -> str:
        cases = [
            (case.case_id, str(case.state), case.problem and case.problem.code)
            for case in self._cases()
            if not case.state.is_at_rest
        ]
        inboxes = [
            (name, one["path"], one["state"], one["reason"])
            for name, inbox in self._parts().inboxes.items()
            for one in inbox.candidates()
        ]
        breakers = [(one.name, one.reason) for one in self._parts().breakers.all()]
        return f"cases {cases}, candidates {inboxes}, breakers {breakers}"

    def _cases(self) -> list[Case]:
        store = self._parts().store
        found = (store.load(case_id) for case_id in cases_of(store.database))
        return [case for case in found if case is not None]

    def _parts(self) -> Parts:
        parts = self.world.parts
        assert parts is not None
        return parts

    def close(self) -> None:
        """Let go of everything, and count what fired."""
        self.world.close()
        fired = self.report.fired
        fired.update(self.world.fuse.fired)
        fired.update(self.world.network.fired)
        fired.update(self.world.troubles.fired)


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    return " > ".join(f"{Path(frame.filename).stem}.{frame.name}" for frame in frames)


def _close_all(folder: Folder) -> None:
    for node in folder.entries.values():
        if isinstance(node, Folder):
            _close_all(node)
        elif hasattr(node, "writers"):
            node.writers = 0
