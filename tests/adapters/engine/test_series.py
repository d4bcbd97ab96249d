"""A series goes to a pre-signed URL as one ZIP, or never arrives whole."""

from __future__ import annotations

import hashlib
import io
import os
import resource
import socket
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer

from tests.adapters.engine.conftest import MakeClient
from tests.adapters.engine.servers import (
    MIB,
    RawServer,
    Sink,
    answer,
    length_of,
    read_head,
    reset,
    unused_port,
)
from vpe_watcher.adapters.engine import EngineClient, Part, Sent, zip_size
from vpe_watcher.core.errors import HostFault, InputChanged, LinkExpired, Stopped

Series = tuple[Part, ...]
Change = Callable[[Path], None]


@pytest.fixture
def series(tmp_path: Path) -> Series:
    """Return a series of one large slice between small ones."""
    parts = []
    for number, size in enumerate([132_000, 3 * MIB, *[132_000] * 5]):
        path = tmp_path / f"Doe^Jane.{number}"
        path.write_bytes(os.urandom(size))
        parts.append(Part(path, f"series/{number + 1:06d}.dcm", size))
    return tuple(parts)


def size_of(series: Series) -> int:
    """Return the size of a series' ZIP."""
    return zip_size((part.name, part.size) for part in series)


def put(client: EngineClient, url: str, series: Series, **changes: object) -> Sent:
    """Upload a series with what is not under test left out."""
    known = {
        "size": size_of(series),
        "modality": "cbct",
        "on_progress": lambda _: None,
        "should_stop": lambda: False,
    }
    return client.upload(url, series, **(known | changes))  # type: ignore[arg-type]


def once(change: Callable[[], None], *, after: int = 1) -> Callable[[int], None]:
    """Return a progress that makes a change when `after` bytes are sent."""
    told: list[int] = []

    def tell(now: int) -> None:
        if now >= after and not told:
            told.append(now)
            change()

    return tell


def open_parts(series: Series) -> int:
    """Return how many descriptors this process has on the files of a series."""
    ours = {part.path for part in series}
    links = [Path("/proc/self/fd") / number for number in os.listdir("/proc/self/fd")]  # noqa: PTH208
    return sum(link.readlink() in ours for link in links if link.is_symlink())


def test_a_series_arrives_as_one_zip(make_client: MakeClient, series: Series) -> None:
    """Its length is announced, never chunked; the digests are those of what came."""
    sink = Sink()
    with RawServer(sink) as server:
        sent = put(make_client(server.url), f"{server.url}/up", series)
    assert length_of(sink.head) == len(sink.body) == size_of(series)
    assert b"chunked" not in sink.head
    assert sent.sha256 == hashlib.sha256(sink.body).hexdigest()
    with zipfile.ZipFile(io.BytesIO(sink.body)) as archive:
        assert archive.namelist() == [part.name for part in series]
        assert archive.testzip() is None
        content = [archive.read(part.name) for part in series]
    assert content == [part.path.read_bytes() for part in series]
    assert sent.parts == tuple(hashlib.sha256(each).hexdigest() for each in content)


def test_a_retry_sends_the_same_bytes(make_client: MakeClient, series: Series) -> None:
    """After an attempt that broke in the middle, and once more after one that went through."""
    sinks = [Sink(), Sink()]
    sent = []
    with RawServer(break_off) as server:
        with pytest.raises(HostFault):
            put(make_client(server.url), f"{server.url}/up", series)
        assert not open_parts(series)
    for sink in sinks:
        with RawServer(sink) as server:
            sent.append(put(make_client(server.url), f"{server.url}/up", series))
    assert sent[0] == sent[1]
    assert sinks[0].body == sinks[1].body


def break_off(connection: socket.socket) -> None:
    """Read a part of a request and reset."""
    read_head(connection)
    connection.recv(MIB)
    reset(connection)


def test_progress_is_told_in_bytes_of_the_zip(make_client: MakeClient, series: Series) -> None:
    """It never stands still for more than a piece, and ends at the size."""
    seen: list[int] = []
    with RawServer(Sink()) as server:
        put(make_client(server.url), f"{server.url}/up", series, on_progress=seen.append)
    assert seen[-1] == size_of(series)
    steps = [now - before for before, now in zip([0, *seen], seen, strict=False)]
    assert all(0 < step <= 256 * 1024 for step in steps)


def test_one_part_is_open_at_a_time(make_client: MakeClient, series: Series) -> None:
    """A series of any length needs one descriptor, and leaves none behind."""
    seen: list[int] = []
    with RawServer(Sink()) as server:
        put(
            make_client(server.url),
            f"{server.url}/up",
            series,
            on_progress=lambda _: seen.append(open_parts(series)),
        )
    assert max(seen) == 1
    assert open_parts(series) == 0


def grow(path: Path) -> None:
    """Append a byte."""
    with path.open("ab") as file:
        file.write(b"x")


def shrink(path: Path) -> None:
    """Cut a byte off."""
    os.truncate(path, path.stat().st_size - 1)


def replace(path: Path) -> None:
    """Put another file in its place."""
    path.with_name("other").write_bytes(b"another")
    path.with_name("other").replace(path)


@pytest.mark.parametrize("change", [grow, shrink, replace, Path.unlink])
@pytest.mark.parametrize("which", [1, 2, -1], ids=["being read", "next", "last"])
def test_a_slice_that_changes_under_way_never_arrives_whole(
    make_client: MakeClient, series: Series, change: Change, which: int
) -> None:
    """Grown, cut, replaced or gone: the server gets fewer bytes than announced."""
    sink = Sink()
    with RawServer(sink) as server:
        with pytest.raises(InputChanged) as caught:
            put(
                make_client(server.url),
                f"{server.url}/up",
                series,
                on_progress=once(lambda: change(series[which].path), after=300_000),
            )
        assert not open_parts(series)
    assert caught.value.code == "input_changed"
    assert "Doe" not in caught.value.message
    assert not sink.is_complete
    assert 0 < len(sink.body) < length_of(sink.head) == size_of(series)


