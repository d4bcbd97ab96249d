"""A reload: what other settings make of the parts, prepared beside them and taken over as a whole.

`prepare` may fail and may wait for a folder, and changes nothing. `take_over` asks the state file
whether it may, and from then on only hands over values: there is no half-changed daemon.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from vpe_watcher.adapters.settings.changes import AT_START, changed_keys
from vpe_watcher.app.assembly import Parts, check_recipes, set_rates
from vpe_watcher.app.notifying import policy_of, targets_of
from vpe_watcher.app.terms import (
    folders_of,
    in_place_of,
    limits_of,
    marked_folders_of,
    patiences_of,
    setup_of,
)
from vpe_watcher.core.errors import ConfigError
from vpe_watcher.core.model import State
from vpe_watcher.flow.inbox import Inbox
from vpe_watcher.flow.options import Setup
from vpe_watcher.flow.places import HIDDEN, Places
from vpe_watcher.flow.ports import Engine, Ports
from vpe_watcher.flow.roots import MARKER, check_identity

if TYPE_CHECKING:
    from vpe_watcher.adapters.notify import Target
    from vpe_watcher.adapters.settings import Settings
    from vpe_watcher.adapters.store import Store

SHARED = ("outbox", "archive", "failed")
# The steps that find something of their case in a folder.
NEEDS_OUTBOX = frozenset({State.FETCHING, State.DELIVERING, State.ARCHIVING})
CALLING = ("connect_timeout_s", "stall_timeout_s")


@dataclass(frozen=True, slots=True)
class Orders:
    """What settings make of the parts. `setups` are those of inboxes that stay, by recipe.

    `emptied` are held cases of which nothing lies hidden in an inbox that goes.
    `deferred` names the keys that count from the next start on; `changed` those that count now.
    """

    settings: Settings
    ports: Ports
    setups: Mapping[str, Setup]
    inboxes: Mapping[str, Inbox]
    targets: tuple[Target, ...]
    unchecked: frozenset[Path]
    emptied: frozenset[str]
    changed: tuple[str, ...]
    deferred: tuple[str, ...]


def prepare(parts: Parts, settings: Settings, *, engine_of: Callable[[Settings], Engine]) -> Orders:
    """Make of settings what the parts will need; may wait for folders, and changes nothing.

    Ten seconds at most, and four more for each inbox that goes while cases of it are held.

    Raises:
        ConfigError: a folder that is new here knows more than the state file, or an address of
            those who are told of things cannot be used.
        EnvironmentFault: the state file cannot be asked now.
    """
    old = parts.settings
    deferred = tuple(
        key for key in changed_keys(old, settings) if key.partition(".")[0] in AT_START
    )
    settings = replace(settings, **{key: getattr(old, key) for key in AT_START})
    unchecked = _check_new_folders(parts, settings)
    engine = parts.engine if _has_same_engine(old, settings) else engine_of(settings)
    ports = parts.ports_of(settings, engine)
    setups = {name: setup_of(settings, one, ports) for name, one in settings.recipes.items()}
    stays = {name for name in setups if name in old.recipes and _stays(name, old, settings)}
    targets, told_anew = _targets(parts, settings)
    return Orders(
        settings=settings,
        ports=ports,
        setups={name: setups[name] for name in setups if name in stays},
        inboxes={name: parts.inbox_of(setups[name]) for name in setups if name not in stays},
        targets=targets,
        unchecked=unchecked,
        emptied=_emptied(parts, settings, ports.places),
        changed=(*changed_keys(old, settings), *told_anew),
        deferred=deferred,
    )


def take_over(parts: Parts, orders: Orders) -> None:
    """Let everything that begins from now on go by other settings; what runs is let be.

    Raises, and then nothing has changed:
        ConfigError: cases under way or held need a recipe or a folder which would go.
        EnvironmentFault: the state file cannot be asked now.
    """
    leaving = [one for name, one in parts.inboxes.items() if name not in orders.setups]
    for inbox in leaving:
        inbox.close()  # before the question: no case must come after the answer
    try:
        _check_use(parts.settings, orders, parts.store)
    except BaseException:
        for inbox in leaving:
            inbox.reopen()
        raise
    _replace(parts, orders)
    for inbox in leaving:
        inbox.wake.set()


def _replace(parts: Parts, orders: Orders) -> None:
    old, settings, patience = parts.settings, orders.settings, patiences_of(orders.settings)
    kept = {name: inbox for name, inbox in parts.inboxes.items() if name in orders.setups}
    inboxes = kept | dict(orders.inboxes)
    parts.roots.use(marked_folders_of(settings), unchecked=orders.unchecked)
    parts.breakers.use(patience["default"])
    parts.schedule.use(limits_of(settings))
    set_rates(settings, parts.paces)
    parts.runner.use(orders.ports, patience)
    parts.words.use(orders.ports)
    parts.settings, parts.ports, parts.targets = settings, orders.ports, orders.targets
    parts.store.notice_policy = policy_of(settings, orders.targets)
    parts.inboxes = {name: inboxes[name] for name in settings.recipes}
    for name, inbox in kept.items():
        inbox.use(orders.setups[name])
    parts.breakers.drop(_breakers_of_gone(old, orders))
    if parts.breakers.hasten(_breakers_of_changed(old, settings)):
        parts.schedule.hasten()


def _targets(parts: Parts, settings: Settings) -> tuple[tuple[Target, ...], tuple[str, ...]]:
    """Return who is told, and the key that says so if only the file that it names has changed."""
    targets = targets_of(settings)
    if parts.settings.notify != settings.notify:
        return targets, ()
    if [one.name for one in targets] == [one.name for one in parts.targets]:
        return parts.targets, ()
    return targets, ("notify.urls_file",)


def _check_new_folders(parts: Parts, settings: Settings) -> frozenset[Path]:
    """Ask the folders that this daemon did not have yet, as a start asks all."""
    known = set(chain.from_iterable(folders_of(parts.settings).values()))
    folders = {
        name: tuple(path for path in paths if path not in known)
        for name, paths in folders_of(settings).items()
    }
    inboxes = {
        name: recipe.inbox for name, recipe in settings.recipes.items() if recipe.inbox not in known
    }
    in_place = in_place_of(settings)
    return check_identity(parts.disk, parts.store, folders, inboxes, in_place=in_place)


def _emptied(parts: Parts, new: Settings, places: Places) -> frozenset[str]:
    """Name the held cases of inboxes that go of which nothing lies hidden there."""
    held: dict[str, set[str]] = defaultdict(set)
    for case in parts.store.unsettled():
        if case.state is State.HELD and case.recipe in parts.settings.recipes:
            held[case.recipe].add(case.case_id)
    return frozenset(
        chain.from_iterable(
            case_ids - _left_behind(parts, places, recipe, case_ids)
            for recipe, case_ids in held.items()
            if not _stays(recipe, parts.settings, new)
        )
    )


def _left_behind(parts: Parts, places: Places, recipe: str, case_ids: set[str]) -> set[str]:
    """Return the cases whose scans lie, or may lie, in the old inbox and not in the new one."""
    if parts.places.is_in_place(recipe):
        return set()
    has_claims = recipe in places.inboxes and not places.is_in_place(recipe)
    taken_along = _claims_in(parts, places, recipe) if has_claims else None
    here = _claims_in(parts, parts.places, recipe)
    left = case_ids if here is None else case_ids & here
    return left - (taken_along or set())


def _claims_in(parts: Parts, places: Places, recipe: str) -> frozenset[str] | None:
    """Name the claims in an inbox; None: it says nothing, or is an empty mount point."""
    try:
        hidden = parts.ports.names_in(places.inboxes[recipe] / HIDDEN)
        if MARKER not in hidden:
            return None
        has_any = places.daemon_id in hidden
        return frozenset(parts.ports.names_in(places.claims(recipe)) if has_any else ())
    except OSError:
        return None


def _check_use(old: Settings, orders: Orders, store: Store) -> None:
    """Refuse to take away what cases under way or held need. Raises `ConfigError`."""
    new = orders.settings
    check_recipes(new, store)
    missed: Counter[str] = Counter()
    for case in store.unsettled():
        before, after = old.recipes.get(case.recipe), new.recipes.get(case.recipe)
        if before is None:
            continue
        is_empty = case.state is State.HELD and case.case_id in orders.emptied  # none was retried
        if not is_empty and not _stays(case.recipe, old, new):
            missed[f"the inbox of {case.recipe}"] += 1
        if case.step in NEEDS_OUTBOX and after is not None and before.outbox != after.outbox:
            missed[f"the outbox of {case.recipe}"] += 1
        if case.step is State.ARCHIVING:
            missed.update(key for key in ("archive", "failed") if _differs(key, old, new))
    if missed:
        named = ", ".join(f"{name} ({count})" for name, count in sorted(missed.items()))
        raise ConfigError(
            f"Cases that are under way or held need folders that would be others: {named}.",
            code="folder_in_use",
            hint="Put the old value back, or reload again when none is under way there "
            "(`vpe-watcher cases --recipe NAME`; `vpe-watcher cancel CASE` ends one that nobody "
            "wants). `vpe-watcher retry` takes up a held one; only if nobody wants a held one, "
            "move its folder out of .vpe-watcher of the old inbox.",
        )


def _stays(name: str, old: Settings, new: Settings) -> bool:
    """Tell whether a recipe's inbox is the same folder, and treated alike."""
    before, after = old.recipes[name], new.recipes.get(name)
    return after is not None and (
        (before.inbox, before.leave_in_place) == (after.inbox, after.leave_in_place)
    )


