"""How the values of `[notify]` are read: topics, times of day, and addresses, which are secrets."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from pydantic import SecretStr

from vpe_watcher.adapters.settings.values import WrongValueError, is_loopback, text, words
from vpe_watcher.core.errors import ConfigError
from vpe_watcher.core.notices import TOPICS

_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")
_URLS_AT_MOST = 10  # each has a thread of its own


def topics(found: tuple[str, ...]) -> tuple[str, ...]:
    """Check that each word is something that can be told."""
    if not all(word in TOPICS for word in found):
        raise WrongValueError("must be a list of " + ", ".join(f'"{word}"' for word in TOPICS))
    return found


def minute_of(clock: str) -> int | None:
    """Return the minute of the day of a text such as "07:30", or None."""
    match = _CLOCK.fullmatch(clock)
    return int(match[1]) * 60 + int(match[2]) if match else None


def time_of_day(found: str) -> str:
    """Check a time of day."""
    if found and minute_of(found) is None:
        raise WrongValueError('must be a time such as "07:30", or "" for never')
    return found


def webhook_address(value: object) -> SecretStr:
    """Read an https:// address (http:// for loopback only) that may hold a token."""
    address = value.get_secret_value() if isinstance(value, SecretStr) else text(value)
    if not address:
        return SecretStr("")
    try:
        parts = urlsplit(address)
        host, _port = parts.hostname or "", parts.port
    except ValueError as error:
        raise WrongValueError("is not an address that can be read") from error
    if parts.scheme not in {"http", "https"} or not host:
        raise WrongValueError("must be an https:// address")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise WrongValueError("must be an address without a user, a password and #")
    if parts.scheme == "http" and not is_loopback(host):
        raise WrongValueError(
            "is http:// to another machine: notices would travel in clear",
            hint="use https; plain http is for 127.0.0.1, ::1 and localhost only",
        )
    return SecretStr(address)


def addresses(value: object) -> tuple[SecretStr, ...]:
    """Read a list of addresses, which no log and no repr shows."""
    if isinstance(value, tuple) and all(isinstance(one, SecretStr) for one in value):
        return value
    found = words(value)
    if len(found) > _URLS_AT_MOST:
        raise WrongValueError(f"may hold {_URLS_AT_MOST} addresses at most")
    return tuple(SecretStr(one) for one in found)


def listed(content: str) -> tuple[str, ...]:
    """Return the addresses in a file: one a line, # begins a comment. Raises `ConfigError`."""
    found = [line.strip() for line in content.splitlines()]
    kept = tuple(line for line in found if line and not line.startswith("#"))
    if len(kept) > _URLS_AT_MOST:
        raise ConfigError(
            f"notify.urls_file: the file holds more than {_URLS_AT_MOST} addresses",
            code="notify_address",
            hint="each has a thread of its own: let one service pass them on",
        )
    return kept
