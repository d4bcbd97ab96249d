"""The fault script: which request goes wrong, and how.

A script is a list of rules, each a JSON object such as
`{"on": "poll", "nth": 2, "do": {"status": 500}}`. `on` names the call; `job` (the index in the
ledger), `modality` and `structure` narrow it; a rule counts the requests that fit it. `nth` picks
one of them, `times` so many (the first ones, or from the n-th on); without both it always fires.
Where several fire, the first in the list acts. `after_effect`: the call is carried out, then its
answer is replaced or lost. Never touches a socket or a job: it only says what is to happen.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vpe_watcher.sandbox.messages import Breakage, Response
from vpe_watcher.sandbox.options import ScriptError, names_of

CALLS = ("token", "submit", "upload", "notify", "poll", "download")
GARBAGE = b"<html><body>sandbox: this is not what you asked for</body></html>\n"


@dataclass(frozen=True, slots=True)
class Action:
    """What a rule does: the `do` of the script. Sizes in bytes, times in seconds.

    `status` (with `headers`, `body`), `garbage` (a 200 that is not JSON), `redirect` and `reset`
    replace the answer; without `after_effect` the call has no effect and its body is not read.
    With the others the call has its effect, and its answer is changed: `truncate` and
    `reset_after` let so much of the body out, `stall_s` waits before the answer or behind
    `stall_after` bytes of it, `expire` hands out (submit, poll, token) or finds (upload, download,
    notify) what has expired, `wrong_size` announces one byte more (poll) or gives one less
    (download), and `missing`, `failed`, `success` are what one poll says. Only an upload's
    `reset_after` counts the bytes of the request, of which nothing is kept.
    """

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    garbage: bool = False
    redirect: str = ""
    reset: bool = False
    reset_after: int | None = None
    truncate: int | None = None
    stall_s: float = 0.0
    stall_after: int | None = None
    expire: bool = False
    wrong_size: bool = False
    missing: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    success: bool = True

    @property
    def is_replacement(self) -> bool:
        """Tell whether the true answer is never seen."""
        return bool(self.status or self.garbage or self.redirect or self.reset)

    @property
    def breakage(self) -> Breakage:
        """Return what the face is to do to the answer."""
        return Breakage(
            stall_s=self.stall_s,
            stall_after=self.stall_after,
            cut_after=self.truncate,
            reset_after=self.reset_after,
            reset=self.reset,
        )


@dataclass(frozen=True, slots=True)
class Subject:
    """What a request is about, as far as a rule can ask."""

    call: str
    job: int | None = None
    modality: str | None = None
    structures: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of the script."""

    on: str
    do: Action
    job: int | None = None
    modality: str | None = None
    structure: str | None = None
    nth: int | None = None
    times: int | None = None
    after_effect: bool = False

    def fits(self, subject: Subject) -> bool:
        """Tell whether the rule counts this request."""
        return (
            self.on == subject.call
            and self.job in (None, subject.job)
            and self.modality in (None, subject.modality)
            and (self.structure is None or self.structure in subject.structures)
        )

    def fires(self, count: int) -> bool:
        """Tell whether the `count`-th fitting request (from 1) goes wrong."""
        first = self.nth or 1
        if self.times is not None:
            return first <= count < first + self.times
        return count == first if self.nth else True


class FaultScript:
    """The rules in force and how often each has fitted. Safe for threads."""

    def __init__(self, rules: Sequence[Rule] = ()) -> None:
        self._lock = threading.Lock()
        self._rules = list(rules)
        self._counts = [0] * len(self._rules)

    def replace(self, rules: Sequence[Rule]) -> None:
        """Put other rules in force; all counts start again."""
        with self._lock:
            self._rules = list(rules)
            self._counts = [0] * len(self._rules)

    def pick(self, subject: Subject) -> Rule | None:
        """Count the request in every rule that fits and return the first rule that fires."""
        chosen: Rule | None = None
        with self._lock:
            for index, rule in enumerate(self._rules):
                if not rule.fits(subject):
                    continue
                self._counts[index] += 1
                if chosen is None and rule.fires(self._counts[index]):
                    chosen = rule
        return chosen


def parse_script(script: object) -> list[Rule]:
    """Return the rules of a script (decoded JSON), or raise ScriptError."""
    if not isinstance(script, list):
        raise ScriptError("a fault script is a list of rules")
    return [_parse_rule(entry) for entry in script]


def replacement(action: Action) -> Response:
    """Return the answer of an action that replaces the true one."""
    if action.redirect:
        return Response(302, {"Location": action.redirect}, b"", action.breakage)
    if action.garbage:
        return Response(200, {"Content-Type": "text/html"}, GARBAGE, action.breakage)
    headers = {"Content-Type": "application/json", **action.headers}
    return Response(action.status or 500, headers, action.body.encode(), action.breakage)


def _parse_rule(entry: object) -> Rule:
    if not isinstance(entry, dict) or not isinstance(entry.get("do"), dict):
        raise ScriptError("a fault rule is an object with an object `do`")
    if entry.get("on") not in CALLS:
        raise ScriptError(f"a fault rule's `on` is one of {', '.join(CALLS)}")
    values = dict(entry, do=_parse_action(entry["do"]))
    _check_names(Rule, values)
    for name in ("job", "nth", "times"):
        _check_count(name, values.get(name))
    return Rule(**values)


def _parse_action(do: dict[str, Any]) -> Action:
    _check_names(Action, do)
    if not do:
        raise ScriptError("a fault rule's `do` says nothing")
    for name in ("reset_after", "truncate", "stall_after", "status"):
        _check_count(name, do.get(name))
    names: dict[str, Any] = {
        name: names_of(name, do[name]) for name in ("missing", "failed") if name in do
    }
    return Action(**{**do, **names})


def _check_names(kind: type[Rule | Action], values: Mapping[str, object]) -> None:
    unknown = sorted(set(values) - {known.name for known in dataclasses.fields(kind)})
    if unknown:
        raise ScriptError(f"unknown key in a fault rule: {', '.join(unknown)}")


def _check_count(name: str, value: object) -> None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
        return
    raise ScriptError(f"{name} must be a whole number, not {value!r}")
