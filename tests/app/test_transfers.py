"""When a transfer will be through, from how far it came so far."""

from __future__ import annotations

from vpe_watcher.app.transfers import SLOWER, Transfers

MIB = 1024 * 1024


class Line:
    """Transfers on a clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0
        self.transfers = Transfers(lambda: self.now)

    def send(self, done: int, *, after_s: float = 0.0, total: int | None = 10 * MIB) -> None:
        """Let time pass, then tell how far an upload is."""
        self.now += after_s
        self.transfers.note("case", "upload", done, total)

    def ends_in(self, seconds: float) -> bool:
        """Tell whether it will be through in so many seconds."""
        return self.transfers.ends_by("case", self.now + seconds)


def test_the_rate_so_far_tells_the_end() -> None:
    """Five of ten MiB at 1 MiB a second: five seconds are left, and some for a slower line."""
    line = Line()
    line.send(0)
    line.send(5 * MIB, after_s=5)
    assert not line.ends_in(5)
    assert line.ends_in(5 * SLOWER + 0.1)


def test_a_line_that_gets_slower_is_not_trusted_longer() -> None:
    """Time without progress makes the estimate longer, until it does not fit any more."""
    line = Line()
    line.send(0)
    line.send(8 * MIB, after_s=8)
    end = line.now + 4
    assert line.transfers.ends_by("case", end)
    line.now += 2
    assert not line.transfers.ends_by("case", end)


def test_what_cannot_be_told_does_not_end() -> None:
    """No first piece, no size, no such case; a whole body only waits for its answer."""
    line = Line()
    assert not line.ends_in(1000)
    line.send(MIB, total=None)
    line.send(2 * MIB, after_s=1, total=None)
    assert not line.ends_in(1000)
    line.send(MIB)
    line.now += 5
    assert not line.ends_in(1000)
    line.send(10 * MIB)
    assert line.ends_in(0.1)
    line.transfers.forget("case")
    assert not line.ends_in(1000)


def test_each_file_has_a_rate_of_its_own() -> None:
    """A transfer that begins anew forgets how fast the last one was."""
    line = Line()
    line.send(0)
    line.send(9 * MIB, after_s=0.1)
    line.send(MIB, after_s=1)
    assert not line.ends_in(1000)
    line.send(2 * MIB, after_s=10)
    assert not line.ends_in(50)
    assert [(one.case_id, one.done) for one in line.transfers.all()] == [("case", 2 * MIB)]
