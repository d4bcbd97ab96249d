"""From the pieces of a message to a draft: nothing of a data set is gathered in memory."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ, DIMSEMessage
from pynetdicom.pdu_primitives import P_DATA

from vpe_watcher.core.errors import InputFault

Header = Callable[[str, str, str], bytes]


class Draft(Protocol):
    """One instance while it arrives."""

    @property
    def size_bytes(self) -> int:
        """Return how much was written."""

    def write(self, data: bytes, /) -> None:
        """Append bytes. Raises `WatcherError`."""


class Delivery(Protocol):
    """What comes over one association. A draft goes back to where it came from."""

    def begin(self, header: bytes, /) -> Any:
        """Open a draft that begins with these bytes. Raises `WatcherError`."""

    def keep(self, draft: Any, sop_instance_uid: str, /) -> bool:
        """Make a draft durable; false: it was there. Raises `InputFault`, `EnvironmentFault`."""

    def end(self) -> None:
        """Remove what did not become whole. Raises `WatcherError`."""


class Arriving(io.BytesIO):
    """Stands where the library gathers a data set in memory, and passes it on instead.

    Written to by the thread that reads the network: what goes wrong is kept for the one that
    answers.
    """

    def __init__(self, begin: Callable[[], Draft]) -> None:
        super().__init__()
        self._begin = begin
        self._draft: Draft | None = None
        self._fault: Exception | None = None

    def write(self, data: Any, /) -> int:
        """Pass bytes on; after a fault they are dropped."""
        if self._fault is None:
            try:
                if self._draft is None:
                    self._draft = self._begin()
                self._draft.write(data)
            except Exception as error:  # noqa: BLE001 - raised again by `finished`
                self._fault = error
        return len(data)

    def finished(self) -> Draft:
        """Return the draft that holds it all. Raises what went wrong on the way."""
        if self._fault is not None:
            raise self._fault
        if self._draft is None:
            raise _refused("The instance has no data set.", code="instance_empty")
        return self._draft


class Dimse(DIMSEServiceProvider):
    """Lets each data set of an association go where its delivery wants it.

    `header` makes what stands before a data set of a class, instance and transfer syntax UID; it
    raises `ValueError`.
    """

    def __init__(self, association: Association, delivery: Delivery, header: Header) -> None:
        super().__init__(association)
        self._delivery = delivery
        self._header = header

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take one more piece of a message."""
        if self.message is None:
            self.message = DIMSEMessage()
            self.message.data_set = Arriving(partial(self._begin, self.message))
        super().receive_primitive(primitive)

    def _begin(self, message: DIMSEMessage) -> Draft:
        if not isinstance(message, C_STORE_RQ):
            raise _refused("Only instances are taken.", code="not_an_instance")
        contexts = {context.context_id: context for context in self.assoc.accepted_contexts}
        context = contexts.get(message.context_id)
        if context is None:
            raise _refused("The presentation context was not accepted.", code="wrong_context")
        command: Any = message.command_set
        try:
            header = self._header(
                str(command.AffectedSOPClassUID),
                str(command.AffectedSOPInstanceUID),
                str(context.transfer_syntax[0]),
            )
        except (AttributeError, ValueError) as error:
            raise _refused("The instance has no usable UIDs.", code="instance_uid") from error
        draft: Draft = self._delivery.begin(header)
        return draft


def _refused(message: str, *, code: str) -> InputFault:
    return InputFault(message, code=code, hint="Look at the sender: it must send something else.")
