"""Who may send, what each instance is answered, and what the log says of an association."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from pydicom.dataset import Dataset
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.association import Association
from pynetdicom.events import Event, EventHandlerType

from vpe_watcher.adapters.dicom_receiver.arriving import Arriving, Delivery, Dimse, Header
from vpe_watcher.adapters.dicom_receiver.server import Server, listen, tame
from vpe_watcher.core.errors import InputFault, WatcherError

VERIFICATION = "1.2.840.10008.1.1"
SUCCESS, PROCESSING_FAILURE = 0x0000, 0x0110
OUT_OF_RESOURCES, CANNOT_UNDERSTAND = 0xA700, 0xC000
REJECTED_PERMANENT, BY_SERVICE_USER, NO_REASON_GIVEN = 0x01, 0x01, 0x01
LARGEST_PDU_BYTES = 128 * 1024
STRANGERS = 20  # connections beside those that are let in: each is told why it is not
COMMENT_LENGTH = 64
ABORT_S = 1.0
# What the Engine reads inside a DICOM file, the plainest first: it is what we choose of several.
TRANSFER_SYNTAXES = (
    "1.2.840.10008.1.2.1",  # explicit little endian
    "1.2.840.10008.1.2",  # implicit little endian
    "1.2.840.10008.1.2.2",  # explicit big endian
    "1.2.840.10008.1.2.1.99",  # deflated
    "1.2.840.10008.1.2.5",  # RLE
    "1.2.840.10008.1.2.4.70",  # JPEG lossless, first order
    "1.2.840.10008.1.2.4.57",  # JPEG lossless
    "1.2.840.10008.1.2.4.80",  # JPEG-LS lossless
    "1.2.840.10008.1.2.4.90",  # JPEG 2000 lossless
    "1.2.840.10008.1.2.4.81",  # JPEG-LS
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
    "1.2.840.10008.1.2.4.50",  # JPEG baseline
    "1.2.840.10008.1.2.4.51",  # JPEG extended
)
_REASONS = {
    (1, 1): "its address is not in dicom.addresses",
    (1, 3): "its AE title is not in dicom.calling_ae_titles",
    (1, 7): "it calls another AE title than dicom.ae_title",
    (3, 2): "as many associations as dicom.associations are open",
}


class Log(Protocol):
    """Takes a log event: its dotted name and fields."""

    def __call__(self, event: str, /, **fields: object) -> None:
        """Log one event."""


@dataclass(frozen=True, slots=True)
class Options:
    """Where to listen and whom to let in. No `calling_ae_titles`: whoever comes from `networks`.

    `header` makes what stands before a data set of a class, instance and transfer syntax UID; it
    raises `ValueError`.
    """

    host: str
    port: int
    ae_title: str
    calling_ae_titles: tuple[str, ...]
    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]
    associations: int
    silence_s: float
    request_s: float
    header: Header


class Receiver:
    """Listens in threads of its own from `start` to `stop`."""

    def __init__(
        self,
        options: Options,
        opened: Callable[[], Delivery],
        *,
        log: Log,
        monotonic: Callable[[], float],
    ) -> None:
        self._options = options
        self._opened = opened
        self._log = log
        self._monotonic = monotonic
        self._sessions: dict[Association, _Session] = {}
        self._server: Server | None = None
        self._last: list[Association] = []  # who was in when it stopped

    def start(self) -> tuple[str, int]:
        """Listen; return the address and port.

        Raises:
            TryAgainLater: the port is taken.
            ConfigError: this machine cannot listen there.
        """
        self._server = listen(
            self._entity(),
            (self._options.host, self._options.port),
            self._handlers(),
            most_connections=self._options.associations + STRANGERS,
            on_defect=lambda error: self._log("receive.defect", error=error),
        )
        host, port, *_ = self._server.server_address
        return str(host), int(port)

    def stop(self, grace_s: float) -> bool:
        """Let nobody in, wait for those who are, then abort; false: a thread hangs in a disk."""
        if self._server is None:
            return True
        self._server.end()
        self._last = associations = self._server.active_associations
        deadline = self._monotonic() + grace_s
        for association in associations:
            association.join(max(0.0, deadline - self._monotonic()))
        for association in associations:
            if association.is_alive():
                association.abort(block=False)
        deadline = self._monotonic() + ABORT_S
        for association in associations:
            association.join(max(0.0, deadline - self._monotonic()))
        return self.has_gone()

    def has_gone(self) -> bool:
        """Tell, after `stop`, whether the last thread has ended by now."""
        self._sweep()
        return not any(one.is_alive() or one.dul.is_alive() for one in self._last)

    def _entity(self) -> AE:
        entity = AE(self._options.ae_title)
        entity.require_called_aet = True
        entity.require_calling_aet = list(self._options.calling_ae_titles)
        entity.maximum_associations = self._options.associations
        entity.maximum_pdu_size = LARGEST_PDU_BYTES
        entity.acse_timeout = self._options.request_s
        entity.dimse_timeout = self._options.silence_s
        entity.network_timeout = self._options.silence_s
        entity.add_supported_context(VERIFICATION)
        for context in AllStoragePresentationContexts:
            if context.abstract_syntax is not None:
                entity.add_supported_context(context.abstract_syntax, list(TRANSFER_SYNTAXES))
        return entity

    def _handlers(self) -> list[EventHandlerType]:
        return [
            (evt.EVT_CONN_OPEN, self._connected),
            (evt.EVT_CONN_CLOSE, self._closed),
            (evt.EVT_REQUESTED, self._requested),
            (evt.EVT_ACCEPTED, self._accepted),
            (evt.EVT_REJECTED, self._rejected),
            (evt.EVT_C_ECHO, lambda _: SUCCESS),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_RELEASED, partial(self._ended, word="association.released")),
            (evt.EVT_ABORTED, partial(self._ended, word="association.aborted")),
        ]

    # --- the life of an association ---------------------------------------------------------------

    def _connected(self, event: Event) -> None:
        self._sweep()
        association = event.assoc
        session = _Session(self._opened(), since=self._monotonic())
        self._sessions[association] = session
        association.dimse = Dimse(association, session.delivery, self._options.header)
        tame(association)

    def _session_of(self, association: Association) -> _Session:
        """Return an association's session; a new one if its connection ended under our hands."""
        session = self._sessions.get(association)
        return session or _Session(self._opened(), since=self._monotonic())

    def _closed(self, event: Event) -> None:
        """Wake the thread of a connection that ended before it asked for anything."""
        session = self._sessions.get(event.assoc)
        if session is not None and not session.peer:
            self._end(event.assoc, "association.aborted")
            queue: Any = event.assoc.dul.to_user_queue
            queue.put(None)

    def _requested(self, event: Event) -> None:
        association = event.assoc
        session = self._session_of(association)
        address = association.requestor.address
        request = association.requestor.primitive
        session.peer = f"{_harmless(getattr(request, 'calling_ae_title', ''))}@{address}"
        if not self._is_welcome(address):
            association.acse.send_reject(REJECTED_PERMANENT, BY_SERVICE_USER, NO_REASON_GIVEN)
            self._rejected(event)
            association.kill()

    def _is_welcome(self, text: str) -> bool:
        address = ipaddress.ip_address(text.partition("%")[0])
        if isinstance(address, ipaddress.IPv6Address):
            address = address.ipv4_mapped or address
        return any(address in network for network in self._options.networks)

    def _accepted(self, event: Event) -> None:
        session = self._session_of(event.assoc)
        session.is_accepted = True
        self._log("association.accepted", peer=session.peer)

    def _rejected(self, event: Event) -> None:
        session = self._session_of(event.assoc)
        self._sessions.pop(event.assoc, None)
        answer: Any = event.assoc.acceptor.primitive
        why = _REASONS.get((answer.result_source, answer.diagnostic), "not acceptable")
        self._log("association.rejected", peer=session.peer, reason=why)

    def _ended(self, event: Event, *, word: str) -> None:
        self._end(event.assoc, word)

    def _sweep(self) -> None:
        """End the sessions of threads that died without a word."""
        for association in tuple(self._sessions):
            if association.ident is not None and not association.is_alive():
                self._end(association, "association.aborted")

    def _end(self, association: Association, word: str) -> None:
        session = self._sessions.pop(association, None)
        if session is None:
            return
        with suppress(WatcherError, OSError):  # what is left is hidden, and the next start's
            session.delivery.end()
        if session.is_accepted:
            self._log(
                word,
                peer=session.peer,
                count=session.kept,
                refused=session.refused,
                bytes=session.size_bytes,
                duration_s=round(self._monotonic() - session.since, 3),
            )

    # --- one instance -----------------------------------------------------------------------------

    def _store(self, event: Event) -> Dataset:
        session = self._session_of(event.assoc)
        request: Any = event.request
        try:
            status, comment = self._keep(session, request)
        except Exception as error:  # noqa: BLE001 - the library would end the association, unsaid
            self._log("receive.defect", peer=session.peer, error=error)
            status, comment = PROCESSING_FAILURE, "defect of the receiver"
        answer = Dataset()
        answer.Status = status
        if status != SUCCESS:
            session.refused += 1
            answer.ErrorComment = comment[:COMMENT_LENGTH]
        return answer

    def _keep(self, session: _Session, request: Any) -> tuple[int, str]:
        arriving: Arriving = request.DataSet
        try:
            draft = arriving.finished()
            session.delivery.keep(draft, str(request.AffectedSOPInstanceUID))
        except WatcherError as fault:
            if fault.code not in session.told:
                session.told.add(fault.code)
                fields = {"reason": fault.message, "code": fault.code, "hint": fault.hint or None}
                self._log("instance.refused", peer=session.peer, **fields)
            is_input = isinstance(fault, InputFault)
            return CANNOT_UNDERSTAND if is_input else OUT_OF_RESOURCES, fault.message
        session.kept += 1
        session.size_bytes += draft.size_bytes
        return SUCCESS, ""


@dataclass(slots=True)
class _Session:
    """What is known of one association. `told` are the codes of faults that were logged."""

    delivery: Delivery
    since: float
    peer: str = ""
    is_accepted: bool = False
    kept: int = 0
    refused: int = 0
    size_bytes: int = 0
    told: set[str] = field(default_factory=set)


def _harmless(title: str) -> str:
    """Return an AE title without anything that a log could be tricked by."""
    return "".join(char if char.isalnum() or char in "-_. " else "?" for char in title)[:16].strip()
