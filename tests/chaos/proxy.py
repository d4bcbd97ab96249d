"""A TCP proxy whose connections go wrong, each in its own way.

Owns sockets and a thread of its own; knows nothing of HTTP. Counts the faults that really fired.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Self

HOST = "127.0.0.1"
BLOCK = 64 * 1024
REQUEST, ANSWER = "request", "answer"
FINE = "none"
RESET, STALL, CUT, THROTTLE, HALF_CLOSE = "reset", "stall", "cut", "throttle", "half-close"
RST_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to one connection when more than `after_bytes` want to pass one `way`.

    `reset` resets both sides; `cut` ends both in good order; `stall` lets nothing pass for
    `stall_s`; `throttle` lets `bytes_per_s` pass from then on; `half-close` ends this way alone.
    """

    kind: str = FINE
    way: str = ANSWER
    after_bytes: int = 0
    stall_s: float = 0.0
    bytes_per_s: float = 0.0


class Proxy:
    """Stands before a server on loopback, as a context manager; `draw` gives a connection's fault.

    `fired` counts (kind, way) and may be read at any time; `url` is where it listens.
    """

    def __init__(self, port: int, draw: Callable[[], Fault]) -> None:
        self.fired: Counter[tuple[str, str]] = Counter()
        self._target = port
        self._draw = draw
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        server = self._run(asyncio.start_server(self._serve, HOST, 0, backlog=128))
        self._server: asyncio.Server = server
        self.url = f"http://{HOST}:{server.sockets[0].getsockname()[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _close(self) -> None:
        self._server.close()  # in its own thread, which may be letting somebody in
        await self._end_connections()

    def use(self, draw: Callable[[], Fault]) -> None:
        """Draw faults from elsewhere from now on; connections that live end."""
        self._draw = draw
        self._run(self._end_connections())

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _end_connections(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        ends = [writer]
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                back, forth = await asyncio.open_connection(HOST, self._target)
                ends.append(forth)
                await self._carry(self._draw(), (reader, forth), (back, writer))
        finally:
            self._tasks.discard(task)
            for end in ends:
                end.close()

    async def _carry(
        self,
        fault: Fault,
        request: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        answer: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        """Carry both ways until one ends the connection, or both have ended by themselves."""
        ways = [
            asyncio.ensure_future(self._carry_one(REQUEST, fault, *request)),
            asyncio.ensure_future(self._carry_one(ANSWER, fault, *answer)),
        ]
        try:
            for way in asyncio.as_completed(ways):
                kind = await way
                if kind == RESET:
                    _reset(request[1])
                    _reset(answer[1])
                if kind in {RESET, CUT}:
                    return
        finally:
            for one in ways:
                one.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _carry_one(
        self, way: str, fault: Fault, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> str:
        """Carry one way until its end; return the kind of fault that ended it."""
        left = fault.after_bytes if fault.kind != FINE and fault.way == way else None
        while block := await reader.read(BLOCK):
            if left is not None and len(block) > left:
                await _pass(writer, block[:left])
                block, left = block[left:], None
                self.fired[fault.kind, way] += 1
                if fault.kind in {RESET, CUT}:
                    return fault.kind
                if fault.kind == HALF_CLOSE:
                    break
                if fault.kind == THROTTLE:
                    await _trickle(reader, writer, block, fault.bytes_per_s)
                    break
                await asyncio.sleep(fault.stall_s)
            elif left is not None:
                left -= len(block)
            await _pass(writer, block)
        if writer.can_write_eof():
            writer.write_eof()
        return FINE


async def _pass(writer: asyncio.StreamWriter, block: bytes) -> None:
    if block:
        writer.write(block)
        await writer.drain()


async def _trickle(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, block: bytes, bytes_per_s: float
) -> None:
    """Pass everything that is left in small pieces, at a given speed."""
    piece = max(1, int(bytes_per_s / 20))
    while block:
        for start in range(0, len(block), piece):
            await asyncio.sleep(min(piece, len(block) - start) / bytes_per_s)
            await _pass(writer, block[start : start + piece])
        block = await reader.read(BLOCK)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Make the end of a connection a reset instead of a polite one."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST_ON_CLOSE)
    writer.transport.abort()
