"""Files to and from pre-signed URLs. Owns blocks, digests, sizes and stopping; keeps no file.

Trouble of the local file leaves as the `OSError` that it is; trouble of the network never does.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import requests

from vpe_watcher.adapters.engine.answers import check_link
from vpe_watcher.adapters.engine.faults import host_of, mapped
from vpe_watcher.adapters.engine.transport import (
    BLOCK_BYTES,
    Anonymous,
    Call,
    Transport,
    blocks_of,
)
from vpe_watcher.adapters.engine.values import Download
from vpe_watcher.core.errors import HostFault, InputChanged, Stopped

PIECE_BYTES = 256 * 1024


class SourceFailed(Exception):
    """Carries an OSError of the file past the libraries, who would take it for the network's."""

    def __init__(self, error: OSError) -> None:
        super().__init__()
        self.error = error


class FileBody:
    """The body of an upload: exactly `size` bytes of a file, or an exception before the last.

    Has a length, so that the request gets a Content-Length and is never chunked.
    """

    def __init__(
        self,
        file: BinaryIO,
        *,
        modality: str,
        size: int,
        on_progress: Callable[[int], None],
        should_stop: Callable[[], bool],
    ) -> None:
        self._file = file
        self._modality = modality
        self._size = size
        self._on_progress = on_progress
        self._should_stop = should_stop
        self._digest = hashlib.sha256()
        self._told = 0
        self.given = 0

    def __len__(self) -> int:
        """Return the announced size in bytes."""
        return self._size

    def __iter__(self) -> Iterator[memoryview]:
        """Yield the file in pieces; each is told as sent when the next one is asked for."""
        left = self._size
        while left:
            block = self._read(min(left, BLOCK_BYTES))
            left -= len(block)
            if not block or (not left and self._read(1)):
                raise changed(self._modality)
            self._digest.update(block)
            for start in range(0, len(block), PIECE_BYTES):
                yield from self._piece(memoryview(block)[start : start + PIECE_BYTES])

    def finish(self) -> str:
        """Tell the last progress, return the digest of the bytes that were given out."""
        self._tell()
        return self._digest.hexdigest()

    def check_empty(self) -> None:
        """Raise if a file that should be empty is not."""
        if self._size == 0 and self._read(1):
            raise changed(self._modality)

    def _piece(self, piece: memoryview) -> Iterator[memoryview]:
        if self._should_stop():
            raise stopped("upload")
        self.given += len(piece)
        yield piece
        self._tell()

    def _tell(self) -> None:
        if self._told != self.given:
            self._told = self.given
            self._on_progress(self.given)

    def _read(self, amount: int) -> bytes:
        try:
            return self._file.read(amount)
        except OSError as error:
            raise SourceFailed(error) from error


def upload(
    transport: Transport,
    *,
    url: str,
    path: Path,
    modality: str,
    size: int,
    on_progress: Callable[[int], None],
    should_stop: Callable[[], bool],
    now_s: Callable[[], float],
) -> str:
    """PUT a file of `size` bytes to a pre-signed URL and return the SHA-256 of what was sent."""
    with open_source(path, modality=modality, size=size) as file:
        body = FileBody(
            file,
            modality=modality,
            size=size,
            on_progress=on_progress,
            should_stop=should_stop,
        )
        try:
            body.check_empty()
            _put(transport, url=url, body=body, now_s=now_s)
        except SourceFailed as failed:
            raise failed.error from None
    return body.finish()


def download(
    transport: Transport,
    *,
    url: str,
    target: BinaryIO,
    size: int | None,
    on_progress: Callable[[int], None],
    should_stop: Callable[[], bool],
    now_s: Callable[[], float],
) -> Download:
    """GET a pre-signed URL into `target`; raise HostFault if it is not of the expected size."""
    host = host_of(url)
    call = Call("GET", url, breaker=f"download:{host}", auth=Anonymous())
    digest, received = hashlib.sha256(), 0
    with transport.stream(call) as response:
        check_link(
            response.status_code, response.headers, verb="download", host=host, now_s=now_s()
        )
        check_announced(response, size=size, host=host)
        for block in received_blocks(response, call=call):
            if should_stop():
                raise stopped("download")
            received += len(block)
            if size is not None and received > size:
                raise size_fault("size_differs", host=host, size=size, received=received)
            target.write(block)
            digest.update(block)
            on_progress(received)
        check_received(response, size=size, received=received, host=host)
    return Download(received, digest.hexdigest())


def open_source(path: Path, *, modality: str, size: int) -> BinaryIO:
    """Open a regular file of exactly this size; raise InputChanged if it is something else."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    descriptor = os.open(path, flags)
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and status.st_size == size:
        return os.fdopen(descriptor, "rb", buffering=0)
    os.close(descriptor)
    raise changed(modality)


def received_blocks(response: requests.Response, *, call: Call) -> Iterator[bytes]:
    """Yield a body; only the network's trouble is mapped, not that of whoever takes the blocks."""
    blocks = blocks_of(response)
    while True:
        with mapped(breaker=call.breaker, host=host_of(call.url)):
            block = next(blocks, b"")
        if not block:
            return
        yield block


def check_announced(response: requests.Response, *, size: int | None, host: str) -> None:
    """Raise before the first byte if the announced length cannot be right."""
    announced = content_length(response)
    if size is not None and announced is not None and announced != size:
        raise size_fault("size_differs", host=host, size=size, received=announced)


def check_received(
    response: requests.Response, *, size: int | None, received: int, host: str
) -> None:
    """Raise if fewer bytes came than were announced or expected."""
    announced = content_length(response)
    if announced is not None and received != announced:
        raise size_fault("download_truncated", host=host, size=announced, received=received)
    if size is not None and received != size:
        code = "download_truncated" if announced is None else "size_differs"
        raise size_fault(code, host=host, size=size, received=received)


def content_length(response: requests.Response) -> int | None:
    """Return the length of the body in bytes, None if it is not known or the body is encoded."""
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        return None
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdigit() else None


def size_fault(code: str, *, host: str, size: int, received: int) -> HostFault:
    """Return the fault for a download that is not what was announced."""
    return HostFault(
        f"The download at {host} has {received} bytes instead of {size}.",
        code=code,
        breaker=f"download:{host}",
    )


def changed(modality: str) -> InputChanged:
    """Return the fault for a file that is shorter or longer than it was."""
    return InputChanged(
        f"The file for {modality} is not what it was when it was claimed.", code="input_changed"
    )


def stopped(verb: str) -> Stopped:
    """Return the fault for a transfer that was told to stop."""
    return Stopped(f"The {verb} was stopped.", code="stopped")


def _put(transport: Transport, *, url: str, body: FileBody, now_s: Callable[[], float]) -> None:
    host = host_of(url)
    call = Call(
        "PUT",
        url,
        breaker=f"upload:{host}",
        auth=Anonymous(),
        # requests sends an empty body of unknown kind chunked: none at all has Content-Length: 0
        data=body if len(body) else None,
        content_type="application/octet-stream",
    )
    answer = transport.call(call)
    check_link(answer.status, answer.headers, verb="upload", host=host, now_s=now_s())
    if body.given != len(body):
        raise HostFault(
            f"The upload at {host} was answered before all of it was sent.",
            code="upload_incomplete",
            breaker=call.breaker,
        )
