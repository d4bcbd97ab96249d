"""What the Engine's and the object store's answers mean. Owns the status codes; sends nothing."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

from vpe_watcher.adapters.engine.faults import ENGINE
from vpe_watcher.adapters.engine.transport import Answer
from vpe_watcher.adapters.engine.values import Poll
from vpe_watcher.core.errors import (
    EnvironmentFault,
    HostFault,
    InputFault,
    JobRefused,
    LinkExpired,
    NotificationRefused,
    StepFault,
    TransientFault,
)
from vpe_watcher.core.moments import iso

MESSAGE_CHARACTERS = 200
RETRY_AFTER_LIMIT_S = 24 * 3600.0
LONG_WAIT_S = 60.0
GONE = frozenset({400, 404, 410})
LINK_EXPIRED = GONE | {403}
INPUT_REFUSED = frozenset({400, 413, 422})
CHECK_ROUTE = "Check engine.region or engine.base_url, engine.version and engine.submit_path."
SUBMIT_ENVIRONMENT = {
    402: ("payment_required", "Ask the vendor about the licence of this account."),
    403: ("forbidden", "Ask the vendor what this account may do."),
    404: ("not_found", CHECK_ROUTE),
    405: ("method_not_allowed", CHECK_ROUTE),
}


def submitted(answer: Answer, *, host: str, now_s: float) -> dict[str, Any]:
    """Return the body of an accepted submit, or raise what its status means."""
    status = answer.status
    if status == HTTPStatus.OK:
        return json_object(answer)
    if status in INPUT_REFUSED:
        raise InputFault(
            f"The Engine refused the job with status {status}{_quoted(answer.body)}.",
            code="refused_by_engine",
            hint="Check the scan and the recipe's job.",
        )
    if _is_redirect(status) or status in SUBMIT_ENVIRONMENT:
        code, hint = SUBMIT_ENVIRONMENT.get(status, ("redirected", CHECK_ROUTE))
        raise EnvironmentFault(
            f"The Engine at {host} answered a submit with status {status}{_quoted(answer.body)}.",
            code=code,
            breaker=ENGINE,
            hint=hint,
            retry_after_s=retry_after_s(answer.headers, now_s=now_s),
        )
    raise engine_trouble(answer, host=host, now_s=now_s)


def polled(answer: Answer, *, host: str, now_s: float) -> Poll:
    """Return what a poll says, or raise what its status means."""
    status = answer.status
    retry = retry_after_s(answer.headers, now_s=now_s)
    if status == HTTPStatus.ACCEPTED:
        return Poll(None, retry)
    if status == HTTPStatus.OK:
        return Poll(json_object(answer), retry)
    if status in GONE or status == HTTPStatus.FORBIDDEN:
        is_forbidden = status == HTTPStatus.FORBIDDEN
        raise JobRefused(
            f"The Engine answered a poll with status {status}{_quoted(answer.body)}.",
            code="job_forbidden" if is_forbidden else "job_unknown",
            hint="Ask the vendor about the job id.",
            at_once=is_forbidden,
        )
    raise engine_trouble(answer, host=host, now_s=now_s)


def check_notified(answer: Answer, *, host: str, now_s: float) -> None:
    """Return if a notification was accepted, or raise what its status means."""
    status = answer.status
    if _is_success(status):
        return
    if 400 <= status < 500 and status not in {401, 429}:
        raise NotificationRefused(
            f"The Engine answered a notification with status {status}{_quoted(answer.body)}.",
            code="notification_refused",
        )
    raise engine_trouble(answer, host=host, now_s=now_s)


def check_link(
    status: int, headers: Mapping[str, str], *, verb: str, host: str, now_s: float
) -> None:
    """Return if a pre-signed URL did its work, or raise; `verb` is `upload` or `download`."""
    if _is_success(status):
        return
    message = f"The {verb} at {host} was answered with status {status}."
    if status in LINK_EXPIRED:
        raise LinkExpired(message, code=f"{verb}_link_expired")
    retry = retry_after_s(headers, now_s=now_s)
    raise HostFault(
        message + asked_to_wait(retry, now_s=now_s),
        code=f"{verb}_{_link_trouble(status)}",
        breaker=f"{verb}:{host}",
        retry_after_s=retry,
    )


def engine_trouble(answer: Answer, *, host: str, now_s: float) -> StepFault:
    """Return the fault for a status that means the same in every call of the Engine."""
    status = answer.status
    retry = retry_after_s(answer.headers, now_s=now_s)
    if status == HTTPStatus.UNAUTHORIZED:
        return EnvironmentFault(
            f"The Engine at {host} does not accept the access token.",
            code="token_not_accepted",
            breaker=ENGINE,
            hint="Check the token or the client's secret, engine.auth.audience and the region.",
            retry_after_s=retry,
        )
    if status == HTTPStatus.TOO_MANY_REQUESTS or status >= 500:
        code = "rate_limited" if status == HTTPStatus.TOO_MANY_REQUESTS else "server_error"
        return EnvironmentFault(
            f"The Engine at {host} answered with status {status}."
            + asked_to_wait(retry, now_s=now_s),
            code=code,
            breaker=ENGINE,
            hint="It is tried again by itself. Ask the vendor if it lasts.",
            retry_after_s=retry,
        )
    if _is_success(status):
        return garbled(f"an answer of status {status} that has no meaning here")
    return TransientFault(
        f"The Engine answered with status {status}{_quoted(answer.body)}.",
        code="unexpected_answer",
        retry_after_s=retry,
    )


def json_object(answer: Answer) -> dict[str, Any]:
    """Return the JSON object of an answer, raise TransientFault if it is none."""
    if answer.is_cut:
        raise garbled("a body of unreasonable size")
    try:
        value = json.loads(answer.body)
    except (ValueError, RecursionError) as error:
        raise garbled("a body that is not JSON") from error
    if not isinstance(value, dict):
        raise garbled("JSON that is not an object")
    return value


def garbled(what: str) -> TransientFault:
    """Return the fault for a success whose body makes no sense."""
    return TransientFault(f"The Engine sent {what}.", code="answer_garbled")


def retry_after_s(headers: Mapping[str, str], *, now_s: float) -> float | None:
    """Read Retry-After, seconds or a date, as seconds from `now_s` (wall clock), at most a day."""
    text = headers.get("Retry-After", "").strip()
    if not text:
        return None
    if re.fullmatch(r"\d+(\.\d+)?", text, re.ASCII):
        return min(float(text), RETRY_AFTER_LIMIT_S)
    try:
        when = parsedate_to_datetime(text)
        wait_s = when.replace(tzinfo=when.tzinfo or UTC).timestamp() - now_s
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(wait_s, 0.0), RETRY_AFTER_LIMIT_S) if math.isfinite(wait_s) else None


def asked_to_wait(retry_s: float | None, *, now_s: float) -> str:
    """Say until when an answer wants us to wait, to the minute; "" for less than one."""
    if retry_s is None or retry_s < LONG_WAIT_S:
        return ""
    until_s = math.ceil((now_s + retry_s) / LONG_WAIT_S) * LONG_WAIT_S
    return f" It asks to wait until {iso(until_s)}."


def message_of(body: bytes) -> str:
    """Return what an error's body says: one short line, no URL, no token, no control character."""
    return clean(_said(body[: 64 * 1024]))


