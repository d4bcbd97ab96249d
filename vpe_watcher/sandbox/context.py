"""What one call is handled with: the request, the time, the options in force, the house's parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vpe_watcher.sandbox.signing import sign

if TYPE_CHECKING:
    from vpe_watcher.sandbox.accounts import Accounts
    from vpe_watcher.sandbox.ledger import Ledger
    from vpe_watcher.sandbox.messages import Request
    from vpe_watcher.sandbox.options import Options
    from vpe_watcher.sandbox.workshop import Workshop


@dataclass(frozen=True, slots=True)
class House:
    """The parts that live as long as the sandbox does."""

    scratch: Path
    secret: bytes
    new_id: Callable[[], str]
    ledger: Ledger
    accounts: Accounts
    workshop: Workshop


@dataclass(frozen=True, slots=True)
class Context:
    """One call. `now` is in seconds since 1970; `names` are the parts of the path."""

    house: House
    request: Request
    now: float
    options: Options
    names: dict[str, str]
    is_size_wrong: bool = False
    is_link_expired: bool = False

    def presigned(self, method: str, path: str) -> str:
        """Return a pre-signed URL for a path of the object store."""
        origin = self.options.store_url.rstrip("/") or self.request.origin
        return origin + sign(self.house.secret, method, path, self.now + self.options.url_expiry_s)
