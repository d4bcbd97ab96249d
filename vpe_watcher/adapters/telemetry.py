"""The log: one JSON object a line on stderr, and nothing in it that must not leave the house.

Only fields of a fixed list pass, so that a new call cannot leak by accident; of texts, tokens and
all of a URL behind its host are cut out. File names and case names (patients!) pass only when the
configuration says so; exceptions pass as type and place in the code, never as text.
"""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO, cast

import structlog

from vpe_watcher.core.printable import printable

FIELDS = frozenset(
    {"event", "timestamp", "level", "case_id", "recipe", "job_id", "step", "attempt", "outcome"}
    | {"duration_s", "bytes", "reason", "code", "hint", "breaker", "count", "root", "watch"}
    | {"version", "pid", "state", "signal", "word", "error", "starts", "since", "period_s"}
    | {"listen", "peer", "refused", "keys"}
)
NAMES = frozenset({"name", "path"})
WARNINGS = frozenset(
    {
        "breaker.opened",
        "case.held",
        "case.failed",
        "daemon.died",
        "step.interrupted",
        "library.warning",
        "prune.waiting",
        "prune.withdrawn",
        "receive.left",
        "receive.waiting",
        "state.unread",
        "config.refused",
        "word.refused",
    }
    | {"association.rejected", "instance.refused"}
    | {"notice.waiting", "notice.refused", "notice.dropped"}
)
ERRORS = frozenset(
    {"step.defect", "thread.defect", "receive.defect", "state.damaged", "daemon.stuck"}
)

LINES_KEPT = 1000

JOURNAL = "/run/systemd/journal/socket"
PRIORITIES = {"error": "3", "warning": "4", "info": "6", "debug": "7"}  # syslog(3)

_URL = re.compile(r"([a-z][a-z0-9+.-]*://)(?:[^\s/@\"']*@)?([^\s/?#\"']+)[^\s\"']*", re.IGNORECASE)
_QUERY = re.compile(r"/[^\s?\"']*\?[^\s\"']*=[^\s\"']*")  # a URL that lost its host on the way
_TOKEN = re.compile(
    r"(?i)(bearer|token|secret|signature|password)([\"']?[\s=:]+[\"']?)[A-Za-z0-9._~+/=-]{16,}"
)
_JWT = re.compile(r"\beyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_.-]+")

Event = MutableMapping[str, Any]


def configure(
    *,
    form: str,
    level: str,
    names: bool,
    stream: TextIO | None = None,
    journal_stream: str = "",
    journal: str = JOURNAL,
) -> EventLog:
    """Return what logs an event: `log("case.claimed", case_id=…)`.

    `form` is `json`, `console` or `auto` (console on a terminal, with fields of its own where
    `journal_stream` of systemd.exec(5) says that the stream is the journal); `level` a level's
    name. A log that cannot be written, as on a full disk, stops nobody: its last lines wait in
    memory.
    """
    stream = stream or sys.stderr
    log = EventLog(stream, journal if _is_journal(stream, journal_stream) else "")
    log.use(form=form, level=level, names=names)
    return log


class EventLog:
    """Logs events, in a manner that may change while it is in use; `use` comes first.

    `journal` is the address of the journal where the stream leads to it.
    """

    def __init__(self, stream: TextIO, journal: str) -> None:
        self._stream = stream
        self._patient = _Patient(stream)
        self._journal = journal
        self._logger: Any = None

    def __call__(self, event: str, /, **fields: object) -> None:
        """Log one event at the level of its name."""
        word = level_of(event)
        getattr(self._logger, word)(event, level=word, **fields)

    def use(self, *, form: str, level: str, names: bool) -> None:
        """Log in this manner from the next event on."""
        is_console = form == "console" or (form == "auto" and self._stream.isatty())
        renderer = _console(self._stream) if is_console else structlog.processors.JSONRenderer()
        if form == "auto" and self._journal:
            renderer = _Journal(self._journal)
        self._logger = structlog.wrap_logger(
            structlog.WriteLogger(cast("TextIO", self._patient)),
            processors=[
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                redactor(names=names),
                *((_shown,) if is_console else ()),  # JSON has escapes of its own
                renderer,
            ],
            wrapper_class=structlog.make_filtering_bound_logger(level),
            cache_logger_on_first_use=False,
        )