def _has_same_engine(old: Settings, new: Settings) -> bool:
    is_calling_alike = all(getattr(old.limits, key) == getattr(new.limits, key) for key in CALLING)
    return old.engine == new.engine and is_calling_alike


def _differs(key: str, old: Settings, new: Settings) -> bool:
    return bool(getattr(old, key) != getattr(new, key))


def _breakers_of_gone(old: Settings, orders: Orders) -> set[str]:
    """Name the breakers of recipes and folders that are not there any more."""
    names = {f"inbox:{name}" for name in old.recipes if name not in orders.setups}
    removed = old.recipes.keys() - orders.settings.recipes.keys()
    return names | {f"{kind}:{name}" for name in removed for kind in ("recipe", "budget")}


def _breakers_of_changed(old: Settings, new: Settings) -> set[str]:
    """Name the breakers of what may be well now: nobody wants to wait for their time."""
    names = {key for key in SHARED if _differs(key, old, new)}
    if not _has_same_engine(old, new):
        names |= {"engine", "token"}
    if old.limits.jobs_per_day != new.limits.jobs_per_day:
        names.add("budget")
    for name in old.recipes.keys() & new.recipes.keys():
        before, after = old.recipes[name], new.recipes[name]
        names |= {f"recipe:{name}"} if before.job != after.job else set()
        names |= {f"budget:{name}"} if before.jobs_per_day != after.jobs_per_day else set()
        names |= {"outbox"} if before.outbox != after.outbox else set()
    return names
