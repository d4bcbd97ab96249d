"""The DICOM receiver with everything that it needs: built from settings, started, stopped.

One receiver a state file: its lock says that what lies half received in the inbox is nobody's.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from vpe_watcher.adapters.files import Disk
from vpe_watcher.adapters.lock import DaemonLock, lock_holder, lock_path
from vpe_watcher.core.errors import ConfigError, EnvironmentFault, TryAgainLater
from vpe_watcher.flow.breakers import Log
from vpe_watcher.flow.reception import Reception
from vpe_watcher.formats.file_meta import file_meta

if TYPE_CHECKING:
    from vpe_watcher.adapters.dicom_receiver import Receiver
    from vpe_watcher.adapters.settings import Settings

LOCK_NAME = "receiver"
REQUIREMENTS = ("pydicom>=3.0", "pynetdicom>=3.0,<4")
SHORTEST_WAIT_S = 1.0
LAST_WORDS_S = 3.0  # to abort who stays, and to see its threads end
GONE_CHECK_S = 1.0

LEFT_BEHIND = (
    "They lie in the inbox of the earlier configuration, which is looked after no more: move them "
    "into the inbox that counts now."
)


class Receiving:
    """Receives for one recipe from `start` to `stop`; without an address both do nothing.

    `daemon_id` tells whose inboxes the settings' are, "" while no daemon has run.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        daemon_id: Callable[[], str],
        log: Log,
        disk: Disk | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._log = log
        self._monotonic = monotonic
        self._lock_file = settings.state_file.with_name(LOCK_NAME)
        self._lock = DaemonLock(self._lock_file)
        self._receiver: Receiver | None = None
        self._stopping: threading.Thread | None = None
        self._has_stopped = threading.Event()  # but a thread may hang
        self._is_over = False
        recipe = settings.recipes[settings.dicom.recipe]
        self._reception = Reception(
            disk or Disk(),
            recipe.inbox,
            recipe=recipe.name,
            daemon_id=daemon_id,
            min_free=settings.retention.min_free,
        )

    @property
    def is_over(self) -> bool:
        """Tell whether it has stopped, or never listened: another may take its place."""
        return self._is_over or self._receiver is None

    def use(self, settings: Settings) -> bool:
        """Go by other settings if the network side is the same; false: another is needed."""
        if _network_side(settings) != _network_side(self._settings):
            return False
        self._settings = settings
        self._reception.use(min_free=settings.retention.min_free)
        return True

    @property
    def listen(self) -> str:
        """Return the address as it was configured; "" when there is none."""
        return self._settings.dicom.listen

    def start(self) -> None:
        """Listen, in threads of its own.

        Raises:
            ConfigError: the extra is not installed, or this machine cannot listen there.
            TryAgainLater: the port is taken, or another receiver runs on this state file.
        """
        address = self._settings.dicom.address
        if address is None:
            return
        receiver = _receiver_of(
            self._settings, address, self._reception, log=self._log, monotonic=self._monotonic
        )
        self._acquire()
        try:
            host, port = receiver.start()
        except BaseException:
            self._lock.release()
            raise
        self._receiver = receiver
        listen = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._log("receive.started", listen=listen, recipe=self._settings.dicom.recipe)

    def begin_stop(self) -> None:
        """Let nobody in from now on, and let who is have `stop_grace_s`; returns at once."""
        if self._receiver is not None and self._stopping is None:
            self._stopping = threading.Thread(
                target=self._stop, args=(self._receiver,), name="receiving-stop", daemon=True
            )
            self._stopping.start()

    def give_way(self, settings: Settings) -> None:
        """Do the same, and take nothing more for an inbox that these settings do not look after."""
        if all(recipe.inbox != self._reception.inbox for recipe in settings.recipes.values()):
            self._reception.leave()
        self.begin_stop()

    def stop(self) -> bool:
        """Do the same and wait for it; false: a thread hangs, and so does what it holds."""
        self.begin_stop()
        if self._stopping is None:
            return True
        self._has_stopped.wait(self._settings.limits.stop_grace_s + LAST_WORDS_S)
        return self._is_over

    def _stop(self, receiver: Receiver) -> None:
        has_gone = receiver.stop(self._settings.limits.stop_grace_s)
        self._log("receive.stopped")
        if has_gone:
            self._make_room()
        self._has_stopped.set()
        while not self._is_over:  # another waits for its place, for as long as a disk may hang
            time.sleep(GONE_CHECK_S)
            if receiver.has_gone():
                self._make_room()
        self._tell_left()

    def _make_room(self) -> None:
        """Let another take its place: whoever sees `is_over` finds the lock free."""
        self._lock.release()
        self._is_over = True

    def _tell_left(self) -> None:
        with suppress(EnvironmentFault):
            count = self._reception.left_behind()
            if count:
                self._log("receive.left", count=count, hint=LEFT_BEHIND)

    def _acquire(self) -> None:
        try:
            self._lock.acquire()
        except TryAgainLater as error:
            raise TryAgainLater(
                f"Another receiver (pid {lock_holder(self._lock_file) or 'unknown'}) runs on this "
                "state file.",
                code="already_receiving",
                hint="Stop that one first; the daemon receives by itself when dicom.listen is set.",
            ) from error
        _give_to_owner(lock_path(self._lock_file))


