"""Who has a file open for writing, asked of the real kernel about real processes."""

from __future__ import annotations

import fcntl
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from vpe_watcher.adapters import leases
from vpe_watcher.adapters.leases import TRUSTED, Leases, Openness, ask, is_written_whole
from vpe_watcher.adapters.mounts import filesystem_of

LEASES = Leases(trusts=True)
HOLD = (
    "import mmap, os, sys\npath = sys.argv[1]\n{}\nprint('ready', flush=True)\nsys.stdin.read()\n"
)
WRITERS = {
    "write only": "d = os.open(path, os.O_WRONLY)",
    "read and write": "d = os.open(path, os.O_RDWR)",
    "append": "f = open(path, 'ab')",
    "truncated": "f = open(path, 'wb')",
    "mapped, descriptor closed": (
        "d = os.open(path, os.O_RDWR); m = mmap.mmap(d, 4096); os.close(d); m[0] = 65"
    ),
    "inherited by a child": (
        "d = os.open(path, os.O_WRONLY); os.set_inheritable(d, True)\n"
        "if os.fork(): os.close(d)\nelse: sys.stdin.read(); os._exit(0)"
    ),
}
READERS = {
    "read only": "d = os.open(path, os.O_RDONLY)",
    "mapped for reading": (
        "d = os.open(path, os.O_RDONLY); m = mmap.mmap(d, 4096, prot=mmap.PROT_READ)"
    ),
    "path only": "d = os.open(path, os.O_PATH)",
    "writer that has closed": "open(path, 'ab').close()",
    "private mapping": (
        "d = os.open(path, os.O_RDONLY); m = mmap.mmap(d, 4096, access=mmap.ACCESS_COPY); m[0] = 65"
    ),
}