def clean(text: str) -> str:
    """Make foreign text fit for logs and error files."""
    text = re.sub(r"<[^<>]*>", " ", text)
    text = "".join(" " if unicodedata.category(one)[0] in "CZ" else one for one in text)
    text = re.sub(r"\S*://\S*|\S*\?\S*=\S*", "[URL]", text)
    text = re.sub(r"(?i)\bbearer\s+\S+|\beyJ[\w.-]{8,}", "[token]", text)
    text = " ".join(text.split())
    if len(text) <= MESSAGE_CHARACTERS:
        return text
    return text[: MESSAGE_CHARACTERS - 1] + "…"


def _said(body: bytes) -> str:
    text = body.decode("utf-8", errors="replace")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    for name in ("message", "error_description", "detail", "title", "error", "description"):
        if isinstance(value, dict) and isinstance(value.get(name), str):
            return str(value[name])
    return text


def _quoted(body: bytes) -> str:
    said = message_of(body)
    return f': "{said}"' if said else ""


def _link_trouble(status: int) -> str:
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return "rate_limited"
    if status >= 500:
        return "server_error"
    return "redirected" if _is_redirect(status) else "refused"


def _is_success(status: int) -> bool:
    return 200 <= status < 300


def _is_redirect(status: int) -> bool:
    return 300 <= status < 400
