"""The words of the glossary as values. Frozen, without behaviour beyond what is derived."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """Where a case stands. The first eight are the name of the effect that is due."""

    CLAIMING = "claiming"
    SUBMITTING = "submitting"
    UPLOADING = "uploading"
    NOTIFYING = "notifying"
    WAITING = "waiting"
    FETCHING = "fetching"
    DELIVERING = "delivering"
    ARCHIVING = "archiving"
    DONE = "done"
    PARTIAL = "partial"
    DUPLICATE = "duplicate"
    FAILED = "failed"
    HELD = "held"
    CANCELLED = "cancelled"

    @property
    def is_at_rest(self) -> bool:
        """Tell whether no effect is due."""
        return self in AT_REST


AT_REST = frozenset(
    {State.DONE, State.PARTIAL, State.DUPLICATE, State.FAILED, State.HELD, State.CANCELLED}
)
FAILING = frozenset({State.FAILED, State.CANCELLED})  # its input goes to `failed`


class Label(StrEnum):
    """What an attempt at a step came to. The transition table knows what follows."""

    OK = "ok"
    PENDING = "pending"  # nothing is wrong, ask again later
    DUPLICATE = "duplicate"  # an earlier case has the result already
    AMBIGUOUS = "ambiguous"  # an earlier case may have been paid for: a person decides
    RETURNED = "returned"  # not ready after all: back to the inbox, the case is forgotten
    CHANGED = "changed"  # a claimed file is not what it was
    EXPIRED = "expired"  # a pre-signed URL is no longer good
    EXHAUSTED = "exhausted"  # retried as long or as often as allowed
    SALVAGED = "salvaged"  # … but some results were fetched
    NOT_SENT = "not_sent"  # a paid call that certainly had no effect
    GONE = "gone"  # the claim folder is not there
    LOST = "lost"  # the staged results are not there and were never published
    INPUT = "input"
    TRANSIENT = "transient"
    ENVIRONMENT = "environment"
    ENGINE = "engine"
    UNKNOWN = "unknown"
    REFUSED = "refused"  # a poll answered 400, 404 or 410: bear it for ten minutes
    REFUSED_AT_ONCE = "refused_at_once"  # … or 403 for this job alone
    OVERDUE = "overdue"  # still processing after the limit
    INTERRUPTED = "interrupted"  # found unfinished at start
    POISONED = "poisoned"  # … and the process died in it, with nothing else under way, too often
    STOPPED = "stopped"
    CANCEL = "cancel"  # a person's words …
    RETRY_STEP = "retry_step"
    RETRY_UNPAID = "retry_unpaid"
    RETRY_SAME_JOB = "retry_same_job"
    RETRY_NEW_JOB = "retry_new_job"


class FailureClass(StrEnum):
    """The failure classes of the contract."""

    INPUT = "input"
    TRANSIENT = "transient"
    ENVIRONMENT = "environment"
    ENGINE = "engine"
    UNKNOWN = "unknown"
    CANCELLED = "cancelled"


class Modality(StrEnum):
    """The Engine's names for what an input shows."""

    CBCT = "cbct"
    IOS_UPPER = "ios_upper"
    IOS_LOWER = "ios_lower"
    FACIAL = "facial"


class Proof(StrEnum):
    """What a file's own format says about whether all of it is there."""

    COMPLETE = "complete"
    INCOMPLETE = "incomplete"  # proven short, empty, or its first 512 bytes all zero
    WRONG = "wrong"  # non-zero content with another signature than its name says
    CANNOT_TELL = "cannot_tell"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A proof with its reason in words (no file name in it, except names of archive members)."""

    proof: Proof
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a case failed, is held, or is tried again. Holds no file name and no URL with a query."""

    failure_class: FailureClass
    code: str
    message: str
    hint: str = ""


class Kind(StrEnum):
    """What a directory entry is; `other` is a link, socket, FIFO or device."""

    FILE = "file"
    FOLDER = "folder"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class FileMark:
    """What tells that a file was not touched: size in bytes, times in ns since 1970, inode."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    def comparable(self, *, trusts_inodes: bool) -> FileMark:
        """Return what of the mark counts in a comparison: shares may number anew at any look."""
        return self if trusts_inodes else replace(self, inode=0)


class Notified(StrEnum):
    """How far the notification of one input has come."""

    NO = "no"
    BEGUN = "begun"  # sent or about to be: from here on the job may cost money
    DONE = "done"
    REFUSED = "refused"  # answered by a 4xx, which is no verdict: counts as notified


@dataclass(frozen=True, slots=True)
class Slice:
    """One file of a series. `name` is relative to the content folder of the case that holds it.

    `owner` is that case's id, "" for the case itself: a retry of late slices sends the union.
    """

    name: str
    mark: FileMark
    sop_instance_uid: str
    sha256: str | None = None
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Input:
    """What is uploaded in one piece: a file, or a series of slices as one ZIP.

    `name` is relative to the case's content folder; a series has no file of that name, the marks
    are those of its slices, and `mark.size` is the size of the ZIP in bytes.
    """

    modality: Modality
    name: str
    extension: str
    mark: FileMark
    sha256: str | None = None
    download_url: str | None = None
    upload_url: str | None = None
    notify_url: str | None = None
    uploaded: bool = False
    notified: Notified = Notified.NO
    series_uid: str = ""
    slices: tuple[Slice, ...] = ()

    @property
    def files(self) -> tuple[tuple[str, FileMark], ...]:
        """Return the case's own files of this input, each with its mark."""
        if not self.slices:
            return ((self.name, self.mark),)
        return tuple((one.name, one.mark) for one in self.slices if not one.owner)


