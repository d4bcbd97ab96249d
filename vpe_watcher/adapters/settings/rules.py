"""What must hold between keys, and between keys and this machine.

Owns the rules that one value alone cannot break: folders, recipes, authentication, watermarks.
Looks at secret files and the state folder, never opens or makes anything.
"""

from __future__ import annotations

import os
import re
import shlex
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from vpe_watcher.adapters.settings.mistakes import Finding
from vpe_watcher.adapters.settings.model import AuthSettings
from vpe_watcher.adapters.settings.recipes import DEFAULT, Recipe, Settings
from vpe_watcher.adapters.settings.secrets import fault_of
from vpe_watcher.core.priorities import Priority

ANSWER_WITHIN_S = 1.0
NAME = re.compile(r"[A-Za-z0-9_-]+")
EXAMPLE_OUTPUT = 'meshes = [{ extension = ".stl", structures = ["mandible"] }]'
AUTH = ("engine", "auth")


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of the configuration: its key, the real place, and what it is for."""

    path: tuple[str, ...]
    place: Path
    kind: str
    recipe: str = ""


def broken_rules(settings: Settings, *, asks_engine: bool = True) -> Iterator[Finding]:
    """Yield every broken rule, the most basic first; those on secrets for who asks the Engine."""
    for rule in RULES:
        if asks_engine or rule not in OF_SECRETS:
            yield from rule(settings)


def recipe_names(settings: Settings) -> Iterator[Finding]:
    """Demand names that are safe as a folder's name."""
    seen: dict[str, str] = {}
    for name in settings.recipes:
        if not NAME.fullmatch(name):
            reason = "a recipe's name may hold letters, digits, - and _ only"
            yield Finding(("recipes", name), reason, "it is also the name of a folder")
        other = seen.setdefault(name.lower(), name)
        if other != name:
            reason = f"differs from the recipe {other} by capital letters only"
            yield Finding(("recipes", name), reason, "rename one: shares do not tell them apart")


def recipe_jobs(settings: Settings) -> Iterator[Finding]:
    """Demand that each recipe says what it wants from the Engine."""
    for recipe in settings.recipes.values():
        if recipe.job.get("outputFiles"):
            continue
        path = ("job",) if recipe.name == DEFAULT else ("recipes", recipe.name, "job")
        reason = "outputFiles is missing: nothing says what the Engine shall make"
        hint = f"write below [{'.'.join((*path, 'outputFiles'))}], for example: {EXAMPLE_OUTPUT}"
        yield Finding((*path, "outputFiles"), reason, hint)


def recipe_hours(settings: Settings) -> Iterator[Finding]:
    """Demand hours of recipes that wait for them, and of no other: they would not be obeyed."""
    for recipe in settings.recipes.values():
        path = ("recipes", recipe.name, "off_peak")
        if recipe.priority is Priority.OFF_PEAK and recipe.off_peak is None:
            hint = 'say when its scans may be sent, as in off_peak = "20:00-06:00"'
            yield Finding(path, "is missing, and the recipe's priority is off-peak", hint)
        elif recipe.off_peak is not None and recipe.priority is not Priority.OFF_PEAK:
            hint = 'add priority = "off-peak", or remove this key'
            yield Finding(path, "counts only where the priority is off-peak", hint)


def default_inbox(settings: Settings) -> Iterator[Finding]:
    """Refuse another inbox for the recipe that is the inbox."""
    if settings.recipes[DEFAULT].inbox != settings.inbox:
        reason = "the recipe default is the top-level inbox and can have no other"
        hint = "remove this key and set the top-level inbox, or give the recipe another name"
        yield Finding(("recipes", DEFAULT, "inbox"), reason, hint)


def receiving_recipe(settings: Settings) -> Iterator[Finding]:
    """Demand an inbox that may be written to for what a PACS sends."""
    path, recipe = ("dicom", "recipe"), settings.recipes.get(settings.dicom.recipe)
    if recipe is None:
        yield Finding(path, "names no recipe", f"configured: {', '.join(settings.recipes)}")
    elif recipe.leave_in_place:
        hint = "name another recipe, or remove its leave_in_place"
        yield Finding(path, "names a recipe that leaves its files in place", hint)


