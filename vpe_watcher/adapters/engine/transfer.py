"""Files to and from pre-signed URLs. Owns pieces, digests, sizes and stopping; keeps no file.

Trouble of the local file leaves as the `OSError` that it is; trouble of the network never does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

import requests

from vpe_watcher.adapters.engine.answers import check_link
from vpe_watcher.adapters.engine.faults import host_of, mapped
from vpe_watcher.adapters.engine.pace import Pace
from vpe_watcher.adapters.engine.sources import (
    SourceFailed,
    changed,
    check_empty,
    file_blocks,
    open_source,
)
from vpe_watcher.adapters.engine.transport import Anonymous, Call, Transport, blocks_of
from vpe_watcher.adapters.engine.values import Download, Part, Sent
from vpe_watcher.adapters.engine.zipped import ZippedParts
from vpe_watcher.core.errors import HostFault, Stopped

Put = Callable[[Iterator[bytes]], str]


class Body:
    """The body of an upload: exactly `size` bytes of `blocks`, or an exception before the last.

    Has a length, so that the request gets a Content-Length and is never chunked.
    """

    def __init__(
        self,
        blocks: Iterator[bytes],
        *,
        size: int,
        on_progress: Callable[[int], None],
        should_stop: Callable[[], bool],
        pace: Pace,
    ) -> None:
        self._blocks = blocks
        self._size = size
        self._on_progress = on_progress
        self._should_stop = should_stop
        self._pace = pace
        self._digest = hashlib.sha256()
        self._told = 0
        self.given = 0

    def __len__(self) -> int:
        """Return the announced size in bytes."""
        return self._size

    def __iter__(self) -> Iterator[memoryview]:
        """Yield the blocks in pieces; each is told as sent when the next one is asked for."""
        for block in self._blocks:
            if self.given + len(block) > self._size:
                raise RuntimeError("the body of an upload is longer than announced")
            self._digest.update(block)
            rest = memoryview(block)
            while rest:
                size = self._pace.piece_bytes  # another one, once the configuration was read again
                yield from self._piece(rest[:size])
                rest = rest[size:]
        if self.given < self._size:
            raise RuntimeError("the body of an upload is shorter than announced")

    def finish(self) -> str:
        """Tell the last progress, return the digest of the bytes that were given out."""
        self._tell()
        return self._digest.hexdigest()

    def _piece(self, piece: memoryview) -> Iterator[memoryview]:
        self._pace.wait(len(piece), should_stop=self._should_stop)
        if self._should_stop():
            raise stopped("upload")
        self.given += len(piece)
        yield piece
        self._tell()

    def _tell(self) -> None:
        if self._told != self.given:
            self._told = self.given
            self._on_progress(self.given)


def upload(
    transport: Transport,
    *,
    url: str,
    source: Path | tuple[Part, ...],
    modality: str,
    size: int,
    on_progress: Callable[[int], None],
    should_stop: Callable[[], bool],
    now_s: Callable[[], float],
    pace: Pace,
) -> Sent:
    """PUT `size` bytes of a file or of a series' ZIP to a pre-signed URL."""

    def put(blocks: Iterator[bytes]) -> str:
        body = Body(blocks, size=size, on_progress=on_progress, should_stop=should_stop, pace=pace)
        _put(transport, url=url, body=body, now_s=now_s)
        return body.finish()

    try:
        if isinstance(source, Path):
            return Sent(_put_file(source, put, modality=modality, size=size))
        return _put_series(source, put, modality=modality, size=size)
    except SourceFailed as failed:
        raise failed.error from None


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
        is_unanswered=code == "download_truncated",
    )


def stopped(verb: str) -> Stopped:
    """Return the fault for a transfer that was told to stop."""
    return Stopped(f"The {verb} was stopped.", code="stopped")


def _put_file(
    path: Path, put: Callable[[Iterator[bytes]], str], *, modality: str, size: int
) -> str:
    with open_source(path, modality=modality, size=size) as file:
        if not size:
            check_empty(file, modality=modality)
        return put(file_blocks(file, modality=modality, size=size))


def _put_series(parts: tuple[Part, ...], put: Put, *, modality: str, size: int) -> Sent:
    zipped = ZippedParts(parts, modality=modality)
    if zipped.size != size:
        raise changed(modality)
    with closing(zipped.blocks()) as blocks:
        sha256 = put(blocks)
    return Sent(sha256, tuple(zipped.digests))


def _put(transport: Transport, *, url: str, body: Body, now_s: Callable[[], float]) -> None:
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
