"""Every error of the project, sorted by what the one who catches it must do.

Nothing foreign travels further than the adapter that met it: `requests`, `sqlite3`, `OSError` and
`pydantic` errors become one of these, with the original as `__cause__`. A message says what went
wrong, with which thing and why, and **never holds a file name, a patient's name, a token or a URL
with a query** (it goes into the log); a hint says what a person can do.
"""

from __future__ import annotations

from vpe_watcher.core.model import FailureClass, Label, Problem


class WatcherError(Exception):
    """Anything that this project raises on purpose.

    `code` is a stable word in snake_case for programs, `message` one sentence for people, `hint`
    what to do about it (may be empty).
    """

    exit_code = 1

    def __init__(self, message: str, *, code: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.hint = hint


class Refusal(WatcherError):
    """The command's own answer is "no": exit 1."""


class UsageError(WatcherError):
    """The command line itself is wrong: exit 2."""

    exit_code = 2


class TryAgainLater(WatcherError):
    """Somebody else is at it, or an open breaker left work: exit 75 (EX_TEMPFAIL)."""

    exit_code = 75


class ConfigError(WatcherError):
    """A person must change the configuration or the machine: exit 78 (EX_CONFIG)."""

    exit_code = 78


class StepFault(WatcherError):
    """A step could not do its work. The label tells the table what happened."""

    label: Label
    failure_class: FailureClass

    @property
    def problem(self) -> Problem:
        """Return this fault as the value that rows, error files and logs keep."""
        return Problem(self.failure_class, self.code, self.message, self.hint)


class InputFault(StepFault):
    """The scan itself is wrong, or the Engine says so: fail the case at once."""

    label = Label.INPUT
    failure_class = FailureClass.INPUT


class TransientFault(StepFault):
    """Trouble with this one case: the same step again, with backoff, for a limited time."""

    label = Label.TRANSIENT
    failure_class = FailureClass.TRANSIENT

    def __init__(
        self, message: str, *, code: str, hint: str = "", retry_after_s: float | None = None
    ) -> None:
        super().__init__(message, code=code, hint=hint)
        self.retry_after_s = retry_after_s


class HostFault(TransientFault):
    """Trouble on a pre-signed URL. It is the case's own, until three cases meet it on one host.

    `is_unanswered`: no complete answer came, so that it may as well be the network's.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        breaker: str,
        hint: str = "",
        retry_after_s: float | None = None,
        is_unanswered: bool = False,
    ) -> None:
        super().__init__(message, code=code, hint=hint, retry_after_s=retry_after_s)
        self.breaker = breaker
        self.is_unanswered = is_unanswered


class EnvironmentFault(StepFault):
    """A resource is out of order for everybody: open its breaker, blame no case.

    `breaker` is the contract's name (`engine`, `token`, `disk`, `outbox`, `inbox:default`, …).
    """

    label = Label.ENVIRONMENT
    failure_class = FailureClass.ENVIRONMENT

    def __init__(
        self,
        message: str,
        *,
        code: str,
        breaker: str,
        hint: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, code=code, hint=hint)
        self.breaker = breaker
        self.retry_after_s = retry_after_s


class AnswerLost(EnvironmentFault):
    """A request was sent and no complete answer came: whether it took effect is not known."""


class EngineFault(StepFault):
    """The Engine says that the job failed: nothing but a person's word sends it again."""

    label = Label.ENGINE
    failure_class = FailureClass.ENGINE


class UnknownOutcome(StepFault):
    """A call that may cost money was sent and its result cannot be known: hold the case."""

    label = Label.UNKNOWN
    failure_class = FailureClass.UNKNOWN


class LinkExpired(StepFault):
    """A pre-signed URL answered 400, 403, 404 or 410: get a new one."""

    label = Label.EXPIRED
    failure_class = FailureClass.TRANSIENT


class JobRefused(StepFault):
    """The Engine does not (or no longer) tell us about a job: 400, 403, 404 or 410 to a poll.

    `at_once` is true for a 403: no use in asking again.
    """

    label = Label.REFUSED
    failure_class = FailureClass.UNKNOWN

    def __init__(self, message: str, *, code: str, hint: str = "", at_once: bool = False) -> None:
        super().__init__(message, code=code, hint=hint)
        if at_once:
            self.label = Label.REFUSED_AT_ONCE


class NotificationRefused(StepFault):
    """A notification was answered by a 4xx other than 401 and 429: no verdict, the poll decides."""

    label = Label.TRANSIENT
    failure_class = FailureClass.TRANSIENT


class InputChanged(StepFault):
    """A claimed file is not what it was when it was claimed."""

    label = Label.CHANGED
    failure_class = FailureClass.INPUT


class ClaimGone(StepFault):
    """The claimed files are not where the state file says: a person must say what happened."""

    label = Label.GONE
    failure_class = FailureClass.UNKNOWN


class Stopped(StepFault):
    """The daemon is stopping, or a person cancelled: leave the step as it is, count nothing."""

    label = Label.STOPPED
    failure_class = FailureClass.CANCELLED