def check_receiving(settings: Settings) -> None:
    """Try whether this machine can listen where settings say, beside a receiver that does.

    Raises:
        ConfigError: the extra is not installed, or this machine cannot listen there.
    """
    address = settings.dicom.address
    if address is None:
        return
    try:
        from vpe_watcher.adapters.dicom_receiver import check_address
    except ModuleNotFoundError as error:
        raise not_installed(error.name or "") from error
    check_address(address)


def _network_side(settings: Settings) -> tuple[object, ...]:
    """Return what a receiver cannot change while it listens."""
    limits, recipe = settings.limits, settings.recipes[settings.dicom.recipe]
    return settings.dicom, recipe.inbox, limits.stall_timeout_s, limits.connect_timeout_s


def _receiver_of(
    settings: Settings,
    address: tuple[str, int],
    reception: Reception,
    *,
    log: Log,
    monotonic: Callable[[], float],
) -> Receiver:
    """Build the network side. Raises `ConfigError`: its libraries are not installed."""
    try:
        from vpe_watcher.adapters.dicom_receiver import Options, Receiver
    except ModuleNotFoundError as error:
        raise not_installed(error.name or "") from error
    dicom, limits = settings.dicom, settings.limits
    options = Options(
        host=address[0],
        port=address[1],
        ae_title=dicom.ae_title,
        calling_ae_titles=dicom.calling_ae_titles,
        networks=dicom.networks,
        associations=dicom.associations,
        silence_s=max(limits.stall_timeout_s, SHORTEST_WAIT_S),
        request_s=max(limits.connect_timeout_s, SHORTEST_WAIT_S),
        header=_header,
    )
    return Receiver(options, reception.open, log=log, monotonic=monotonic)


def _header(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    return file_meta(
        sop_class_uid=sop_class_uid,
        sop_instance_uid=sop_instance_uid,
        transfer_syntax_uid=transfer_syntax_uid,
    )


def _give_to_owner(lock_file: Path) -> None:
    """Let the service receive after root did: the folder says who the service is."""
    if os.geteuid() == 0:
        owner = lock_file.parent.stat()
        os.chown(lock_file, owner.st_uid, owner.st_gid)


def not_installed(module: str) -> ConfigError:
    """Return the error for a missing package, with the command that installs it."""
    wanted = " ".join(f"'{requirement}'" for requirement in REQUIREMENTS)
    return ConfigError(
        f"What receives DICOM is not installed: the Python package {module} is missing.",
        code="dicom_not_installed",
        hint=f"{sys.executable} -m pip install {wanted}",
    )
