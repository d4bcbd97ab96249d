"""How one value of the configuration is read: numbers, sizes, paths, lists, addresses.

Owns the rules for single values and their sentences. Never repeats a value in a sentence (it may be
a secret in the wrong place) and never looks at two keys at once.
"""

from __future__ import annotations

import ipaddress
import json
import re
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import SplitResult, urlsplit

from pydantic import BeforeValidator, SecretStr

from vpe_watcher.core.model import Modality
from vpe_watcher.core.priorities import DAY_MINUTES, PRIORITIES, DayHours, Priority

_SIZE = re.compile(r"(\d{1,18}(?:\.\d{1,18})?) *(B|KiB|MiB|GiB)?", re.IGNORECASE | re.ASCII)
_UNITS = {"": 1, "b": 1, "kib": 1024, "mib": 1024**2, "gib": 1024**3}
_FLAGS = {"true": True, "1": True, "yes": True, "on": True} | dict.fromkeys(
    ("false", "0", "no", "off"), False
)
_CENTURY_DAYS = 36_525
_AT_MOST = 1_000_000_000
_LEAST_RATE = 1024
_HOURS = re.compile(r"(\d{1,2}):(\d{2}) *- *(\d{1,2}):(\d{2})", re.ASCII)
_SPAN_HINT = 'write begin and end, as in "20:00-06:00"'
_MOST_THREADS = 256  # of one kind: more would help no line, and many machines have no more


class Text(str):
    """A word from the environment or the command line: its key says whether it is a number."""

    __slots__ = ()


class WrongValueError(ValueError):
    """A value that its key cannot have: the reason, a hint, and the key below, if it is deeper."""

    def __init__(self, reason: str, *, hint: str = "", below: tuple[str, ...] = ()) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint
        self.below = below


def kind_of(value: object) -> str:
    """Name the type of a value as TOML people call it."""
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a string"
    if isinstance(value, list | tuple):
        return "a list"
    return "a table" if isinstance(value, dict) else "a date or time"


def flag(value: object) -> bool:
    """Read true or false."""
    if isinstance(value, bool):
        return value
    if isinstance(value, Text) and value.lower() in _FLAGS:
        return _FLAGS[value.lower()]
    raise WrongValueError(f"must be true or false, not {kind_of(value)}")


def duration(value: object, *, at_most: float) -> float:
    """Read a number of seconds, hours or days: 0 or more, fractions allowed."""
    number = _number_in(value) if isinstance(value, Text) else value
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise WrongValueError(
            f"must be a number, not {kind_of(value)}", hint="write it without quotes, as in 2.5"
        )
    if not number >= 0:
        raise WrongValueError("must be a number of 0 or more")
    if number > at_most:
        raise WrongValueError("is longer than a hundred years")
    return float(number)


def count(value: object, *, at_least: int = 0) -> int:
    """Read a whole number."""
    number = _number_in(value) if isinstance(value, Text) else value
    if isinstance(number, bool) or not isinstance(number, int):
        what = "a fraction" if isinstance(number, float) else kind_of(value)
        raise WrongValueError(f"must be a whole number, not {what}")
    if number < at_least:
        raise WrongValueError(f"must be a whole number of {at_least} or more")
    if number > _AT_MOST:
        raise WrongValueError(f"must be a whole number of {_AT_MOST} or less")
    return number


def size_bytes(value: object) -> int:
    """Read a size: bytes, or a text such as "2 GiB", "500 MiB", "64 KiB" (1 KiB = 1024 bytes)."""
    hint = 'write bytes, or a text such as "2 GiB", "500 MiB" or "64 KiB"'
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if not isinstance(value, str):
        raise WrongValueError("must be a size of 0 bytes or more", hint=hint)
    match = _SIZE.fullmatch(value.strip())
    if match is None:
        raise WrongValueError("is not a size that can be read", hint=hint)
    number, unit = match.groups(default="")
    return int(Fraction(number) * _UNITS[unit.lower()])


def size_or_none(value: object) -> int | None:
    """Read a size; "" means never."""
    return None if value is None or value == "" else size_bytes(value)


def rate_bytes_s(value: object) -> int:
    """Read a size that may go each second; "" and 0 mean without a limit."""
    rate = 0 if value == "" else size_bytes(value)
    if 0 < rate < _LEAST_RATE:
        raise WrongValueError(
            "is less than 1 KiB a second", hint='write a size with its unit, as in "10 MiB"'
        )
    return rate


