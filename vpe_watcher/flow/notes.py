"""The notes in `failed/` that tell the person at the folder about held cases.

Owns `<name>.held.txt`: written when a case becomes held, removed when it is held no more. Decides
nothing about a case.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from vpe_watcher.adapters.files import blamed
from vpe_watcher.core.errors import EnvironmentFault
from vpe_watcher.core.machine import retry_label
from vpe_watcher.core.model import Case, FailureClass, Kind, Label, Problem
from vpe_watcher.flow.breakers import Breakers
from vpe_watcher.flow.places import HELD_NOTE
from vpe_watcher.flow.ports import Ports
from vpe_watcher.flow.reference import CLAIM_GONE
from vpe_watcher.flow.wishes import WISHES_GONE

KIND = "notes"
NEEDS = ("failed", "disk", "state")
_NO_PROBLEM = Problem(FailureClass.UNKNOWN, "unknown", "The reason was not recorded.")


class HeldNotes:
    """Keeps the notes in step with the cases. `monotonic` is the clock of the breakers."""

    def __init__(self, ports: Ports, breakers: Breakers, *, monotonic: Callable[[], float]) -> None:
        self._ports = ports
        self._breakers = breakers
        self._monotonic = monotonic

    def use(self, ports: Ports) -> None:
        """Write where another configuration says from now on."""
        self._ports = ports

    def keep(self) -> None:
        """Write and remove what is due; trouble opens a breaker, whose time is waited for."""
        now = self._monotonic()
        if any(one.name in NEEDS and one.retry_at > now for one in self._breakers.all()):
            return
        try:
            keep_held_notes(self._ports)
        except EnvironmentFault as fault:
            self._breakers.open(fault, kind=KIND)
        else:
            for name in NEEDS:
                self._breakers.close(name, kind=KIND)


def keep_held_notes(ports: Ports) -> None:
    """Write the notes of cases that became held, remove those of cases that are held no more.

    What was done on the disk stays there before it is recorded.

    Raises:
        EnvironmentFault: the folder `failed` cannot be written now (breaker `failed`).
    """
    wanted, unwanted = ports.store.held_notes()
    if not wanted and not unwanted:
        return
    ports.guard("failed")
    for case in unwanted:
        with blamed("failed"):
            _remove_notes(case, ports)
        ports.store.set_unnoted(case.case_id)
    for case in wanted:
        with blamed("failed"):
            words = _held_words(case, ports)
            ports.disk.write(ports.places.held_note(case), words.encode())
        ports.store.set_noted(case)


def _remove_notes(case: Case, ports: Ports) -> None:
    """Remove every note on a case: it may have got another folder name since it was noted."""
    for path in list(_notes_on(case, ports)):
        ports.disk.remove_file(path)
    ports.disk.sync_folder(ports.places.failed)


def _notes_on(case: Case, ports: Ports) -> Iterator[Path]:
    mark = _id_line(case).encode()
    for name in ports.disk.names(ports.places.failed):
        path = ports.places.failed / name
        if not name.endswith(HELD_NOTE) or name.startswith("."):
            continue
        with suppress(FileNotFoundError, PermissionError):  # a person's own, if it is a file at all
            entry = ports.disk.look(path)
            is_file = entry is not None and entry.kind is Kind.FILE
            if is_file and mark in ports.disk.read(path).splitlines():
                yield path


def _id_line(case: Case) -> str:
    return f"Case id: {case.case_id}"


def _held_words(case: Case, ports: Ports) -> str:
    problem = case.problem or _NO_PROBLEM
    lines = [
        f"{case.case_name}: waits for a person.",
        "",
        f"What happened: {problem.message}",
        f"What to do:    {problem.hint}",
        "",
        _id_line(case),
        f"Job id:  {case.job_id or 'none'}",
    ]
    if problem.code == CLAIM_GONE:
        if retry_label(case) is Label.RETRY_SAME_JOB and case.recipe in ports.places.inboxes:
            lines += [
                f"Claim folder: {ports.places.content(case)}",
                f"With the scan in it, go on free of charge: vpe-watcher retry {case.case_id}",
            ]
    else:
        word = "retry --yes" if retry_label(case) is Label.RETRY_NEW_JOB else "retry"
        if problem.code == WISHES_GONE and case.recipe in ports.places.inboxes:
            lines += [f"Claim folder: {ports.places.content(case)}"]
        lines += [
            "The scan itself is safe in the hidden folder of the inbox.",
            f"Go on with: vpe-watcher {word} {case.case_id}",
        ]
    return "\n".join(lines) + "\n"
