"""The receiver on loopback: who may send, and what each instance is answered."""

from __future__ import annotations

import errno
import ipaddress
import logging
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from pydicom.uid import (
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from pynetdicom.association import Association
from pynetdicom.dsutils import encode

from tests.pacs import PATIENT, SERVER_TITLE, associated, instance, status_of
from vpe_watcher.adapters.dicom_receiver import Options, Receiver
from vpe_watcher.core.errors import ConfigError, EnvironmentFault, InputFault, TryAgainLater

FULL = EnvironmentFault("No space.", code="folder_enospc", hint="Free some.", breaker="disk")
GARBAGE = InputFault("The instance ends early.", code="instance_incomplete")
OPTIONS = Options(
    host="127.0.0.1",
    port=0,
    ae_title=SERVER_TITLE,
    calling_ae_titles=(),
    networks=(ipaddress.ip_network("127.0.0.0/8"),),
    associations=10,
    silence_s=20.0,
    request_s=20.0,
    header=lambda *uids: ("|".join(uids) + "|").encode(),
)


@dataclass
class Sink:
    """A draft in memory that knows how large its pieces were."""

    pieces: list[bytes] = field(default_factory=list)

    @property
    def size_bytes(self) -> int:
        """Return how much was written."""
        return sum(map(len, self.pieces))

    def write(self, data: bytes) -> None:
        """Append bytes."""
        self.pieces.append(bytes(data))


@dataclass
class Store:
    """Where deliveries end in these tests; `faults` are raised, one by one, by `keep`."""

    kept: dict[str, Sink] = field(default_factory=dict)
    faults: list[Exception] = field(default_factory=list)
    begin_fault: Exception | None = None
    begun: int = 0
    ended: int = 0
    end_fault: Exception | None = None

    def begin(self, header: bytes) -> Sink:
        """Open a draft."""
        if self.begin_fault is not None:
            raise self.begin_fault
        self.begun += 1
        return Sink([header])

    def keep(self, draft: Sink, uid: str) -> bool:
        """Keep a draft, or fail as it was told to."""
        if self.faults:
            raise self.faults.pop(0)
        self.kept[uid] = draft
        return True

    def end(self) -> None:
        """Count."""
        self.ended += 1
        if self.end_fault is not None:
            raise self.end_fault


@dataclass
class Running:
    """A receiver that listens, where it puts things, and what it logged."""

    port: int
    store: Store
    log: list[tuple[str, dict[str, Any]]]
    receiver: Receiver

    def words(self) -> list[str]:
        """Return the events that were logged."""
        return [event for event, _ in self.log]

    def fields(self, event: str) -> dict[str, Any]:
        """Return the fields of the only event of that name."""
        (found,) = [fields for name, fields in self.log if name == event]
        return found


@contextmanager
def running(options: Options = OPTIONS, store: Store | None = None) -> Iterator[Running]:
    """Run a receiver until the block ends."""
    store, log = store or Store(), list[tuple[str, dict[str, Any]]]()

    def take_note(event: str, /, **fields: object) -> None:
        log.append((event, fields))

    receiver = Receiver(options, lambda: store, log=take_note, monotonic=time.monotonic)
    _, port = receiver.start()
    try:
        yield Running(port, store, log, receiver)
    finally:
        assert receiver.stop(10)


def until(is_so: Callable[[], object]) -> None:
    """Wait for what another thread does."""
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def rejection(association: Association) -> tuple[int | None, ...]:
    """Return result, source and reason of a rejection."""
    answer: Any = association.acceptor.primitive
    assert association.is_rejected
    return answer.result, answer.result_source, answer.diagnostic


def test_an_echo_is_answered() -> None:
    """A PACS tries the connection before it sends."""
    with running() as here, associated(here.port) as association:
        assert association.send_c_echo().Status == 0x0000


def test_bytes_pass_as_they_came() -> None:
    """Nothing is decoded: header, then each byte of the data set."""
    sent = instance(rows=512)
    with running() as here:
        with associated(here.port) as association:
            assert status_of(association, sent) == 0x0000
        until(lambda: "association.released" in here.words())
        sink = here.store.kept[sent.SOPInstanceUID]
        head = f"{sent.SOPClassUID}|{sent.SOPInstanceUID}|{ExplicitVRLittleEndian}|".encode()
        body = encode(sent, is_implicit_vr=False, is_little_endian=True)
        assert b"".join(sink.pieces) == head + (body or b"")
        fields = here.fields("association.released")
        assert (fields["count"], fields["refused"], fields["bytes"]) == (1, 0, sink.size_bytes)
        assert fields["peer"] == "PACS1@127.0.0.1"
    assert here.store.ended == 1


def test_a_data_set_is_never_gathered_in_memory() -> None:
    """Whatever its length, it passes in pieces of at most one PDU."""
    sent = instance(rows=2048)
    with running() as here, associated(here.port) as association:
        assert status_of(association, sent) == 0x0000
        pieces = here.store.kept[sent.SOPInstanceUID].pieces
    assert len(pieces) > 60
    assert max(map(len, pieces)) <= 128 * 1024


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        RLELossless,
        JPEGLossless,
        JPEGLosslessSV1,
        JPEGLSLossless,
        JPEG2000Lossless,
        JPEG2000,
    ],
)
def test_each_transfer_syntax_of_the_engine_is_taken(syntax: str) -> None:
    """As it comes: nothing is converted."""
    with running() as here, associated(here.port, syntaxes=[syntax]) as association:
        accepted = [context.transfer_syntax for context in association.accepted_contexts]
    assert [syntax] in accepted