def day_hours(value: object) -> DayHours | None:
    """Read a span of the day, such as "20:00-06:00"; "" means none.

    One that is empty is refused: nothing would ever be done or kept quiet in it, and whoever wrote
    it may have meant all day.
    """
    if value is None or isinstance(value, DayHours):
        return value
    words = text(value).strip()
    if not words:
        return None
    match = _HOURS.fullmatch(words)
    if match is None:
        raise WrongValueError("is not a span of the day that can be read", hint=_SPAN_HINT)
    start, end = (int(match[one]) * 60 + int(match[one + 1]) for one in (1, 3))
    if max(start, end) > DAY_MINUTES or int(match[2]) > 59 or int(match[4]) > 59:
        raise WrongValueError("is not a span of the day that can be read", hint=_SPAN_HINT)
    hours = DayHours(start % DAY_MINUTES, end % DAY_MINUTES if start == end else end)
    if hours.start == hours.end:
        raise WrongValueError("must not end when it begins", hint=_SPAN_HINT)
    return hours


def priority(value: object) -> Priority:
    """Read how soon a recipe's cases come."""
    if isinstance(value, Priority):
        return value
    found = PRIORITIES.get(value) if isinstance(value, str) else None
    if found is None:
        raise WrongValueError("must be " + ", ".join(f'"{name}"' for name in PRIORITIES))
    return found


def text(value: object) -> str:
    """Read a string that may be empty."""
    if not isinstance(value, str):
        raise WrongValueError(f"must be a string, not {kind_of(value)}", hint="put it in quotes")
    return str(value)


def secret(value: object) -> SecretStr:
    """Read a secret, which no log and no repr shows."""
    return value if isinstance(value, SecretStr) else SecretStr(text(value))


def path(value: object) -> Path:
    """Read a path, made absolute by the source that it came from."""
    found = path_or_none(value)
    if found is None:
        raise WrongValueError("must be a path and is empty")
    return found


def path_or_none(value: object) -> Path | None:
    """Read a path; "" means not given."""
    if value is None or isinstance(value, Path):
        return value
    words = text(value)
    if "\0" in words:
        raise WrongValueError("must be a path and holds a null character")
    return Path(words) if words else None


def words(value: object) -> tuple[str, ...]:
    """Read a list of strings, none of them empty."""
    found = _json_in(value) if isinstance(value, Text) else value
    if not isinstance(found, list | tuple):
        raise WrongValueError(
            f"must be a list of strings, not {kind_of(found)}", hint='write ["one", "two"]'
        )
    if not all(isinstance(item, str) and item for item in found):
        raise WrongValueError("must be a list of strings, none of them empty")
    return tuple(found)


def marker_suffix(value: object) -> str:
    """Read a ready marker: a suffix such as ".done", true for that one, false or "" for none."""
    if isinstance(value, bool) or (isinstance(value, Text) and value.lower() in _FLAGS):
        return ".done" if flag(value) else ""
    suffix = text(value)
    if suffix and (not suffix.startswith(".") or len(suffix) == 1 or "/" in suffix):
        raise WrongValueError('must be a suffix that starts with a dot, such as ".done"')
    return suffix


def address(value: object) -> str:
    """Read an https:// address (http:// for loopback only); a slash at its end goes."""
    words = text(value).rstrip("/")
    if not words:
        return ""
    parts = _split(words)
    if parts.username is not None or parts.password is not None:
        raise WrongValueError("must not hold a user name or password")
    if parts.query or parts.fragment:
        raise WrongValueError("must be an address without ? and #")
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise WrongValueError(
            f"http:// to {parts.hostname}, which is not this machine: scans would travel in clear",
            hint="use https; plain http is for 127.0.0.1, ::1 and localhost only",
        )
    return words


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address means this machine, without asking a name server."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def region_name(name: str) -> str:
    """Check the region of an Engine address."""
    if name and not re.fullmatch(r"[A-Za-z0-9-]+", name):
        raise WrongValueError('must be a short name such as "eu"', hint="or set engine.base_url")
    return name