class _Patient:
    """A stream that never fails: lines that it cannot write now are written before the next."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._waiting: deque[bytes] = deque(maxlen=LINES_KEPT)
        try:
            self._descriptor: int | None = stream.fileno()
        except OSError:  # not a file: memory
            self._descriptor = None

    def write(self, text: str) -> None:
        """Take a line."""
        self._waiting.append(text.encode("utf-8", "backslashreplace"))

    def flush(self) -> None:
        """Write what waits, past the buffer of the stream: it would keep what failed, too."""
        with suppress(OSError):
            while self._waiting:
                written = self._written(self._waiting[0])
                rest = self._waiting.popleft()[written:]
                if rest:
                    self._waiting.appendleft(rest)

    def _written(self, line: bytes) -> int:
        if self._descriptor is not None:
            return os.write(self._descriptor, line)
        self._stream.write(line.decode())
        return len(line)


class _Journal:
    """Hands a line to the journal with its fields, so that `journalctl VPE_CASE_ID=…` finds it.

    The message is the line that would be on the stream, where it goes if the journal takes no
    datagram. Source: systemd's JOURNAL_NATIVE_PROTOCOL.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._render = structlog.processors.JSONRenderer()

    def __call__(self, logger: Any, method: str, event: Event) -> str:
        """Render a line; raise DropEvent when the journal has it."""
        fields = {f"VPE_{key.upper()}": _as_text(value) for key, value in event.items()}
        line = str(self._render(logger, method, event))
        fields |= {
            "MESSAGE": line,
            "PRIORITY": PRIORITIES.get(fields["VPE_LEVEL"], "6"),
            "SYSLOG_IDENTIFIER": "vpe-watcher",
        }
        datagram = b"".join(_journal_field(key, value) for key, value in fields.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.sendto(datagram, self._address)
        except OSError:
            return line
        raise structlog.DropEvent


def _is_journal(stream: TextIO, journal_stream: str) -> bool:
    """Tell whether a stream is the one that systemd has connected with the journal."""
    try:
        status = os.fstat(stream.fileno())
    except OSError:
        return False
    return journal_stream == f"{status.st_dev}:{status.st_ino}"


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _journal_field(key: str, value: str) -> bytes:
    """Write a field with its length in front, as one may that holds line ends."""
    content = value.encode("utf-8", "backslashreplace")
    return key.encode() + b"\n" + len(content).to_bytes(8, "little") + content + b"\n"


class _LibraryHandler(logging.Handler):
    """Says that a library had something to say, and where: its texts may hold URLs and names."""

    def __init__(self, log: Callable[..., None]) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Log the place of a record, never its text; trouble with file events is none."""
        if record.name.startswith("watchdog"):
            return
        place = f"{record.name} {record.funcName}:{record.lineno}"
        self._log("library.warning", code=record.levelname.lower(), reason=place)


@contextmanager
def foreign_words_taken_over(log: Callable[..., None]) -> Iterator[None]:
    """Let nobody else write to stderr: libraries, warnings and dying threads become events.

    Their texts may hold paths and URLs, and are no JSON. Process-wide until the block ends.
    """
    handler, before = _LibraryHandler(log), threading.excepthook

    def thread_died(arguments: threading.ExceptHookArgs) -> None:
        log("thread.defect", error=arguments.exc_value)

    logging.getLogger().addHandler(handler)
    logging.captureWarnings(capture=True)
    threading.excepthook = thread_died
    try:
        yield
    finally:
        threading.excepthook = before
        logging.captureWarnings(capture=False)
        logging.getLogger().removeHandler(handler)


def level_of(event: str) -> str:
    """Return the level that an event has by its name."""
    if event in ERRORS:
        return "error"
    return "warning" if event in WARNINGS else "info"


def _console(stream: TextIO) -> Any:
    return structlog.dev.ConsoleRenderer(colors=stream.isatty())


def _shown(_logger: Any, _method: str, event: Event) -> Event:
    """Let no text of a line for people command their terminal."""
    return {key: _printable(value) for key, value in event.items()}


def _printable(value: object) -> object:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, Mapping):
        return {printable(str(key)): _printable(below) for key, below in value.items()}
    if isinstance(value, list):
        return [_printable(below) for below in value]
    return value


def redactor(*, names: bool) -> Callable[[Any, str, Event], Event]:
    """Return the processor that lets only harmless fields and texts pass."""
    allowed = FIELDS | NAMES if names else FIELDS

    def redact(_logger: Any, _method: str, event: Event) -> Event:
        return {
            key: _harmless(value)
            for key, value in event.items()
            if key in allowed and value is not None
        }

    return redact


def _harmless(value: object) -> object:
    if isinstance(value, BaseException):
        return described(value)
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): _harmless(below) for key, below in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_harmless(below) for below in value]
    return cleaned(str(value))


def cleaned(text: str) -> str:
    """Cut tokens and all of a URL behind its host out of a text."""
    text = _URL.sub(r"\1\2/…", text)
    text = _QUERY.sub("/…", text)
    text = _JWT.sub("…", text)
    return _TOKEN.sub(r"\1\2…", text)


def described(error: BaseException) -> list[str]:
    """Describe an exception by its types and places in the code: its text may hold names."""
    lines = []
    seen: BaseException | None = error
    while seen is not None:
        lines.append(type(seen).__name__)
        lines += [
            f"{Path(frame.filename).name}:{frame.lineno} {frame.name}"
            for frame in traceback.extract_tb(seen.__traceback__)
        ]
        seen = seen.__cause__ or seen.__context__
    return lines
