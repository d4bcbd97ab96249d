"""The access token. Owns where it comes from, how long it is used and where it is kept.

One token serves all threads; however many of them meet a 401 at once, one new token is asked for.
A token that cannot be written to its file is used all the same.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Protocol

from vpe_watcher.adapters.engine.answers import asked_to_wait, message_of, retry_after_s
from vpe_watcher.adapters.engine.faults import TOKEN, host_of
from vpe_watcher.adapters.engine.transport import Anonymous, Answer, Call, Transport
from vpe_watcher.adapters.engine.values import ClientCredentials, ReadyToken
from vpe_watcher.core.errors import ConfigError, EnvironmentFault

ASSUMED_LIFE_S = 24 * 3600.0
AHEAD_S = 300.0
AHEAD_PART = 0.1
FILE_LIMIT_BYTES = 64 * 1024


class TokenSource(Protocol):
    """What the client asks for tokens."""

    def current(self) -> str:
        """Return a token that should be good."""

    def replace(self, rejected: str) -> str:
        """Return a token after a 401 on `rejected`."""

    def renew(self) -> None:
        """Get a fresh token now."""


@dataclass(frozen=True, slots=True)
class KeptToken:
    """A token as it is kept in the file. Times in seconds since 1970."""

    access_token: str
    obtained_at: float
    expires_at: float
    key: str

    def is_fresh(self, now_s: float) -> bool:
        """Tell whether it is far enough from its end (5 minutes, or a tenth of a short life)."""
        ahead_s = min(AHEAD_S, AHEAD_PART * (self.expires_at - self.obtained_at))
        return now_s < self.expires_at - ahead_s


class ReadyTokenSource:
    """A token that somebody else renews: read it, never ask for one."""

    def __init__(self, ready: ReadyToken) -> None:
        self._ready = ready

    def current(self) -> str:
        """Return what the source holds now."""
        return header_safe(read_secret(self._ready.read, what="access token").strip())

    def replace(self, rejected: str) -> str:  # noqa: ARG002 - there is no other
        """Return what the source holds now, which may be the same token."""
        return self.current()

    def renew(self) -> None:
        """Read the source, so that its troubles show."""
        self.current()


class ClientCredentialsSource:
    """A token by client credentials, kept in memory and in a file."""

    def __init__(
        self,
        credentials: ClientCredentials,
        *,
        transport: Transport,
        file: Path,
        now: Callable[[], float],
    ) -> None:
        self._credentials = credentials
        self._transport = transport
        self._file = file
        self._now = now
        self._key = key_of(credentials)
        self._lock = threading.Lock()
        self._token: KeptToken | None = None
        self._has_looked = False
        self._calls = 0
        self._last_fault: EnvironmentFault | None = None

    def current(self) -> str:
        """Return the token in use, a new one if there is none or it is about to end."""
        calls = self._calls
        with self._lock:
            if not self._has_looked:
                self._token, self._has_looked = read_kept(self._file, key=self._key), True
            if self._token is None or not self._token.is_fresh(self._now()):
                self._fetch(calls)
            return self._in_use()

    def replace(self, rejected: str) -> str:
        """Return a token after a 401; a new one unless another thread has got it already."""
        calls = self._calls
        with self._lock:
            if self._token is None or self._token.access_token == rejected:
                self._fetch(calls)
            return self._in_use()

    def renew(self) -> None:
        """Ask for a fresh token, whatever the old one is worth."""
        with self._lock:
            self._fetch(self._calls)

    def _in_use(self) -> str:
        if self._token is None:
            raise token_fault("There is no access token.", code="token_garbled")
        return self._token.access_token

    def _fetch(self, calls_seen: int) -> None:
        """Get a token under the lock; who waited while a call failed shares that failure."""
        if calls_seen != self._calls and self._last_fault is not None:
            fault = self._last_fault
            raise token_fault(
                fault.message, code=fault.code, hint=fault.hint, retry_after_s=fault.retry_after_s
            )
        try:
            self._token = self._ask()
            self._last_fault = None
        except EnvironmentFault as fault:
            self._last_fault = fault
            raise
        finally:
            self._calls += 1
        write_kept(self._file, self._token)

    def _ask(self) -> KeptToken:
        credentials = self._credentials
        secret = read_secret(credentials.client_secret, what="client secret")
        body = {
            "grant_type": "client_credentials",
            "audience": credentials.audience,
            "client_id": credentials.client_id,
            "client_secret": secret,
        }
        call = Call(
            "POST",
            credentials.token_url,
            breaker=TOKEN,
            auth=Anonymous(),
            data=json.dumps(body).encode(),
            content_type="application/json",
        )
        asked_at = self._now()
        answer = self._transport.call(call)
        if answer.status != HTTPStatus.OK:
            host = host_of(credentials.token_url)
            raise refused(answer, host=host, secret=secret, now_s=self._now())
        return token_of(answer, asked_at=asked_at, key=self._key)


def key_of(credentials: ClientCredentials) -> str:
    """Return a digest of whose token it is, so that a changed configuration drops a kept one."""
    parts = [credentials.client_id, credentials.audience, credentials.token_url]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def token_of(answer: Answer, *, asked_at: float, key: str) -> KeptToken:
    """Read the token out of a 200; without `expires_in` it is taken to live for a day."""
    try:
        value = json.loads(answer.body)
    except (ValueError, RecursionError) as error:
        raise token_fault("The token answer is not JSON.", code="token_garbled") from error
    token = value.get("access_token") if isinstance(value, dict) else None
    if not isinstance(token, str) or not token:
        raise token_fault("The token answer holds no token.", code="token_garbled")
    life_s = lifetime_s(value.get("expires_in"))
    return KeptToken(header_safe(token), asked_at, asked_at + life_s, key)


def lifetime_s(value: object) -> float:
    """Return the seconds that `expires_in` means."""
    try:
        life_s = float(value) if isinstance(value, int | float | str) else 0.0
    except (ValueError, OverflowError):
        return ASSUMED_LIFE_S
    return life_s if math.isfinite(life_s) and life_s > 0 else ASSUMED_LIFE_S


def refused(answer: Answer, *, host: str, secret: str, now_s: float) -> EnvironmentFault:
    """Return the fault for a token call that was answered, but not by a 200."""
    status = answer.status
    said = message_of(answer.body.replace(secret.encode(), b"[secret]"))
    retry = retry_after_s(answer.headers, now_s=now_s)
    is_theirs = status >= 500 or status == HTTPStatus.TOO_MANY_REQUESTS
    wait = "It is tried again by itself."
    check = "Check engine.auth: client_id, the client's secret, token_url and audience."
    return token_fault(
        f"The token endpoint at {host} answered with status {status}"
        + (f': "{said}".' if said else ".")
        + asked_to_wait(retry, now_s=now_s),
        code="token_server_error" if is_theirs else "token_refused",
        hint=wait if is_theirs else check,
        retry_after_s=retry,
    )


def read_secret(read: Callable[[], str], *, what: str) -> str:
    """Ask for a secret; a file that cannot be read is a fault of the token."""
    try:
        secret = read()
    except (OSError, UnicodeError) as error:
        raise token_fault(
            f"The {what} cannot be read.",
            code="secret_unreadable",
            hint="Check that the file is there and that the service may read it.",
        ) from error
    except ConfigError as error:  # it has gone, or was opened to others, since the start
        fault = token_fault(
            f"The {what} cannot be used.", code="secret_unreadable", hint=error.hint
        )
        raise fault from error
    if not secret.strip():
        raise token_fault(f"The {what} is empty.", code="secret_unreadable", hint="Fill it in.")
    return secret


def header_safe(token: str) -> str:
    """Return the token if a header can hold it (RFC 6750 knows no blanks in it)."""
    if not re.fullmatch(r"[!-~]+", token):
        raise token_fault(
            "The access token has characters that no token has.",
            code="token_garbled",
            hint="Check that it was copied as it is, on one line.",
        )
    return token


def read_kept(file: Path, *, key: str) -> KeptToken | None:
    """Read the kept token; None if there is none, or it is another client's or unreadable."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as stream:
            return _kept(json.loads(stream.read(FILE_LIMIT_BYTES)), key=key)
    except (OSError, LookupError, ArithmeticError, ValueError, TypeError, RecursionError):
        return None
    except EnvironmentFault:
        return None


def write_kept(file: Path, token: KeptToken) -> None:
    """Replace the kept token in one step, mode 0600 from the first byte on."""
    draft = file.with_name(f"{file.name}.tmp")
    # a token that cannot be kept is still a good token: the next start asks for another
    with suppress(OSError):
        draft.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(draft, flags, 0o600), "wb") as stream:
            stream.write(json.dumps(asdict(token)).encode())
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(file)


def token_fault(
    message: str, *, code: str, hint: str = "", retry_after_s: float | None = None
) -> EnvironmentFault:
    """Return a fault that opens the breaker `token`."""
    return EnvironmentFault(
        message, code=code, breaker=TOKEN, hint=hint, retry_after_s=retry_after_s
    )


def _kept(value: Any, *, key: str) -> KeptToken | None:
    token = KeptToken(
        access_token=header_safe(value["access_token"]),
        obtained_at=float(value.get("obtained_at", value["expires_at"] - ASSUMED_LIFE_S)),
        expires_at=float(value["expires_at"]),
        key=str(value["key"]),
    )
    return token if token.key == key and math.isfinite(token.expires_at) else None