def watermarks(settings: Settings) -> Iterator[Finding]:
    """Demand that the archive gives way for something that can be reached by it."""
    retention, path = settings.retention, ("retention", "prune_below")
    if retention.prune_below is None:
        return
    if retention.prune_below == 0:
        yield Finding(path, "is 0, below which no disk can fall", 'write "" for never')
    elif retention.min_free == 0:
        reason = "needs min_free, up to which the archive is pruned, and that is 0 (off)"
        yield Finding(path, reason, "set min_free to as much as prune_below, or more")
    elif retention.prune_below > retention.min_free:
        reason = "is more than min_free, up to which the archive is pruned"
        hint = "set it to as much as min_free, or less: intake pauses first, then the archive goes"
        yield Finding(path, reason, hint)
    if retention.on_success == "delete":
        reason = 'frees nothing where on_success is "delete": no input is kept in the archive'
        yield Finding(path, reason, 'write "" for never')


def folders(settings: Settings) -> Iterator[Finding]:
    """Demand that no two folders are the same or lie in one another."""
    for first, second in combinations(_folders_of(settings), 2):
        if _may_share(first, second) or not _overlap(first.place, second.place):
            continue
        how = "is the same folder as" if first.place == second.place else "overlaps with"
        reason = f"{second.place} {how} {'.'.join(first.path)} ({first.place})"
        hint = "give each its own folder, side by side"
        if first.kind == second.kind == "inbox":
            hint = "a recipe's inbox is directly in the main inbox, or wholly outside it"
        yield Finding(second.path, reason, hint)


def state_file(settings: Settings) -> Iterator[Finding]:
    """Demand a folder for the state file, outside the folders where people and scans come."""
    path, file = ("state_file",), settings.state_file
    try:
        is_there, is_folder = file.parent.is_dir(), file.is_dir()
    except OSError as error:
        reason = f"{file} cannot be looked at: {os.strerror(error.errno or 0).lower()}"
        hint = "run this as the service's user or as root"
        yield Finding(path, reason, hint, "state_folder_closed")
        return
    if not is_there:
        reason = f"the folder {file.parent} does not exist"
        quoted = shlex.quote(str(file.parent))
        hint = f"install -d -m 0700 {quoted} (and chown it to the service's user)"
        yield Finding(path, reason, hint, "state_folder_missing")
    elif is_folder:
        yield Finding(path, f"{file} is a folder", f"name a file, as in {file}/state.sqlite3")
    for folder in _folders_of(settings):
        if real(file).is_relative_to(folder.place):
            reason = f"{file} lies inside {'.'.join(folder.path)} ({folder.place})"
            hint = "put it where only the service looks, for example /var/lib/vpe-watcher"
            yield Finding(path, reason, hint)
            return


def authentication(settings: Settings) -> Iterator[Finding]:
    """Demand exactly one way to get a token, and secret files that only we can read."""
    auth = settings.engine.auth
    for name in ("client_secret", "access_token"):
        if getattr(auth, name) and getattr(auth, f"{name}_file"):
            reason = f"{name} and {name}_file are both set"
            yield Finding((*AUTH, name), reason, f"keep {name}_file and remove {name}")
    is_client = bool(auth.client_id or auth.client_secret or auth.client_secret_file)
    if auth.is_ready_made and is_client:
        key = "access_token" if auth.access_token else "access_token_file"
        reason = "client credentials and a ready-made token are both set"
        yield Finding((*AUTH, key), reason, "keep one way and empty the keys of the other")
    elif is_client:
        yield from _client_credentials(auth)
    elif not auth.is_ready_made:
        reason = "nothing says how to get a token from the Engine's vendor"
        hint = "set client_id and client_secret_file, or access_token_file"
        yield Finding(AUTH, reason, hint, "config_auth_missing")