def test_of_several_syntaxes_the_plain_one_is_chosen() -> None:
    """A sender that can decompress is asked to."""
    offered = [JPEG2000, JPEGLosslessSV1, ImplicitVRLittleEndian, ExplicitVRLittleEndian]
    with running() as here, associated(here.port, syntaxes=offered) as association:
        accepted = [context.transfer_syntax for context in association.accepted_contexts]
    assert [ExplicitVRLittleEndian] in accepted


def test_a_film_is_not_taken() -> None:
    """A transfer syntax that the Engine cannot read is refused before anything is sent."""
    with running() as here:
        with associated(here.port, syntaxes=["1.2.840.10008.1.2.4.100"]) as association:
            assert len(association.rejected_contexts) == 1
        until(lambda: "association.released" in here.words())


@pytest.mark.parametrize(
    ("options", "names", "answer"),
    [
        (replace(OPTIONS, calling_ae_titles=("CBCT", "PACS2")), {}, (1, 1, 3)),
        (OPTIONS, {"called": "ANY-SCP"}, (1, 1, 7)),
        (replace(OPTIONS, networks=(ipaddress.ip_network("10.1.0.0/16"),)), {}, (1, 1, 1)),
    ],
)
def test_who_may_not_send_is_told_why(
    options: Options, names: dict[str, str], answer: tuple[int, ...]
) -> None:
    """Rejected for good, with the reason of DICOM, and nothing is opened for it."""
    with running(options) as here:
        with associated(here.port, **names) as association:
            assert rejection(association) == answer
        until(lambda: "association.rejected" in here.words())
        assert "dicom." in here.fields("association.rejected")["reason"]
        assert here.fields("association.rejected")["peer"] == "PACS1@127.0.0.1"
    assert here.store.begun == 0


def test_who_is_on_the_lists_may_send() -> None:
    """Title and network both fit."""
    options = replace(
        OPTIONS,
        calling_ae_titles=("CBCT", "PACS1"),
        networks=(ipaddress.ip_network("::1/128"), ipaddress.ip_network("127.0.0.1/32")),
    )
    with running(options) as here, associated(here.port) as association:
        assert status_of(association, instance()) == 0x0000


def test_one_more_than_allowed_is_told_to_come_again() -> None:
    """A transient rejection: the limit is ours."""
    with running(replace(OPTIONS, associations=1)) as here:
        with associated(here.port) as first:
            with associated(here.port) as second:
                assert rejection(second) == (2, 3, 2)
            assert first.send_c_echo().Status == 0x0000
        until(lambda: here.store.ended == 1)
        with associated(here.port) as third:
            assert third.is_established


@pytest.mark.parametrize(
    ("fault", "status"), [(FULL, 0xA700), (GARBAGE, 0xC000), (RuntimeError("a defect"), 0x0110)]
)
def test_a_fault_is_answered_and_the_next_instance_taken(fault: Exception, status: int) -> None:
    """Each kind has its status, and no fault ends the association."""
    with running(store=Store(faults=[fault])) as here:
        with associated(here.port) as association:
            assert status_of(association, instance(number=1)) == status
            assert status_of(association, instance(number=2)) == 0x0000
        until(lambda: "association.released" in here.words())
        fields = here.fields("association.released")
        assert (fields["count"], fields["refused"]) == (1, 1)
    word = "receive.defect" if status == 0x0110 else "instance.refused"
    assert word in here.words()


def test_the_sender_hears_the_reason() -> None:
    """The comment of the answer holds the sentence, as far as DICOM has room."""
    long = EnvironmentFault("No " * 40, code="x", breaker="disk")
    with running(store=Store(faults=[long])) as here, associated(here.port) as association:
        answer = association.send_c_store(instance())
    assert answer.ErrorComment.startswith("No No")
    assert len(answer.ErrorComment) <= 64


def test_a_fault_is_logged_once_for_an_association() -> None:
    """A full disk and 500 slices make one line."""
    with running(store=Store(begin_fault=FULL)) as here:
        with associated(here.port) as association:
            statuses = {status_of(association, instance(number=n)) for n in range(5)}
        until(lambda: "association.released" in here.words())
        assert statuses == {0xA700}
        assert here.fields("instance.refused")["hint"] == "Free some."
        assert here.fields("association.released")["refused"] == 5


def test_an_instance_with_a_uid_that_is_none_is_not_understood() -> None:
    """What makes the header says no, and the sender hears it."""

    def refuse(*_: str) -> bytes:
        raise ValueError

    with running(replace(OPTIONS, header=refuse)) as here, associated(here.port) as association:
        assert status_of(association, instance()) == 0xC000
        assert here.store.begun == 0


