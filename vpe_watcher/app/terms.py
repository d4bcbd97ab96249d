"""What the configuration means to those who work: a value for each. Never asks a row."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from vpe_watcher import __version__, formats
from vpe_watcher.adapters import mounts
from vpe_watcher.adapters.engine import zip_size
from vpe_watcher.adapters.settings import Recipe, Settings
from vpe_watcher.core.grouping import Rules as CandidateRules
from vpe_watcher.core.machine import Patience
from vpe_watcher.core.model import Modality
from vpe_watcher.core.retention import Retention
from vpe_watcher.flow.options import Options, Setup
from vpe_watcher.flow.places import Places
from vpe_watcher.flow.ports import Ports, RecipeRules, Rules
from vpe_watcher.flow.room import FOLDER_LANES, Limits, Share

SOFTWARE = f"vpe-watcher {__version__}"
CALLS_AT_ONCE = 4
FOLDER_STEPS_AT_ONCE = 4
# File systems that number a file once and for all; others may do so at each mount or look.
KEEP_INODES = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "tmpfs", "overlay", "zfs", "f2fs"})


def folders_of(settings: Settings) -> dict[str, tuple[Path, ...]]:
    """Return the roots by breaker name."""
    recipes = settings.recipes.values()
    outboxes = dict.fromkeys([settings.outbox, *(recipe.outbox for recipe in recipes)])
    return {
        **{f"inbox:{recipe.name}": (recipe.inbox,) for recipe in recipes},
        "outbox": tuple(outboxes),
        "archive": (settings.archive,),
        "failed": (settings.failed,),
    }


def in_place_of(settings: Settings) -> frozenset[Path]:
    """Return the inboxes in which nothing is written."""
    return frozenset(one.inbox for one in settings.recipes.values() if one.leave_in_place)


def marked_folders_of(settings: Settings) -> dict[str, tuple[Path, ...]]:
    """Return the roots by breaker name that bear our marker: not those where nothing is written."""
    in_place = {f"inbox:{one.name}" for one in settings.recipes.values() if one.leave_in_place}
    return {name: paths for name, paths in folders_of(settings).items() if name not in in_place}


def places_of(settings: Settings, daemon_id: str) -> Places:
    """Return the folders of the configuration for path arithmetic."""
    return Places(
        inboxes={name: recipe.inbox for name, recipe in settings.recipes.items()},
        outboxes={name: recipe.outbox for name, recipe in settings.recipes.items()},
        archive=settings.archive,
        failed=settings.failed,
        daemon_id=daemon_id,
        in_place=frozenset(one.name for one in settings.recipes.values() if one.leave_in_place),
    )


def patience_of(settings: Settings, recipe: Recipe) -> Patience:
    """Return the limits of time that hold for a recipe's cases."""
    limits = settings.limits
    return Patience(
        retry_first_s=limits.retry_first_s,
        retry_at_most_s=limits.retry_at_most_s,
        retry_for_s=limits.retry_for_h * 3600,
        processing_at_most_s=limits.processing_at_most_h * 3600,
        poll_every_s=limits.poll_every_s,
        poll_at_most_s=max(limits.poll_at_most_s, limits.poll_every_s),
        settle_s=recipe.intake.settle_s,
    )


def rules_of(settings: Settings) -> Rules:
    """Return what steps need to know of the configuration."""
    return Rules(
        engine_url=settings.engine.url,
        engine_version=settings.engine.version,
        software=SOFTWARE,
        recipes={
            name: RecipeRules(
                job=recipe.job,
                job_json_keys=recipe.job_json_keys,
                settle_s=recipe.intake.settle_s,
                skips_duplicates=recipe.intake.duplicates == "skip",
                incomplete_after_s=recipe.intake.incomplete_after_s,
                patterns=_patterns(recipe),
                ignore=recipe.intake.ignore,
                min_slices=recipe.intake.min_slices,
            )
            for name, recipe in settings.recipes.items()
        },
        names_patients=settings.delivery.identifiers,
        keeps_inputs=settings.retention.on_success == "archive",
    )


def retention_of(settings: Settings) -> Retention:
    """Return how long what is at rest is kept, and how much disk stays free."""
    found = settings.retention
    days = found.archive_days, found.failed_days
    return Retention(*days, found.min_free, found.prune_below or 0)


def patiences_of(settings: Settings) -> dict[str, Patience]:
    """Return the limits of time by recipe."""
    return {name: patience_of(settings, recipe) for name, recipe in settings.recipes.items()}


def setup_of(settings: Settings, recipe: Recipe, ports: Ports) -> Setup:
    """Return what the configuration says of a recipe's inbox."""
    options = Options(
        recipe=recipe.name,
        folder=recipe.inbox,
        scan_every_s=recipe.intake.scan_every_s,
        takes_existing=recipe.intake.existing == "take",
    )
    return Setup(options, partial(candidate_rules, settings, recipe), ports)


def limits_of(settings: Settings) -> Limits:
    """Return how much is done at once, and how many jobs a day."""
    limits = settings.limits
    return Limits(
        lanes={
            "uploads": limits.uploads,
            "downloads": limits.downloads,
            "submits": CALLS_AT_ONCE,
            "calls": CALLS_AT_ONCE,
            **dict.fromkeys(FOLDER_LANES, FOLDER_STEPS_AT_ONCE),
        },
        jobs_in_flight=limits.jobs_in_flight,
        big_upload=limits.big_upload,
        shares={
            name: Share(
                priority=recipe.priority,
                lanes={"uploads": recipe.uploads, "downloads": recipe.downloads},
                jobs_in_flight=recipe.jobs_in_flight,
                hours=recipe.off_peak,
            )
            for name, recipe in settings.recipes.items()
        },
        budgets={
            name: {"budget": limits.jobs_per_day, f"budget:{name}": recipe.jobs_per_day or 0}
            for name, recipe in settings.recipes.items()
        },
    )


def candidate_rules(settings: Settings, recipe: Recipe) -> CandidateRules:
    """Return the rules by which an inbox judges its candidates."""
    others = [other.inbox for other in settings.recipes.values() if other.name != recipe.name]
    return CandidateRules(
        settle_s=recipe.intake.settle_s,
        incomplete_after_s=recipe.intake.incomplete_after_s,
        series_settle_s=recipe.intake.series_settle_s,
        series_max_wait_s=recipe.intake.series_max_wait_s,
        min_slices=recipe.intake.min_slices,
        zip_size=zip_size,
        ready_marker=recipe.ready_marker,
        require=tuple(Modality(name) for name in recipe.require),
        keeps_late_slices=recipe.intake.late_slices == "hold",
        leaves_in_place=recipe.leave_in_place,
        patterns=_patterns(recipe),
        split_name=formats.split_name,
        ignore=recipe.intake.ignore,
        inner_roots=frozenset(path.name for path in others if path.parent == recipe.inbox),
        trusts_inodes=mounts.filesystem_of(recipe.inbox).fs_type in KEEP_INODES,
    )


def _patterns(recipe: Recipe) -> dict[Modality, tuple[str, ...]]:
    patterns = recipe.intake.patterns
    return {
        Modality.IOS_UPPER: patterns.ios_upper,
        Modality.IOS_LOWER: patterns.ios_lower,
        Modality.FACIAL: patterns.facial,
    }
