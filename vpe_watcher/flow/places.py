"""Where everything of a case lies: pure path arithmetic over the configured folders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vpe_watcher.core.model import AT_REST, FAILING, Case, State

HIDDEN = ".vpe-watcher"
EVIDENCE = ".case.json"
RECORDS = f"{HIDDEN}/records"
HELD_NOTE = ".held.txt"
# By so many bytes a path in an inbox gets longer when it is claimed: both ids have twelve digits.
CLAIM_ADDS = len(f"/{HIDDEN}/{'d' * 12}/{'c' * 12}")


def root_key(recipe: str, inbox: Path) -> str:
    """Return the name under which rows know the inbox of a recipe: another folder is another."""
    return f"inbox:{recipe} {inbox}"


def records_in(root: Path) -> Path:
    """Return the folder of the records of all cases whose folders lie in a root."""
    return root / RECORDS


def record_in(root: Path, case_id: str) -> Path:
    """Return the file that tells of a case what its document in a root does not say."""
    return records_in(root) / f"{case_id}.json"


def probes_in(root: Path, claims_of: str) -> tuple[Path, Path]:
    """Name a file of ours in a root, and where it is put to see whether it can be.

    In an inbox both lie among the claims of a daemon (`claims_of`), so that no look sees them.
    """
    if claims_of:
        claims = root.joinpath(HIDDEN, claims_of)
        return claims / ".probe", claims / ".probed"
    return root / HIDDEN / ".probe", root / f"{HIDDEN}.probed"


@dataclass(frozen=True, slots=True)
class Places:
    """The folders of the configuration and what we keep in them.

    `inboxes` and `outboxes` are by recipe. Claims lie in the hidden folder of the inbox, staged
    results in that of the outbox, so that each is published by one rename.
    """

    inboxes: Mapping[str, Path]
    outboxes: Mapping[str, Path]
    archive: Path
    failed: Path
    daemon_id: str
    in_place: frozenset[str] = frozenset()  # recipes whose inputs stay where they were exported

    def is_in_place(self, recipe: str) -> bool:
        """Tell whether a recipe's inputs are never moved."""
        return recipe in self.in_place

    def claims(self, recipe: str) -> Path:
        """Return the folder of all claims of this daemon in a recipe's inbox."""
        return self.inboxes[recipe].joinpath(HIDDEN, self.daemon_id)

    def claim(self, case: Case) -> Path:
        """Return the folder that holds a case's claimed files and its evidence."""
        return self.inboxes[case.recipe].joinpath(HIDDEN, self.daemon_id, case.case_id)

    def content(self, case: Case) -> Path:
        """Return the folder that input names are relative to while a case is claimed."""
        if case.recipe in self.in_place:
            return self.inboxes[case.recipe]
        return self.claim(case) / case.content

    def staging(self, case: Case) -> Path:
        """Return the folder in which a case's results are gathered before they are published."""
        return self.outboxes[case.recipe].joinpath(HIDDEN, "staging", case.case_id)

    def published(self, case: Case) -> Path:
        """Return the folder in the outbox that people see."""
        return self.outboxes[case.recipe] / case.folder

    def resting(self, case: Case, verdict: State) -> Path:
        """Return where the input of a case with this verdict comes to rest."""
        return self.rest(verdict) / case.folder

    def rest(self, verdict: State) -> Path:
        """Return the root in which cases with this verdict come to rest."""
        return self.failed if verdict in FAILING else self.archive

    def arriving(self, case: Case, verdict: State) -> Path:
        """Return where a copy across file systems is made before it comes to rest."""
        return self.resting(case, verdict).parent / HIDDEN / "staging" / case.case_id

    def held_note(self, case: Case) -> Path:
        """Return the file that tells the person at the folder that a case is held."""
        return self.failed / f"{case.folder}{HELD_NOTE}"

    def input_folder(self, case: Case) -> Path:
        """Return where the files of a case at rest, or under way, lie."""
        if case.recipe in self.in_place or case.state not in AT_REST or case.state is State.HELD:
            return self.content(case)
        return self.resting(case, case.state)
