"""A PACS for tests: instances of an invented patient, and the sending of them over loopback."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.events import EVT_CONN_OPEN, Event

PATIENT = "Musterfrau^Erika"
SERVER_TITLE = "VPE-WATCHER"
VERIFICATION = "1.2.840.10008.1.1"


def instance(
    *, rows: int = 4, seed: int = 1, syntax: str = ExplicitVRLittleEndian, number: int = 1
) -> Dataset:
    """Return a CT slice; the same number is the same instance, another seed other pixels."""
    slice_ = Dataset()
    slice_.SOPClassUID = CTImageStorage
    slice_.SOPInstanceUID = f"2.25.1000{number}"
    slice_.SeriesInstanceUID = "2.25.77"
    slice_.StudyInstanceUID = "2.25.78"
    slice_.PatientName = PATIENT
    slice_.PatientID = "4711-0815"
    slice_.Modality = "CT"
    slice_.InstanceNumber = number
    slice_.Rows = slice_.Columns = rows
    slice_.SamplesPerPixel = 1
    slice_.PhotometricInterpretation = "MONOCHROME2"
    slice_.BitsAllocated = slice_.BitsStored = 16
    slice_.HighBit, slice_.PixelRepresentation = 15, 0
    slice_.add_new("PixelData", "OW", bytes([seed]) * (rows * rows * 2))
    slice_.file_meta = FileMetaDataset()
    slice_.file_meta.TransferSyntaxUID = UID(syntax)
    slice_.file_meta.MediaStorageSOPClassUID = CTImageStorage
    slice_.file_meta.MediaStorageSOPInstanceUID = slice_.SOPInstanceUID
    return slice_


def fresh_instance(*, rows: int = 4) -> Dataset:
    """Return a CT slice that nobody has sent yet."""
    found = instance(rows=rows)
    found.SOPInstanceUID = found.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    return found


@contextmanager
def associated(
    port: int,
    *,
    calling: str = "PACS1",
    called: str = SERVER_TITLE,
    syntaxes: Sequence[str] = (ExplicitVRLittleEndian,),
) -> Iterator[Association]:
    """Ask for an association, established or not; it is released or aborted in the end."""
    entity = AE(calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 20
    entity.add_requested_context(CTImageStorage, list(syntaxes))
    entity.add_requested_context(VERIFICATION)
    sockets: list[Any] = []

    def take_note(event: Event) -> None:
        connection: Any = event.assoc.dul.socket
        sockets.append(connection.socket)

    association = entity.associate(
        "127.0.0.1", port, ae_title=called, evt_handlers=[(EVT_CONN_OPEN, take_note)]
    )
    try:
        yield association
    finally:
        if association.is_established:
            association.release()
        if association.ident is not None:
            association.join(10)
        for opened in sockets:  # the library forgets to, when the other end was faster
            opened.close()


def status_of(association: Association, sent: Dataset) -> int:
    """Send an instance and return the status that came back; -1: none came."""
    answer = association.send_c_store(sent)
    return int(answer.Status) if "Status" in answer else -1
