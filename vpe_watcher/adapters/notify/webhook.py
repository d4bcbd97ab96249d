"""The webhook: one signed POST a notice. Follows no redirect, repeats nothing, logs nothing."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from urllib.parse import urlsplit

import requests

from vpe_watcher.core.errors import ConfigError
from vpe_watcher.core.notices import Answer, Notice, Receipt, document

CONNECT_S, ANSWER_S = 10.0, 20.0
AGAIN = frozenset({408, 429})
RETRY_AFTER_AT_MOST_S = 3600.0


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """Return the value of the signature header: HMAC-SHA256 over timestamp, a dot, and body."""
    signed = timestamp.encode() + b"." + body
    return "sha256=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


class Webhook:
    """An address that gets notices as JSON. `secret` is asked afresh at each sending."""

    name = "webhook"

    def __init__(
        self,
        url: str,
        *,
        secret: Callable[[], str],
        host: str,
        now: Callable[[], float],
        user_agent: str,
        timeouts_s: tuple[float, float] = (CONNECT_S, ANSWER_S),
    ) -> None:
        self._url = url
        self._secret = secret
        self._host = host
        self._now = now
        self._user_agent = user_agent
        self._timeouts_s = timeouts_s

    @property
    def shown(self) -> str:
        """Return where it goes, without what may be a token."""
        return f"webhook at {urlsplit(self._url).hostname}"

    def tell(self, notice: Notice) -> Receipt:
        """Send one notice, signed."""
        body = json.dumps(document(notice, host=self._host)).encode()
        timestamp = str(int(self._now()))
        try:
            signed = signature(self._secret(), timestamp, body)
        except ConfigError as error:  # the file is gone for now, or open to others
            return Receipt(Answer.TROUBLE, f"the secret cannot be read ({error.code})")
        headers = {
            "Content-Type": "application/json",
            "User-Agent": self._user_agent,
            "Idempotency-Key": notice.notice_id,
            "X-VPE-Watcher-Id": notice.notice_id,
            "X-VPE-Watcher-Timestamp": timestamp,
            "X-VPE-Watcher-Signature": signed,
        }
        return self._posted(body, headers)

    def _posted(self, body: bytes, headers: dict[str, str]) -> Receipt:
        try:
            with (
                _Session() as session,
                session.post(
                    self._url,
                    data=body,
                    headers=headers,
                    auth=_as_it_is,
                    timeout=self._timeouts_s,
                    allow_redirects=False,
                    stream=True,  # of what it answers, only the status counts
                ) as answer,
            ):
                return _receipt(answer.status_code, answer.headers.get("Retry-After", ""))
        except (requests.RequestException, OSError) as error:
            return Receipt(Answer.TROUBLE, f"no complete answer ({type(error).__name__})")


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> str | None:  # noqa: ARG002
        """Return None: to look where a redirect leads, the library would read all of its body."""
        return None


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Keep `~/.netrc` from adding a password."""
    return request


def _receipt(status: int, retry_after: str) -> Receipt:
    if 200 <= status < 300:
        return Receipt(Answer.TOLD)
    reason = f"status {status}"
    if 400 <= status < 500 and status not in AGAIN:
        return Receipt(Answer.REFUSED, reason)
    seconds = min(float(retry_after), RETRY_AFTER_AT_MOST_S) if retry_after.isdecimal() else None
    return Receipt(Answer.TROUBLE, reason, seconds)
