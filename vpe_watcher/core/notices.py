"""What people are told of, in which words, and when not: notices as values.

A notice holds no name of a patient and none of a file unless the configuration asks for them. It is
told to each target once and in order; `notice_id` stays the same however often it is sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from vpe_watcher.core.model import Case, Problem, State
from vpe_watcher.core.printable import printable, unquoted

SCHEMA = "vpe-watcher/notice/1"
QUEUE_AT_MOST = 200  # which nobody was told yet; more are only counted
KEPT_AT_MOST = 1000  # in all, for a target that is out of order
UNSAID = "(the text is left out, for it may hold a name)"
_SHORT = 4  # a name of fewer letters is looked for as a whole word
_WORD = re.compile(r"[^\W_]+")
_NUMBER = re.compile(r"\d{1,4}$")  # of a slice, as a rule: shorter than what names a patient
# Parts of file names that stand in our own sentences: they tell nothing of anybody.
_EVERYBODYS = frozenset(
    {"case", "scan", "series", "slice", "slices", "volume", "mesh", "folder", "file", "the", "job"}
    | {"dicom", "dcm", "nii", "nrrd", "vti", "stl", "ply", "obj", "zip", "json", "cbct", "ios"}
    | {"upper", "lower", "maxilla", "mandible", "jaw", "face", "facial", "new", "all"}
)


class Topic(StrEnum):
    """What may be told, as `notify.on` lists it."""

    FAILED = "failed"
    HELD = "held"
    BREAKER = "breaker"
    DISK = "disk"
    DIGEST = "digest"


TOPICS = tuple(Topic)
# Out of order, they stop all intake, and may end in a loss if nobody comes: told at any hour.
URGENT_BREAKERS = frozenset({"disk", "state"})


@dataclass(frozen=True, slots=True)
class Policy:
    """What is put down for whom. Without a target nothing is."""

    topics: frozenset[Topic] = frozenset()
    targets: tuple[str, ...] = ()
    names: bool = False

    def wants(self, topic: Topic) -> bool:
        """Tell whether anybody is to be told of this."""
        return topic in self.topics and bool(self.targets)


@dataclass(frozen=True, slots=True)
class Draft:
    """A notice that is to be put down. A younger one of a `key` replaces one not yet told."""

    key: str
    kind: str
    topic: Topic
    facts: Mapping[str, Any] = field(default_factory=dict)
    is_urgent: bool = False


@dataclass(frozen=True, slots=True)
class Notice:
    """A notice as it is sent. `count`: events that it stands for; `time` is ISO 8601 in UTC."""

    seq: int
    notice_id: str
    kind: str
    time: str
    facts: Mapping[str, Any]
    is_urgent: bool = False
    count: int = 1


class Answer(StrEnum):
    """What became of one sending."""

    TOLD = "told"
    REFUSED = "refused"  # for good
    TROUBLE = "trouble"  # try again


@dataclass(frozen=True, slots=True)
class Receipt:
    """How a target took a notice; `reason` holds no secret."""

    answer: Answer
    reason: str = ""
    retry_after_s: float | None = None


# --- what is put down -----------------------------------------------------------------------------


def of_case(case: Case, state: State, problem: Problem | None, *, names: bool) -> Draft:
    """Return the notice that a case is failed or held now."""
    topic = Topic.HELD if state is State.HELD else Topic.FAILED
    own = [case.case_name, case.content, *(entry.name for entry in case.inputs)]
    own += [one.name for entry in case.inputs for one in entry.slices]
    own += [move.source.rpartition("/")[2] for move in case.moves]
    facts: dict[str, Any] = {"case_id": case.case_id, "recipe": case.recipe}
    if problem is not None:
        facts |= {"class": str(problem.failure_class), "code": problem.code}
        facts |= {"message": problem.message, "hint": problem.hint}
        if not names:
            facts["message"] = nameless(problem.message, own)
            facts["hint"] = nameless(problem.hint, own)
    if names:
        facts["case_name"] = case.case_name
    return Draft(f"case:{case.case_id}", f"case.{state}", topic, facts)


def of_breaker(name: str, *, is_open: bool, reason: str = "", hint: str = "") -> Draft:
    """Return the notice that a resource is out of order, or works again."""
    topic = Topic.DISK if name in URGENT_BREAKERS else Topic.BREAKER
    facts = {"breaker": name}
    if is_open:
        facts |= {"message": nameless(reason, ()), "hint": hint}
    kind = f"breaker.{'opened' if is_open else 'closed'}"
    return Draft(f"breaker:{name}:{kind}", kind, topic, facts, name in URGENT_BREAKERS)


def nameless(text: str, names: Iterable[str]) -> str:
    """Return a sentence without what others said in it (in quotes), or not at all.

    Not at all, if anything of a name is in it that is not everybody's word.
    """
    kept = unquoted(text)
    spoken = kept.casefold()
    words = set(_WORD.findall(spoken))
    for part in {part for name in names for part in _WORD.findall(name.casefold())}:
        if part in _EVERYBODYS or len(part) < (2 if part.isascii() else 1) or _NUMBER.match(part):
            continue
        if part in words or (len(part) >= _SHORT and part in spoken):
            return UNSAID
    return kept


# --- the words ------------------------------------------------------------------------------------


def document(notice: Notice, *, host: str) -> dict[str, Any]:
    """Return a notice as programs get it."""
    title, text = words(notice, host=host)
    return {
        "schema": SCHEMA,
        "id": notice.notice_id,
        "event": notice.kind,
        "time": notice.time,
        "urgent": notice.is_urgent,
        "host": host,
        "count": notice.count,
        "details": dict(notice.facts),
        "title": title,
        "text": text,
    }


def words(notice: Notice, *, host: str) -> tuple[str, str]:
    """Return title and text as people get them."""
    facts = notice.facts
    lines = [f"What happened: {facts['message']}"] if facts.get("message") else []
    lines += [f"What to do: {facts['hint']}"] if facts.get("hint") else []
    lines += [f"Code: {facts['code']}"] if facts.get("code") else []
    lines += [f"Case name: {printable(facts['case_name'])}"] if facts.get("case_name") else []
    if "case_id" in facts:
        lines.append(f"More: vpe-watcher show {facts['case_id']}")
    lines += _digest_lines(facts) if notice.kind == "digest" else []
    lines += ["", f"At {notice.time}, notice {notice.notice_id}."]
    return f"vpe-watcher on {host}: {_title(notice)}", "\n".join(lines).strip()


def _title(notice: Notice) -> str:
    facts, kind = notice.facts, notice.kind
    state = kind.partition(".")[2]
    if kind == "test":
        return "a test notice"
    if notice.count > 1 or not facts:
        return f"{notice.count} more of {kind}, see `vpe-watcher status`"
    if kind.startswith("case."):
        what = "waits for a person" if state == "held" else state
        return f"case {facts['case_id']} of recipe {facts['recipe']} {what}"
    if kind == "breaker.opened":
        return f"{facts['breaker']} is out of order, and what needs it waits"
    if kind == "breaker.closed":
        return f"{facts['breaker']} works again"
    return "the last 24 hours"


def _digest_lines(facts: Mapping[str, Any]) -> list[str]:
    ended = ", ".join(f"{count} {state}" for state, count in facts["ended"].items()) or "none"
    now = ", ".join(f"{count} {state}" for state, count in facts["now"].items()) or "none"
    broken = ", ".join(facts["breakers"]) or "nothing"
    return [f"Cases that ended: {ended}", f"Cases there now: {now}", f"Out of order: {broken}"]


# --- when -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Episode:
    """A time of trouble with one resource, in monotonic seconds; short calms are part of it."""

    since: float
    closed_at: float | None = None
    is_told: bool = False


@dataclass(frozen=True, slots=True)
class News:
    """What of the breakers is to be told now, and the episodes that go on."""

    episodes: dict[str, Episode]
    opened: tuple[str, ...] = ()
    closed: tuple[str, ...] = ()


def judge(
    episodes: Mapping[str, Episode],
    open_now: frozenset[str],
    *,
    now: float,
    after_s: float,
    calm_s: float,
) -> News:
    """Tell a trouble once it lasts `after_s`, and its end once `calm_s` were good.

    So a breaker that flaps is told once. What is urgent is told at once.
    """
    left: dict[str, Episode] = {}
    opened, closed = [], []
    for name in sorted(open_now | episodes.keys()):
        before = episodes.get(name, Episode(now))
        if name in open_now:
            wait_s = 0.0 if name in URGENT_BREAKERS else after_s
            is_due = now - before.since >= wait_s
            if is_due and not before.is_told:
                opened.append(name)
            left[name] = Episode(before.since, None, before.is_told or is_due)
            continue
        closed_at = now if before.closed_at is None else before.closed_at
        if now - closed_at < calm_s:
            left[name] = Episode(before.since, closed_at, before.is_told)
        elif before.is_told:
            closed.append(name)
    return News(left, tuple(opened), tuple(closed))