@pytest.fixture(params=["disk", "memory"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """Return a file on the disk's file system, and one in memory."""
    folder = tmp_path if request.param == "disk" else Path("/dev/shm")  # noqa: S108 - a tmpfs
    if filesystem_of(folder).fs_type not in TRUSTED:
        pytest.skip("no file system here on which a lease tells the truth")
    path = folder / f"vpe-watcher-lease-{os.getpid()}.bin"
    path.write_bytes(b"x" * 4096)
    yield path
    path.unlink()


@contextmanager
def _other_process(code: str, path: Path) -> Iterator[None]:
    """Run another process that does something with a file and then rests."""
    arguments = [sys.executable, "-c", HOLD.format(code), str(path)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait() == 0


@pytest.mark.parametrize("code", WRITERS.values(), ids=WRITERS)
def test_a_file_that_another_process_may_write_is_open(file: Path, code: str) -> None:
    """However it was opened; when the writer is gone, it is closed."""
    with _other_process(code, file):
        assert LEASES.openness(file) is Openness.OPEN
    assert _openness_at_last(file) is Openness.CLOSED


def _openness_at_last(file: Path) -> Openness:
    """Ask until the last process of a writer has gone, too."""
    end = time.monotonic() + 5.0
    while (answer := LEASES.openness(file)) is not Openness.CLOSED and time.monotonic() < end:
        time.sleep(0.01)
    return answer


@pytest.mark.parametrize("code", READERS.values(), ids=READERS)
def test_readers_do_not_count(file: Path, code: str) -> None:
    """Whoever can only read has nothing to add to the file; our own readers are no others."""
    with _other_process(code, file), file.open("rb") as ours:
        assert LEASES.openness(file) is Openness.CLOSED
        assert ask(ours.fileno()) is Openness.CLOSED


def test_our_own_writing_counts(file: Path) -> None:
    """The system does not tell whose a writing descriptor is."""
    with file.open("ab"):
        assert LEASES.openness(file) is Openness.OPEN
    assert LEASES.openness(file) is Openness.CLOSED


def test_nothing_is_asked_where_no_answer_is_trusted(file: Path) -> None:
    """As on a network share; the answer may change when something is mounted there."""
    trusted = [False]
    asking = Leases(trusts=lambda: trusted[0])
    assert asking.openness(file) is Openness.UNKNOWN
    assert Leases(trusts=False).openness(file) is Openness.UNKNOWN
    trusted[0] = True
    assert asking.openness(file) is Openness.CLOSED


def test_another_users_file_is_unknown_without_the_right_to_ask() -> None:
    """A service without CAP_LEASE learns nothing about a file that is not its own."""
    code = (
        "import os\n"
        "from pathlib import Path\n"
        "from vpe_watcher.adapters.leases import Leases\n"
        "os.geteuid() or os.seteuid(65534)\n"
        "print(Leases(trusts=True).openness(Path('/etc/passwd')))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout == "unknown\n"


@pytest.mark.parametrize("kind", ["link", "fifo", "folder", "missing", "device", "unreadable"])
def test_what_is_no_regular_file_is_unknown(tmp_path: Path, kind: str) -> None:
    """A link is not followed, and nothing keeps us waiting."""
    path = tmp_path / "x"
    if kind == "link":
        (tmp_path / "real").write_bytes(b"x")
        path.symlink_to("real")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path = Path("/dev/null")
    elif kind == "unreadable":
        path = Path("/proc/self/mem/x")
    assert LEASES.openness(path) is Openness.UNKNOWN


def test_a_file_system_without_leases_is_unknown() -> None:
    """The kernel's own table of mounts has none."""
    assert LEASES.openness(Path("/sys/kernel/notes")) is not Openness.OPEN
    assert LEASES.openness(Path("/proc/self/mountinfo")) in {Openness.UNKNOWN, Openness.CLOSED}


def test_a_write_lease_of_another_makes_it_open(file: Path) -> None:
    """As Samba holds one for a client that caches its writes; we do not wait for it."""
    code = (
        "import fcntl, signal; d = os.open(path, os.O_RDWR)\n"
        "fcntl.fcntl(d, fcntl.F_SETSIG, signal.SIGURG)\n"
        "fcntl.fcntl(d, fcntl.F_SETLEASE, fcntl.F_WRLCK)"
    )
    with _other_process(code, file):
        began = time.monotonic()
        assert LEASES.openness(file) is Openness.OPEN
        assert time.monotonic() - began < 1.0


def test_no_lease_is_left_behind(file: Path) -> None:
    """A descriptor that was asked about goes on being read while others write."""
    with file.open("rb") as ours:
        assert ask(ours.fileno()) is Openness.CLOSED
        assert fcntl.fcntl(ours, fcntl.F_GETLEASE) == fcntl.F_UNLCK
        with _other_process("f = open(path, 'ab')", file):
            assert ask(ours.fileno()) is Openness.OPEN
            assert ours.read() == b"x" * 4096


def test_the_signal_of_a_broken_lease_ends_nothing(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that comes within the lease makes the system send what we ignore."""
    control, turned_away = leases._control(), []  # noqa: SLF001 - the call that is slowed down

    def meet_a_writer(descriptor: int, verb: int, kind: int) -> int:
        if kind == fcntl.F_UNLCK:
            with pytest.raises(BlockingIOError):
                os.open(file, os.O_WRONLY | os.O_NONBLOCK)
            turned_away.append(True)
        return control(descriptor, verb, kind)

    assert signal.getsignal(signal.SIGURG) is signal.SIG_DFL
    monkeypatch.setattr(leases, "_control", lambda: meet_a_writer)
    assert LEASES.openness(file) is Openness.CLOSED
    assert turned_away == [True]
    with file.open("ab") as writer:
        assert writer.write(b"y") == 1


ASKER = """
import os, sys, threading
from pathlib import Path
from vpe_watcher.adapters.leases import Leases
leases, path, answers = Leases(trusts=True), Path(sys.argv[1]), []
def be_busy():
    while True: sum(range(1000))
threading.Thread(target=be_busy, daemon=True).start()
leases.openness(path)
print("ready", flush=True)
os.set_blocking(0, False)
while sys.stdin.buffer.read() != b"":
    answers.append(leases.openness(path))
print(len(answers), len(set(answers)), flush=True)
os._exit(0)
"""


def test_writers_are_not_kept_waiting(file: Path) -> None:
    """While a busy process asks all the time: nobody waits long, and the asker lives on."""
    with subprocess.Popen(
        [sys.executable, "-c", ASKER, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as asker:
        assert asker.stdout is not None
        assert asker.stdin is not None
        assert asker.stdout.readline() == b"ready\n"
        waits_us, refused = [], 0
        end = time.monotonic() + 1.0
        for number in count():
            if time.monotonic() > end:
                break
            began = time.perf_counter()
            try:
                how = os.O_WRONLY | (os.O_NONBLOCK if number % 2 else 0)
                os.close(os.open(file, how))
            except BlockingIOError:
                refused += 1
            waits_us.append((time.perf_counter() - began) * 1e6)
        asker.stdin.close()
        asked, _ = map(int, asker.stdout.readline().split())
        assert asker.wait() == 0
    print(  # noqa: T201 - the figure is wanted
        f"opened for writing {len(waits_us):,} times beside {asked:,} questions: median "
        f"{statistics.median(waits_us):.1f} us, max {max(waits_us) / 1000:.1f} ms, "
        f"told to try again {refused} times"
    )
    assert asked > 0
    assert statistics.median(waits_us) < 5000


def test_a_question_takes_microseconds(file: Path) -> None:
    """By path and by an open descriptor; printed, and judged with room for a busy machine."""
    took_us = [_timed_us(lambda: LEASES.openness(file)) for _ in range(2000)]
    with file.open("rb") as ours:
        bare_us = [_timed_us(lambda: ask(ours.fileno())) for _ in range(2000)]
    print(  # noqa: T201 - the figure is wanted
        f"{filesystem_of(file).fs_type}: {statistics.median(took_us):.1f} us a path, "
        f"{statistics.median(bare_us):.1f} us an open file"
    )
    assert statistics.median(took_us) < 1000


def _timed_us(question: object) -> float:
    assert callable(question)
    began = time.perf_counter()
    assert question() is Openness.CLOSED
    return (time.perf_counter() - began) * 1e6


@pytest.mark.parametrize(
    "reserve", [os.ftruncate, lambda fd, size: os.posix_fallocate(fd, 0, size)]
)
def test_a_file_that_got_its_size_first_is_not_whole(
    tmp_path: Path, reserve: Callable[[int, int], None]
) -> None:
    """Pages that were never written are told, until they are; the place in the file stays."""
    path = tmp_path / "scan.dcm"
    size = 64 * 1024
    with path.open("wb+") as file:
        reserve(file.fileno(), size)
        os.pwrite(file.fileno(), b"x" * (size // 2), 0)
        os.lseek(file.fileno(), 7, os.SEEK_SET)
        assert not is_written_whole(file.fileno())
        assert os.lseek(file.fileno(), 0, os.SEEK_CUR) == 7
        os.pwrite(file.fileno(), b"x" * (size // 2), size // 2)
        assert is_written_whole(file.fileno())


def test_an_empty_file_has_no_holes(tmp_path: Path) -> None:
    """Nothing is missing where there is nothing."""
    path = tmp_path / "empty"
    path.touch()
    with path.open("rb") as file:
        assert is_written_whole(file.fileno())
