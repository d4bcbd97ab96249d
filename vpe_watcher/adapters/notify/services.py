"""Mail, chats and telephones through apprise (extra `notify`). Its addresses are secrets.

Apprise says only whether a sending worked, so whatever did not is tried again.
"""

from __future__ import annotations

import hashlib
import importlib.util
import ipaddress
import logging
from typing import Any

from vpe_watcher.core.errors import ConfigError
from vpe_watcher.core.notices import Answer, Notice, Receipt, words

TIMEOUT_S = 10.0


class Service:
    """One address of apprise. `number` counts them from 1, for people.

    Raises at construction:
        ConfigError: the extra is not installed, the address means nothing, or leads over a network
            in clear.
    """

    def __init__(self, url: str, *, number: int, host: str) -> None:
        if importlib.util.find_spec("apprise") is None:
            raise ConfigError(
                "notify.urls needs the extra notify, which is not installed.",
                code="notify_extra_missing",
                hint="pip install 'vpe-watcher[notify]'; a webhook needs no extra",
            )
        import apprise

        logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)  # its texts hold addresses
        self._host = host
        asset = apprise.AppriseAsset(
            app_id="vpe-watcher",
            async_mode=False,
            http_redirects=False,
            service_timeout=0,  # else in a pool that hung calls fill, and that an exit waits for
        )
        self._service: Any = apprise.Apprise.instantiate(url, asset=asset)
        if self._service is None:
            raise ConfigError(
                f"Address {number} of notify.urls is none that apprise knows.",
                code="notify_address",
                hint="see `apprise --details` for the form of each service's address",
            )
        self._service.socket_connect_timeout = TIMEOUT_S
        self._service.socket_read_timeout = TIMEOUT_S
        self._all = apprise.Apprise(asset=asset)
        self._all.add(self._service)
        self._scheme = url.partition("://")[0].lower()
        self.name = f"apprise-{hashlib.sha256(url.encode()).hexdigest()[:12]}"
        self.shown = f"address {number} ({self._scheme})"
        _check_way(self._service, self._scheme, number)

    def tell(self, notice: Notice) -> Receipt:
        """Send one notice as title and text; who trickles may hold it up: see `Prompt`."""
        title, text = words(notice, host=self._host)
        body = text.encode("utf-8", "replace").decode()
        if self._all.notify(title=title, body=body, body_format="text"):
            return Receipt(Answer.TOLD)
        return Receipt(Answer.TROUBLE, "not taken, or no answer")


def _check_way(service: Any, scheme: str, number: int) -> None:
    """Refuse what would send its passwords in clear, as the Engine's address is refused."""
    secure = service.secure_protocol
    secure = [secure] if isinstance(secure, str) else list(secure or ())
    if not secure or scheme in secure or _is_loopback(str(service.host or "")):
        return
    raise ConfigError(
        f"Address {number} of notify.urls ({scheme}) would be used in clear over the network.",
        code="notify_address",
        hint=f"use {secure[0]}://; {scheme}:// is for this machine only",
    )


def _is_loopback(host: str) -> bool:
    try:
        return host.lower() == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
