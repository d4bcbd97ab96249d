"""Pre-signed URLs: who holds one may do one thing to one object until it expires.

Never looks at a clock and never at the object.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from enum import StrEnum
from urllib.parse import quote, urlencode

EXPIRES = "X-Sandbox-Expires"
SIGNATURE = "X-Sandbox-Signature"


class Seal(StrEnum):
    """What a look at the signature tells."""

    GOOD = "good"
    EXPIRED = "expired"
    TAMPERED = "tampered"
    ABSENT = "absent"


def sign(secret: bytes, method: str, path: str, expires: float) -> str:
    """Return path and query that allow `method` on `path` until `expires` (seconds since 1970)."""
    until = f"{expires:.3f}"
    query = {EXPIRES: until, SIGNATURE: _signature(secret, method, path, until)}
    return f"{quote(path)}?{urlencode(query)}"


def verify(secret: bytes, method: str, path: str, query: Mapping[str, str], now: float) -> Seal:
    """Judge the query of a pre-signed URL whose decoded path is `path`."""
    if EXPIRES not in query or SIGNATURE not in query:
        return Seal.ABSENT
    expected = _signature(secret, method, path, query[EXPIRES])
    if not hmac.compare_digest(expected.encode(), query[SIGNATURE].encode()):
        return Seal.TAMPERED
    return Seal.GOOD if now < float(query[EXPIRES]) else Seal.EXPIRED


def _signature(secret: bytes, method: str, path: str, until: str) -> str:
    return hmac.new(secret, f"{method}\n{path}\n{until}".encode(), hashlib.sha256).hexdigest()
