"""From a foreign exception to ours. Owns what an interrupted call may have done.

Reads classes and causes only: the text of a foreign exception may hold a pre-signed URL and is
never passed on.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from urllib.parse import urlsplit

import requests
import urllib3.exceptions as u3

from vpe_watcher.core.errors import (
    AnswerLost,
    EnvironmentFault,
    HostFault,
    StepFault,
    TransientFault,
)

ENGINE = "engine"
TOKEN = "token"  # noqa: S105 - the name of a breaker

FOREIGN = (
    requests.RequestException,
    u3.HTTPError,
    u3.ProxySchemeUnsupported,
    HTTPException,
    OSError,
    UnicodeError,
)
"""All that requests, urllib3, http.client and the socket under them raise."""

URL_INVALID = (
    requests.exceptions.MissingSchema,
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidURL,
    requests.exceptions.URLRequired,
    u3.LocationValueError,
    UnicodeError,
)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Why no complete answer came. `is_unsent`: the request has certainly not left this machine."""

    code: str
    words: str
    is_unsent: bool = False


def host_of(url: str) -> str:
    """Return the host name of a URL, `unknown` if it has none."""
    try:
        return urlsplit(url).hostname or "unknown"
    except ValueError:
        return "unknown"


@contextmanager
def mapped(*, breaker: str, host: str) -> Iterator[None]:
    """Turn every foreign exception of the body into ours; let ours pass."""
    try:
        yield
    except FOREIGN as error:
        raise translate(error, breaker=breaker, host=host) from error


def translate(error: BaseException, *, breaker: str, host: str) -> StepFault:
    """Return our fault for a call that got no complete answer.

    On the Engine's breaker it is AnswerLost unless the request was certainly not sent.
    """
    why = diagnose(error)
    if breaker == ENGINE:
        kind = EnvironmentFault if why.is_unsent else AnswerLost
        return kind(
            f"The Engine at {host} gave no complete answer: {why.words}.",
            code=why.code,
            breaker=ENGINE,
            hint="Check the network, a proxy, and engine.region or engine.base_url.",
        )
    if breaker == TOKEN:
        return EnvironmentFault(
            f"The token endpoint at {host} gave no complete answer: {why.words}.",
            code="token_unreachable",
            breaker=TOKEN,
            hint="Check the network, a proxy, and engine.auth.token_url.",
        )
    verb = breaker.partition(":")[0]
    return HostFault(
        f"The {verb} at {host} was interrupted: {why.words}.",
        code=why.code,
        breaker=breaker,
        is_unanswered=True,
    )


def diagnose(error: BaseException) -> Diagnosis:
    """Tell from an exception and its causes what happened and whether anything was sent."""
    chain = list(causes(error))
    return _before_sending(chain) or _while_sending(chain)


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and all that it wraps, in whichever way its library wraps."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        inner = [getattr(one, name, None) for name in ("reason", "original_error", "__cause__")]
        waiting += [each for each in (*one.args, *inner) if isinstance(each, BaseException)]


def insecure_or_invalid(url: str, *, may_be_plain: bool) -> str:
    """Say what is wrong with a URL that an answer gave us; an empty string if nothing is.

    A token or a scan goes over plain http only to this machine, or if the Engine's own base URL is
    plain http.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return "it is not a URL"
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return "it is not an http(s) URL"
    if parts.scheme == "http" and not may_be_plain and not _is_loopback(parts.hostname):
        return "it is not encrypted"
    return ""


def bad_link(problem: str, *, breaker: str, host: str) -> StepFault:
    """Return the fault for a URL of the Engine's answer that must not be called."""
    message = f"The Engine named a URL that cannot be used: {problem}."
    if breaker == ENGINE:
        return TransientFault(message, code="link_invalid")
    return HostFault(message, code="link_invalid", breaker=f"{breaker}:{host}")


def _is_loopback(host: str) -> bool:
    return host in {"localhost", "::1"} or host.startswith("127.")


def _has(chain: list[BaseException], *kinds: type[BaseException]) -> bool:
    return any(isinstance(one, kinds) for one in chain)


def _before_sending(chain: list[BaseException]) -> Diagnosis | None:
    if _has(chain, u3.NameResolutionError, socket.gaierror):
        return Diagnosis("name_not_resolved", "its name cannot be resolved", is_unsent=True)
    if _has(chain, u3.NewConnectionError):
        return _no_connection(chain)
    if _has(chain, u3.ConnectTimeoutError, requests.ConnectTimeout):
        return Diagnosis("connect_timeout", "no connection within the time-out", is_unsent=True)
    if _has(chain, requests.exceptions.InvalidProxyURL, u3.ProxySchemeUnsupported):
        return Diagnosis("proxy_invalid", "the proxy's URL is not valid", is_unsent=True)
    if _has(chain, *URL_INVALID):
        return Diagnosis("url_invalid", "its URL is not valid", is_unsent=True)
    if type(chain[0]) is OSError and chain[0].errno is None:
        # requests raises this bare before it connects, see HTTPAdapter.cert_verify
        return Diagnosis("tls_failed", "the CA certificates cannot be read", is_unsent=True)
    return None


def _no_connection(chain: list[BaseException]) -> Diagnosis:
    if _has(chain, ssl.SSLCertVerificationError):
        return Diagnosis("tls_failed", "its TLS certificate is not trusted", is_unsent=True)
    if _has(chain, ssl.SSLError, u3.SSLError):
        return Diagnosis("tls_failed", "the TLS handshake failed", is_unsent=True)
    if _has(chain, ConnectionRefusedError):
        return Diagnosis("connection_refused", "the connection was refused", is_unsent=True)
    return Diagnosis("not_connected", "no connection could be made", is_unsent=True)


def _while_sending(chain: list[BaseException]) -> Diagnosis:
    if _has(chain, TimeoutError, requests.Timeout, u3.TimeoutError):
        return Diagnosis("timed_out", "nothing moved within the time-out")
    if _has(chain, ssl.SSLError, u3.SSLError, requests.exceptions.SSLError):
        return Diagnosis("tls_broken", "the TLS connection broke")
    if _has(chain, u3.IncompleteRead, requests.exceptions.ChunkedEncodingError):
        return Diagnosis("answer_incomplete", "the answer was cut short")
    if _has(chain, ConnectionError, requests.ConnectionError, u3.ProtocolError):
        return Diagnosis("connection_broken", "the connection was closed")
    return Diagnosis("answer_lost", "the call ended unexpectedly")