def secret_files(settings: Settings) -> Iterator[Finding]:
    """Refuse a secret file that is missing, unreadable, or open to every user."""
    auth = settings.engine.auth
    for key in ("client_secret_file", "access_token_file"):
        file: Path | None = getattr(auth, key)
        fault = fault_of(file) if file is not None else None
        if fault is not None:
            reason, hint = fault
            yield Finding((*AUTH, key), reason, hint, "config_secret_file")


def notices(settings: Settings) -> Iterator[Finding]:
    """Demand a signature for the webhook, and secret files that only we can read."""
    notify, webhook = settings.notify, settings.notify.webhook
    pairs = (
        (("notify",), "urls", bool(notify.urls), notify.urls_file),
        (("notify", "webhook"), "secret", bool(webhook.secret), webhook.secret_file),
    )
    for path, key, is_set, file in pairs:
        if is_set and file is not None:
            reason = f"{key} and {key}_file are both set"
            yield Finding((*path, key), reason, f"keep {key}_file and remove {key}")
        fault = fault_of(file) if file is not None else None
        if fault is not None:
            reason, hint = fault
            yield Finding((*path, f"{key}_file"), reason, hint, "config_secret_file")
    if webhook.url and not webhook.secret and webhook.secret_file is None:
        reason = "is missing beside url: nobody could tell our notices from others'"
        yield Finding(("notify", "webhook", "secret_file"), reason, "openssl rand -hex 32")


def engine_address(settings: Settings) -> Iterator[Finding]:
    """Demand one of the two ways to say where the Engine is."""
    if not settings.engine.base_url and not settings.engine.region:
        reason = "neither region nor base_url is set"
        yield Finding(("engine", "region"), reason, 'set region = "eu"')


RULES: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
    engine_address,
    authentication,
    secret_files,
    recipe_names,
    default_inbox,
    recipe_jobs,
    recipe_hours,
    folders,
    state_file,
    receiving_recipe,
    watermarks,
    notices,
)
OF_SECRETS = (authentication, secret_files)


def _client_credentials(auth: AuthSettings) -> Iterator[Finding]:
    if not auth.client_id:
        yield Finding((*AUTH, "client_id"), "is missing beside the client secret", "set both")
    if not auth.client_secret and auth.client_secret_file is None:
        hint = "set client_secret_file to a file that only the service can read"
        yield Finding((*AUTH, "client_secret_file"), "is missing beside client_id", hint)
    if not auth.token_url:
        yield Finding((*AUTH, "token_url"), "is empty", "remove the key to get its default")


def _folders_of(settings: Settings) -> tuple[Folder, ...]:
    shared = tuple(
        Folder((kind,), real(getattr(settings, kind)), kind)
        for kind in ("inbox", "outbox", "archive", "failed")
    )
    own = tuple(
        Folder(("recipes", name, kind), real(getattr(recipe, kind)), kind, name)
        for name, recipe in settings.recipes.items()
        for kind in ("inbox", "outbox")
        if _is_own(recipe, kind, settings)
    )
    return shared + own


def _is_own(recipe: Recipe, kind: str, settings: Settings) -> bool:
    """Leave out what a recipe shares with the top level by design."""
    if recipe.name == DEFAULT and kind == "inbox":
        return False
    return kind == "inbox" or recipe.outbox != settings.outbox


def _may_share(first: Folder, second: Folder) -> bool:
    """Allow shared outboxes, and a recipe's inbox directly in the main one."""
    if first.kind == second.kind == "outbox":
        return True
    is_main = first.kind == second.kind == "inbox" and not first.recipe
    return is_main and second.place.parent == first.place


def _overlap(first: Path, second: Path) -> bool:
    return first.is_relative_to(second) or second.is_relative_to(first)


def real(path: Path) -> Path:
    """Follow the links in a path; on a share that does not answer it is taken as it is written."""
    found: list[str] = []
    asker = threading.Thread(target=lambda: found.append(os.path.realpath(path)), daemon=True)
    asker.start()
    asker.join(ANSWER_WITHIN_S)
    return Path(found[0] if found else os.path.normpath(path))
