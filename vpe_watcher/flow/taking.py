"""From plans to the rows that take a candidate: ids, moves, and what belongs together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vpe_watcher.adapters.store import NewCase
from vpe_watcher.core.model import Move
from vpe_watcher.core.plans import Plan
from vpe_watcher.flow.options import Options
from vpe_watcher.flow.ports import Ports


def new_cases(
    plans: tuple[Plan, ...],
    *,
    options: Options,
    ports: Ports,
    detected: float,
    new_id: Callable[[], str],
) -> tuple[NewCase, ...]:
    """Return the rows of the cases of one candidate. `detected` in seconds since 1970.

    The parts of a folder are taken out of the first one's claim, so the folder itself leaves the
    inbox by one rename.
    """
    recipe = ports.rules.recipes[options.recipe]
    ids = [new_id() for _ in plans]
    claim = ports.places.claims(options.recipe) / ids[0]
    cases = []
    for case_id, plan in zip(ids, plans, strict=True):
        source = (
            claim
            if plan.is_part and not ports.places.is_in_place(options.recipe)
            else options.folder
        )
        cases.append(
            NewCase(
                case_id=case_id,
                case_name=plan.case_name,
                recipe=options.recipe,
                job=recipe.job,
                engine_version=ports.rules.engine_version,
                moves=_moves(plan, source, case_id),
                inputs=plan.inputs,
                detected=detected,
                content=plan.content,
                sight=plan.sight,
                job_json=plan.job_json,
                skipped=plan.skipped,
                doom=plan.doom,
                hold=plan.hold,
                split_of=ids[0] if source is claim else "",
                late_for=plan.late_for,
                notes=plan.notes,
            )
        )
    return tuple(cases)


def _moves(plan: Plan, source: Path, case_id: str) -> tuple[Move, ...]:
    return tuple(Move(str(source / name), f"{case_id}/{name}") for name in plan.files)