@pytest.mark.parametrize("change", [grow, shrink])
def test_the_end_of_the_last_slice_is_watched(
    make_client: MakeClient, series: Series, change: Change
) -> None:
    """A change when all but the directory is sent still keeps the body from being whole."""
    sink = Sink()
    last = series[1]
    small = (Part(last.path, "a", last.size),)
    with RawServer(sink) as server, pytest.raises(InputChanged):
        put(
            make_client(server.url),
            f"{server.url}/up",
            small,
            on_progress=once(lambda: change(last.path), after=last.size - 300_000),
        )
    assert not sink.is_complete
    assert len(sink.body) < length_of(sink.head)


def test_a_slice_of_another_size_is_not_what_was_claimed(
    httpserver: HTTPServer, client: EngineClient, series: Series
) -> None:
    """The size of the claim counts, not that of the day."""
    grow(series[0].path)
    with pytest.raises(InputChanged):
        put(client, httpserver.url_for("/up"), series)
    assert not httpserver.log


@pytest.mark.parametrize("change", [-1, 1])
def test_a_zip_of_another_size_is_not_sent(
    make_client: MakeClient, series: Series, change: int
) -> None:
    """Nobody is even asked."""
    url = f"http://127.0.0.1:{unused_port()}/up"
    with pytest.raises(InputChanged):
        put(make_client(url), url, series, size=size_of(series) + change)


def test_a_series_without_a_slice_is_none(client: EngineClient, httpserver: HTTPServer) -> None:
    """It is a fault of the caller, not of the scan."""
    with pytest.raises(ValueError, match="without a part"):
        client.upload(
            httpserver.url_for("/up"),
            (),
            size=22,
            modality="cbct",
            on_progress=lambda _: None,
            should_stop=lambda: False,
        )


def test_a_link_is_not_followed(make_client: MakeClient, series: Series) -> None:
    """Nor is a FIFO waited for, or a folder read, in the place of a slice."""
    path = series[-1].path
    with RawServer(Drain()) as server:
        client = make_client(server.url)
        path.rename(path.with_name("target"))
        path.symlink_to("target")
        with pytest.raises(OSError, match="symbolic") as caught:
            put(client, f"{server.url}/up", series)
        assert not isinstance(caught.value, ConnectionError)
        path.unlink()
        os.mkfifo(path)
        with pytest.raises(InputChanged):
            put(client, f"{server.url}/up", series)
        path.unlink()
        path.mkdir()
        with pytest.raises(InputChanged):
            put(client, f"{server.url}/up", series)


def test_a_disk_that_fails_stays_an_oserror(make_client: MakeClient, series: Series) -> None:
    """A read that fails within the body is not taken for a broken line."""

    def break_disk() -> None:
        folder = os.open(series[1].path.parent, os.O_RDONLY)
        for number in os.listdir("/proc/self/fd"):  # noqa: PTH208
            link = Path("/proc/self/fd") / number
            if link.is_symlink() and link.readlink() == series[1].path:
                os.dup2(folder, int(number))
        os.close(folder)

    sink = Sink()
    with RawServer(sink) as server, pytest.raises(IsADirectoryError):
        put(
            make_client(server.url),
            f"{server.url}/up",
            series,
            on_progress=once(break_disk, after=300_000),
        )
    assert not sink.is_complete


def test_a_series_can_be_stopped(make_client: MakeClient, series: Series) -> None:
    """Within a piece, wherever the slices begin and end."""
    answers = iter([False, False, True])
    sink = Sink()
    with RawServer(sink) as server:
        with pytest.raises(Stopped):
            put(
                make_client(server.url),
                f"{server.url}/up",
                series,
                should_stop=lambda: next(answers),
            )
        assert not open_parts(series)
    assert not sink.is_complete
    assert len(sink.body) <= 512 * 1024


def test_an_expired_link(httpserver: HTTPServer, client: EngineClient, series: Series) -> None:
    """The store's answer means what it means for a file."""
    httpserver.expect_request("/x").respond_with_data("<Error/>", status=403)
    with pytest.raises(LinkExpired):
        put(client, httpserver.url_for("/x"), series)


class Drain:
    """Reads a body and keeps nothing but its length."""

    def __init__(self) -> None:
        self.received = 0

    def __call__(self, connection: socket.socket) -> None:
        head, rest = read_head(connection)
        buffer = bytearray(MIB)
        self.received = len(rest)
        while self.received < length_of(head):
            count = connection.recv_into(buffer)
            if not count:
                return
            self.received += count
        connection.sendall(answer())


def resident_bytes() -> int:
    """Return how much memory this process has now."""
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize()


@pytest.mark.slow
def test_a_large_series_needs_no_more_memory(make_client: MakeClient, tmp_path: Path) -> None:
    """5,000 slices of 132 kB: the process grows by a few blocks and the ZIP's directory."""
    path = tmp_path / "slice"
    path.write_bytes(os.urandom(132_000))
    series = tuple(Part(path, f"{number:06d}.dcm", 132_000) for number in range(5_000))
    drain = Drain()
    seen: list[int] = []
    with RawServer(drain) as server:
        client = make_client(server.url)
        put(client, f"{server.url}/up", series[:50])
        before = resident_bytes()
        put(
            client,
            f"{server.url}/up",
            series,
            on_progress=lambda _: seen.append(resident_bytes() - before),
        )
        client.close()
    assert drain.received == size_of(series) > 660_000_000
    assert max(seen) < 24 * MIB
