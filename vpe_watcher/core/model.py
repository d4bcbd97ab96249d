"""The words of the glossary as values. Frozen, without behaviour beyond what is derived."""

from __future__ import annotations

from dataclasses import dataclass, field
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
    STOPPED = "stopped"
    CANCEL = "cancel"  # a person's words …
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


@dataclass(frozen=True, slots=True)
class FileMark:
    """What tells that a file was not touched: size in bytes, times in ns since 1970, inode."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