def api_version(version: str) -> str:
    """Check the Engine's version, which becomes a part of each address."""
    if not re.fullmatch(r"[A-Za-z0-9._-]+", version) or version.strip(".") == "":
        raise WrongValueError('must be a version such as "24.06"')
    return version


def modalities(names: tuple[str, ...]) -> tuple[str, ...]:
    """Check that each name is one of the Engine's modalities."""
    known = tuple(Modality)
    if not all(name in known for name in names):
        raise WrongValueError("must be a list of " + ", ".join(f'"{name}"' for name in known))
    return names


def unreserved_keys(names: tuple[str, ...]) -> tuple[str, ...]:
    """Check that a job.json may not be allowed to set what is the daemon's own."""
    if "inputFiles" in names:
        raise WrongValueError("must not list inputFiles, which is the daemon's own")
    return names


def job_body(value: object) -> dict[str, Any]:
    """Read an Engine job body: any JSON, except that `inputFiles` is the daemon's own."""
    if not isinstance(value, dict):
        raise WrongValueError(f"must be a table, not {kind_of(value)}")
    if "inputFiles" in value:
        raise WrongValueError(
            "is the daemon's own and must not be set",
            hint="remove it: the files of a case become its inputFiles",
            below=("inputFiles",),
        )
    if not isinstance(value.get("outputFiles", {}), dict):
        raise WrongValueError("must be a table", below=("outputFiles",))
    try:
        return dict(json.loads(json.dumps(value, allow_nan=False)))
    except (TypeError, ValueError) as error:
        raise WrongValueError(
            "holds a value that JSON cannot express (a date, a time, inf or nan)",
            hint="put it in quotes",
        ) from error


def _split(words: str) -> SplitResult:
    try:
        parts = urlsplit(words)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError as error:
        raise WrongValueError("is not an address that can be read") from error
    if not usable or re.search(r"\s", words):
        raise WrongValueError("must be an https:// address")
    return parts


def _number_in(words: str) -> object:
    for read in (int, float):
        try:
            return read(words)
        except ValueError:
            continue
    return words


def _json_in(words: str) -> object:
    try:
        return json.loads(words)
    except ValueError:
        return words


def _seconds(value: object) -> float:
    return duration(value, at_most=_CENTURY_DAYS * 86_400)


def _hours(value: object) -> float:
    return duration(value, at_most=_CENTURY_DAYS * 24)


def _days(value: object) -> float:
    return duration(value, at_most=_CENTURY_DAYS)


def _count_or_none(value: object) -> int | None:
    return None if value is None else count(value)


def _positive(value: object) -> int:
    return count(value, at_least=1)


def _threads(value: object) -> int:
    number = _positive(value)
    if number > _MOST_THREADS:
        raise WrongValueError(
            f"must be a whole number of {_MOST_THREADS} or less",
            hint="each takes a thread; a few fill most lines",
        )
    return number


Flag = Annotated[bool, BeforeValidator(flag)]
Seconds = Annotated[float, BeforeValidator(_seconds)]
Hours = Annotated[float, BeforeValidator(_hours)]
Days = Annotated[float, BeforeValidator(_days)]
Count = Annotated[int, BeforeValidator(count)]
ThreadCount = Annotated[int, BeforeValidator(_threads)]
PositiveCount = Annotated[int, BeforeValidator(_positive)]
OptionalCount = Annotated[int | None, BeforeValidator(_count_or_none)]
Size = Annotated[int, BeforeValidator(size_bytes)]
RateValue = Annotated[int, BeforeValidator(rate_bytes_s)]
OptionalHours = Annotated[DayHours | None, BeforeValidator(day_hours)]
PriorityValue = Annotated[Priority, BeforeValidator(priority)]
OptionalSize = Annotated[int | None, BeforeValidator(size_or_none)]
String = Annotated[str, BeforeValidator(text)]
Secret = Annotated[SecretStr, BeforeValidator(secret)]
PathValue = Annotated[Path, BeforeValidator(path)]
OptionalPath = Annotated[Path | None, BeforeValidator(path_or_none)]
Words = Annotated[tuple[str, ...], BeforeValidator(words)]
MarkerSuffix = Annotated[str, BeforeValidator(marker_suffix)]
Address = Annotated[str, BeforeValidator(address)]
JobBody = Annotated[dict[str, Any], BeforeValidator(job_body)]