def test_an_aborted_association_is_cleaned_up() -> None:
    """What did not become whole goes, and the log says that it was cut."""
    with running() as here:
        with associated(here.port) as association:
            assert status_of(association, instance()) == 0x0000
            association.abort()
        until(lambda: here.store.ended == 1)
        assert here.fields("association.aborted")["count"] == 1


def test_a_broken_connection_is_cleaned_up() -> None:
    """No goodbye, no end of the message: the same."""
    with running() as here:
        with associated(here.port) as association:
            network: Any = association.dul.socket
            network.socket.shutdown(socket.SHUT_RDWR)
            until(lambda: here.store.ended == 1)
        assert "association.aborted" in here.words()


def test_a_stranger_that_announces_gigabytes_is_cut_off() -> None:
    """Nobody makes us gather what no message can be."""
    with running() as here:
        with socket.create_connection(("127.0.0.1", here.port), 20) as stranger:
            stranger.sendall(struct.pack(">BBI", 1, 0, 0xFFFFFFFF) + bytes(1000))
            with suppress(ConnectionResetError):
                while stranger.recv(100):
                    pass
        with associated(here.port) as association:
            assert association.is_established


def test_noise_leaves_no_word_and_no_harm(capfd: pytest.CaptureFixture[str]) -> None:
    """A port scan, a web browser, a connection without a word."""
    with running() as here:
        for noise in (b"", b"GET / HTTP/1.1\r\n\r\n", b"\x04\0\0\0\0\x10" + bytes(16)):
            with socket.create_connection(("127.0.0.1", here.port), 20) as stranger:
                stranger.sendall(noise)
        with associated(here.port) as association:
            assert status_of(association, instance()) == 0x0000
        until(lambda: here.store.ended == 4)
    assert capfd.readouterr() == ("", "")


def test_no_log_at_any_level_names_a_patient(caplog: pytest.LogCaptureFixture) -> None:
    """Neither our events nor a word of the library, whatever its level."""
    sent = instance()
    caplog.set_level(logging.DEBUG)
    with running(store=Store(faults=[GARBAGE, RuntimeError(PATIENT)])) as here:
        with associated(here.port) as association:
            sent_statuses = [status_of(association, sent) for _ in range(3)]
            association.abort()
        until(lambda: here.store.ended == 1)
    assert sent_statuses == [0xC000, 0x0110, 0x0000]
    told = [record.getMessage() for record in caplog.records]
    told += [
        f"{event} { {k: v for k, v in fields.items() if k != 'error'} }"
        for event, fields in here.log
    ]
    for secret in (PATIENT, "Musterfrau", sent.PatientID, sent.SOPInstanceUID):
        assert [line for line in told if str(secret) in line] == []


def test_a_title_cannot_trick_the_log() -> None:
    """What a stranger calls itself is shown without control characters."""
    with running(replace(OPTIONS, calling_ae_titles=("PACS1",))) as here:
        with associated(here.port, calling='A"{\x7e}$') as association:
            assert association.is_rejected
        until(lambda: "association.rejected" in here.words())
        assert here.fields("association.rejected")["peer"] == "A?????@127.0.0.1"


def test_a_stop_waits_for_who_is_there_and_then_aborts() -> None:
    """Nobody is let in any more; an association that does not end is aborted."""
    with running() as here, associated(here.port) as association:
        assert status_of(association, instance()) == 0x0000
        assert here.receiver.stop(0.2)
        until(lambda: association.is_aborted)
        assert "association.aborted" in here.words()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", here.port), 5)


def test_a_disk_that_fails_at_the_end_does_not_keep_the_place() -> None:
    """Who has died without a word is known to have gone all the same, and its end is told."""
    store = Store(end_fault=OSError(errno.EIO, "sick"))
    with running(store=store) as here, associated(here.port) as association:
        assert status_of(association, instance()) == 0
        association.abort()
        until(lambda: "association.aborted" in here.words())
    assert here.receiver.has_gone()


def test_a_taken_port_is_for_later() -> None:
    """Exit 75, and the sentence names the address."""
    with running() as here:
        second = Receiver(
            replace(OPTIONS, port=here.port),
            Store,
            log=lambda *_, **__: None,
            monotonic=time.monotonic,
        )
        with pytest.raises(TryAgainLater) as caught:
            second.start()
        assert f"127.0.0.1:{here.port}" in caught.value.message


def test_an_address_of_another_machine_is_a_mistake() -> None:
    """Exit 78: somebody must change the configuration."""
    receiver = Receiver(
        replace(OPTIONS, host="192.0.2.1"),
        Store,
        log=lambda *_, **__: None,
        monotonic=time.monotonic,
    )
    with pytest.raises(ConfigError):
        receiver.start()
    assert receiver.stop(1)


def test_it_listens_on_ipv6_too() -> None:
    """A sender by IPv4 on a socket for both is known by its IPv4 address."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::", 0))
    except OSError:
        pytest.skip("this machine has no IPv6")
    with running(replace(OPTIONS, host="::")) as here, associated(here.port) as association:
        assert association.is_established
