"""What is asked for beside a scan: where its `job.json` lies, and what it said if it lies no more.

The `job.json` of a folder goes with its first case, and that of an export stays in it: either may
be gone when another case is sent. So the row of such a case keeps what it said, behind its names.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from vpe_watcher.core.errors import ClaimGone, InputFault, TransientFault
from vpe_watcher.core.model import AT_REST, Case, Kind
from vpe_watcher.core.wire import JOB_JSON_AT_MOST_BYTES, Json, merged, parse_job_json
from vpe_watcher.flow.ports import Ports
from vpe_watcher.flow.reference import reading

JOB_JSON = "job.json"
WISHES_GONE = "wishes_gone"


def job_of(case: Case, ports: Ports) -> dict[str, Any]:
    """Return the job body with the wishes of the case's `job.json` (the first that is there).

    What it says is recorded where the file is not the case's own; to be called before the claim is
    recorded, as the first case of a folder may leave from then on.

    Raises:
        InputFault: it says what cannot be asked.
        ClaimGone: it is not the case's own, is gone, and nobody knows what it said.
    """
    wishes = _read(case, ports)
    if wishes is None:
        return dict(case.job)
    if _is_elsewhere(case, ports):
        known = (*_names(case), json.dumps(wishes))
        if known != case.job_json:
            ports.store.set_wishes(case.case_id, known)
    return merged(ports.rules.recipes[case.recipe].job, wishes)


def keep_wishes(case: Case, ports: Ports) -> None:
    """Record what was asked for by a case that ends before it was claimed, if that can be had."""
    if case.job_json and _is_elsewhere(case, ports):
        with suppress(InputFault, ClaimGone, TransientFault):  # told when the case is to be sent
            job_of(case, ports)


def _read(case: Case, ports: Ports) -> Json | None:
    allowed = ports.rules.recipes[case.recipe].job_json_keys
    for path in _paths(case, ports):
        with reading(case, ports):
            entry = ports.disk.look(path)
            if entry is None:
                continue
            if entry.kind is not Kind.FILE:
                raise _no_file()
            text = ports.disk.read(path, at_most=JOB_JSON_AT_MOST_BYTES)
        return parse_job_json(text, allowed_keys=allowed)
    if not case.job_json or not _is_elsewhere(case, ports):
        return None
    if _names(case) == case.job_json:
        raise _wishes_gone()
    return parse_job_json(case.job_json[-1].encode(), allowed_keys=allowed)


def _names(case: Case) -> tuple[str, ...]:
    """Return the names of the files; what one of them said is a JSON object, and no file's name."""
    return tuple(one for one in case.job_json if not one.endswith("}"))


def _is_elsewhere(case: Case, ports: Ports) -> bool:
    is_known = _names(case) != case.job_json
    return is_known or bool(case.split_of) or ports.places.is_in_place(case.recipe)


def _paths(case: Case, ports: Ports) -> list[Path]:
    """Return where `job.json` may lie; a part of a folder finds it with the folder."""
    names = _names(case)
    if ports.places.is_in_place(case.recipe):
        return [ports.places.inboxes[case.recipe] / name for name in names]
    own = [ports.places.claim(case) / name for name in names]
    if not names or not case.split_of:
        return own
    own.append(ports.places.content(case) / JOB_JSON)  # put there by a person, by its plain name
    first = ports.store.load(case.split_of)
    if first is None:
        return own
    claimed = [ports.places.claim(first) / name for name in names]
    at_rest = [
        folder / Path(name).relative_to(first.content)
        for name in names
        for folder in _resting_of(first, ports)
        if Path(name).is_relative_to(first.content)
    ]
    return [*own, *claimed, *at_rest, *claimed]  # it may be brought back while this is asked


def _resting_of(case: Case, ports: Ports) -> list[Path]:
    """Return where the input of a case lies that is at rest, or that a retry is to bring back."""
    if case.state in AT_REST:
        return [ports.places.input_folder(case)]
    rests = {ports.places.archive, ports.places.failed}  # what lies in the inbox is another's now
    return [path for path in (Path(move.source) for move in case.moves) if path.parent in rests]


def _no_file() -> InputFault:
    return InputFault(
        "The job.json of this case is not a file.",
        code="bad_job_json",
        hint="Put a file in its place (it may set outputFiles and options) and drop the scan "
        "again.",
    )


def _wishes_gone() -> ClaimGone:
    return ClaimGone(
        "A job.json came with this case. It is gone, and what it asked for is not known.",
        code=WISHES_GONE,
        hint="Nothing was sent. Put the job.json into the claim folder that `vpe-watcher show` "
        "names (one that says only {} asks for what the recipe says), or back into the export if "
        "nothing is moved there; then `vpe-watcher retry CASE`.",
    )
