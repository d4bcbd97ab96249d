"""Who may call: client credentials, the tokens that were issued, how long they last.

Never answers a request itself.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

AUDIENCE = "virtualpatientengine.com"


@dataclass(frozen=True, slots=True)
class Denial:
    """Why there is no token: an OAuth error code, with its status."""

    status: int
    error: str
    description: str


class Accounts:
    """The token desk. `ready_made` tokens never expire. Safe for threads."""

    def __init__(
        self, *, client_id: str, client_secret: str, ready_made: Iterable[str] = ()
    ) -> None:
        self._lock = threading.Lock()
        self._client = (client_id, client_secret)
        self._expiries = dict.fromkeys(ready_made, float("inf"))

    def judge(self, form: Mapping[str, object]) -> Denial | None:
        """Return why a token request is refused, None if it is fine."""
        wanted = ("grant_type", "audience", "client_id", "client_secret")
        absent = [name for name in wanted if not isinstance(form.get(name), str)]
        if absent:
            return Denial(400, "invalid_request", f"missing: {', '.join(absent)}")
        if form["grant_type"] != "client_credentials":
            return Denial(403, "unsupported_grant_type", "only client_credentials are taken")
        if (form["client_id"], form["client_secret"]) != self._client:
            return Denial(401, "access_denied", "Unauthorized")
        if form["audience"] != AUDIENCE:
            return Denial(403, "access_denied", f"Service not found: {form['audience']}")
        return None

    def issue(self, expires: float) -> str:
        """Return a new token, good until `expires` (seconds since 1970)."""
        token = f"sandbox-{secrets.token_urlsafe(24)}"
        with self._lock:
            self._expiries[token] = expires
        return token

    def knows(self, header: str, now: float) -> bool:
        """Tell whether an Authorization header names a token that is good now."""
        scheme, _, token = header.partition(" ")
        with self._lock:
            expires = self._expiries.get(token.strip())
        return scheme.lower() == "bearer" and expires is not None and now < expires

    def revoke_all(self) -> None:
        """Make every token, issued or ready-made, worthless from now on."""
        with self._lock:
            self._expiries.clear()
