"""Recipes as the rest of the program uses them: every gap filled from the top-level sections.

Owns what a recipe inherits. Never judges what came out (see `rules`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vpe_watcher.adapters.settings.model import (
    DeliverySettings,
    DicomSettings,
    Document,
    EngineSettings,
    IntakeSettings,
    LimitSettings,
    LogSettings,
    NotifySettings,
    PatternSettings,
    RecipeTable,
    RetentionSettings,
)
from vpe_watcher.core.priorities import DayHours, Priority
from vpe_watcher.core.wire import merged

DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Recipe:
    """Which job to run for what arrives in one inbox.

    `job` is the whole job body without `inputFiles`. `ready_marker` is a suffix such as `.done`,
    or "" for none. `jobs_per_day`: None or 0 = no limit of its own, and so are 0 `uploads`,
    `downloads`, `jobs_in_flight` and `upload_rate` (bytes a second). `off_peak`: when its cases may
    be submitted; None: at any time. `intake` is the recipe's own.
    """

    name: str
    inbox: Path
    outbox: Path
    leave_in_place: bool
    exported_by_nfs: bool
    require: tuple[str, ...]
    ready_marker: str
    job_json_keys: tuple[str, ...]
    jobs_per_day: int | None
    priority: Priority
    off_peak: DayHours | None
    uploads: int
    downloads: int
    jobs_in_flight: int
    upload_rate: int
    job: dict[str, Any]
    intake: IntakeSettings


@dataclass(frozen=True, slots=True)
class Settings:
    """The whole configuration, checked, with absolute paths and all defaults filled in.

    `recipes` always holds `default`, first. `config_file` is None if only variables were given,
    `secrets_in_file` names the secrets (not their values) that stand in it as they are.
    """

    inbox: Path
    outbox: Path
    archive: Path
    failed: Path
    state_file: Path
    engine: EngineSettings
    job: dict[str, Any]
    recipes: dict[str, Recipe]
    intake: IntakeSettings
    dicom: DicomSettings
    limits: LimitSettings
    delivery: DeliverySettings
    retention: RetentionSettings
    notify: NotifySettings
    log: LogSettings
    config_file: Path | None
    secrets_in_file: tuple[str, ...] = ()


def resolved(
    document: Document, config_file: Path | None, secrets_in_file: tuple[str, ...]
) -> Settings:
    """Turn the document as written into the settings as used."""
    tables = {DEFAULT: RecipeTable()} | document.recipes
    return Settings(
        inbox=document.inbox,
        outbox=document.outbox,
        archive=document.archive,
        failed=document.failed,
        state_file=document.state_file,
        engine=document.engine,
        job=document.job,
        recipes={name: recipe_of(name, table, document) for name, table in tables.items()},
        intake=document.intake,
        dicom=document.dicom,
        limits=document.limits,
        delivery=document.delivery,
        retention=document.retention,
        notify=document.notify,
        log=document.log,
        config_file=config_file,
        secrets_in_file=secrets_in_file,
    )


def recipe_of(name: str, table: RecipeTable, document: Document) -> Recipe:
    """Fill the gaps of one recipe's table."""
    own_inbox = document.inbox if name == DEFAULT else document.inbox / name
    return Recipe(
        name=name,
        inbox=table.inbox or own_inbox,
        outbox=table.outbox or document.outbox,
        leave_in_place=table.leave_in_place,
        exported_by_nfs=table.exported_by_nfs,
        require=table.require,
        ready_marker=table.ready_marker,
        job_json_keys=table.job_json_keys,
        jobs_per_day=table.jobs_per_day,
        priority=table.priority,
        off_peak=table.off_peak,
        uploads=table.uploads,
        downloads=table.downloads,
        jobs_in_flight=table.jobs_in_flight,
        upload_rate=table.upload_rate,
        job=merged(document.job, table.job),
        intake=_intake_of(table, document.intake),
    )


def _intake_of(table: RecipeTable, intake: IntakeSettings) -> IntakeSettings:
    patterns = intake.patterns.model_copy(update=_set_in(table.patterns, PatternSettings))
    own = _set_in(table, IntakeSettings)
    if table.leave_in_place:
        # What lies in an export already is sent only if this very recipe says so.
        own.setdefault("existing", "ignore")
    return intake.model_copy(update={**own, "patterns": patterns})


def _set_in(
    table: IntakeSettings | PatternSettings, kind: type[IntakeSettings | PatternSettings]
) -> dict[str, Any]:
    """Return the keys of a section that a table really sets, defaults left out."""
    return {key: getattr(table, key) for key in table.model_fields_set & set(kind.model_fields)}