@dataclass(frozen=True, slots=True)
class Output:
    """One result file that the Engine named. Sizes in bytes; `file` once it is staged."""

    position: int
    kind: str
    structures: tuple[str, ...]
    extension: str
    status: str
    announced_size: int | None = None
    url: str | None = None
    file: str | None = None
    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Move:
    """One rename of a claim: from an absolute path to a path relative to the claims folder."""

    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Tally:
    """What a case has used up of its patience. Times in seconds of running daemon."""

    failures: int = 0  # in a row, in this step
    retry_spent_s: float = 0.0  # on transient trouble, in this step
    refused_s: float = 0.0  # polls answered by 400, 404 or 410 in a row
    processing_s: float = 0.0  # answered 202
    new_jobs: int = 0  # because an upload URL had expired
    fresh_polls: int = 0  # because a download URL had expired
    deaths: int = 0  # of the process in this step, while no other was under way


@dataclass(frozen=True, slots=True)
class Case:
    """A case as its row and the rows below it say. Times are ISO 8601 in UTC."""

    case_id: str
    case_name: str
    recipe: str
    state: State
    folder: str  # its name in outbox, archive and failed
    content: str  # the dropped folder's name, "" for single files
    sight: str  # digest of the last look at all its files before the claim
    job: dict[str, Any]
    engine_version: str
    inputs: tuple[Input, ...]
    moves: tuple[Move, ...]
    outputs: tuple[Output, ...] = ()
    verdict: State | None = None
    job_id: str | None = None
    paid: bool = False  # a notification or paid submit of the current job has begun
    is_counted: bool = False  # its first submit was counted by the budgets
    generation: int = 1  # jobs that a person's word allowed
    retries: int = 0  # a person's
    is_rerun: bool = False  # a person wants it although it is a duplicate
    is_settling: bool = False  # its files changed after the claim: wait until they are quiet
    publishing: bool = False  # the rename into the outbox was about to happen
    # candidates for job.json, relative to the claim folder; last, what it says where that is kept
    job_json: tuple[str, ...] = ()
    skipped: tuple[dict[str, str], ...] = ()
    engine_result: dict[str, Any] | None = None
    result_status: str = "complete"
    duplicate_of: str | None = None
    outbox: str | None = None
    doom: Problem | None = None  # known before the claim: it is claimed only to fail
    hold: Problem | None = None  # known before the claim: it is claimed to wait for a person …
    hold_retries: int = 0  # … until that person has asked for more retries than these
    split_of: str = ""  # the case whose claim holds the folder that this one is a part of
    late_for: str = ""  # the case whose series these slices came too late for
    due_step: State | None = None  # of a poisoned case: where a person's retry goes on …
    due_problem: Problem | None = None  # … and what was known of it before
    problem: Problem | None = None
    tally: Tally = field(default_factory=Tally)
    times: dict[str, str | None] = field(default_factory=dict)

    @property
    def attempts(self) -> int:
        """Count what a person sees as attempts: 1 and each retry."""
        return 1 + self.retries

    @property
    def trusts_inodes(self) -> bool:
        """Tell whether inode numbers count: the file system of its inbox keeps them."""
        return self.sight.startswith("i:")

    @property
    def unsent_bytes(self) -> int:
        """Return how much is still to be uploaded, in bytes."""
        unsent = (one for one in self.inputs if not one.uploaded and not one.download_url)
        return sum(one.mark.size for one in unsent)

    @property
    def is_held_back(self) -> bool:
        """Tell whether it waits for a person's word before anything is sent."""
        return self.hold is not None and self.retries <= self.hold_retries

    @property
    def pays_at_submit(self) -> bool:
        """Tell whether the Engine starts at the submit: every input has a download URL."""
        return bool(self.inputs) and all(entry.download_url for entry in self.inputs)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an attempt reports. It never says which state comes next.

    `waited_s` is how long the attempt was put off by the one before, in running daemon and with no
    breaker open; `is_lone`: nothing else was under way when the process died in it. `is_forgiven`:
    an outage for all has just ended, to which the trouble until now may well belong. `waits_for` is
    the case that has to move on first.
    """

    label: Label
    problem: Problem | None = None
    breaker: str | None = None
    retry_after_s: float | None = None
    duration_s: float = 0.0
    bytes: int | None = None
    waited_s: float = 0.0
    is_lone: bool = False
    is_forgiven: bool = False
    waits_for: str = ""


OK = Outcome(Label.OK)
