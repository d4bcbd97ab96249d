"""What stands before a data set from the network, read by another implementation."""

from __future__ import annotations

import io

import pydicom
import pytest

from vpe_watcher.formats.file_meta import IMPLEMENTATION_UID, file_meta

CLASS, INSTANCE, SYNTAX = "1.2.840.10008.5.1.4.1.1.2", "2.25.4711", "1.2.840.10008.1.2.1"


@pytest.mark.parametrize("instance", [INSTANCE, f"{INSTANCE}1", "1." + "2" * 62])
def test_pydicom_reads_what_was_written(instance: str) -> None:
    """UIDs of odd and even length come back, and the length of the group is right."""
    head = file_meta(sop_class_uid=CLASS, sop_instance_uid=instance, transfer_syntax_uid=SYNTAX)
    found = pydicom.dcmread(io.BytesIO(head)).file_meta
    assert found.MediaStorageSOPClassUID == CLASS
    assert found.MediaStorageSOPInstanceUID == instance
    assert found.TransferSyntaxUID == SYNTAX
    assert found.ImplementationClassUID == IMPLEMENTATION_UID
    assert found.ImplementationClassUID.is_valid
    assert found.FileMetaInformationVersion == b"\0\1"
    assert found.FileMetaInformationGroupLength == len(head) - 132 - 12


def test_the_same_instance_has_the_same_head() -> None:
    """No time and no chance in it: files can be compared byte by byte."""
    heads = {
        file_meta(sop_class_uid=CLASS, sop_instance_uid=INSTANCE, transfer_syntax_uid=SYNTAX)
        for _ in range(2)
    }
    assert len(heads) == 1


@pytest.mark.parametrize("uid", ["", "None", "1.2.3/..", "1" * 65, "1.2 ", "1.2\n"])
@pytest.mark.parametrize("place", ["sop_class_uid", "sop_instance_uid", "transfer_syntax_uid"])
def test_what_is_no_uid_is_refused(uid: str, place: str) -> None:
    """Nothing but digits and dots gets into a header."""
    uids = {"sop_class_uid": CLASS, "sop_instance_uid": INSTANCE, "transfer_syntax_uid": SYNTAX}
    with pytest.raises(ValueError, match="UID"):
        file_meta(**(uids | {place: uid}))
