"""SIGHUP without threads of a daemon: what is read late, or not at all, and what is told of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.flow.house import House
from vpe_watcher.adapters.manager import Manager
from vpe_watcher.adapters.settings import Settings
from vpe_watcher.app.reload import Orders
from vpe_watcher.app.reloading import READ_WITHIN_S, Means, Reloading


class Told(Manager):
    """A manager that keeps what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []

    def ready(self) -> None:
        """Keep the word."""
        self.words.append("ready")

    def reloading(self) -> None:
        """Keep the word."""
        self.words.append("reloading")


class Scene:
    """A house whose daemon may be told to read again; what is read is `answer`."""

    def __init__(self, root: Path) -> None:
        self.house = House(root)
        self.manager = Told()
        self.followed: list[Orders] = []
        self.answer: Callable[[], Settings] = self.house.read_settings
        self.reloading = Reloading(
            self.house.parts,
            Means(self.read, lambda _: self.house.engine),
            follow=self.followed.append,
            manager=self.manager,
            log=self.house.log,
            monotonic=self.house.time.monotonic,
        )

    def read(self) -> Settings:
        """Read what is there now."""
        return self.answer()

    def mind_until(self, is_so: Callable[[], object]) -> None:
        """Let the main thread turn until something is so."""
        end = time.monotonic() + 10
        while not is_so():
            assert time.monotonic() < end, self.house.events
            self.reloading.mind()
            time.sleep(0.01)

    def told(self) -> list[str]:
        """Return the events of the configuration."""
        return [name for name, _ in self.house.events if name.startswith("config.")]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """Return a scene that is cleared away."""
    scene = Scene(tmp_path)
    yield scene
    assert scene.reloading.has_ended(within_s=10)
    scene.house.close()


def test_what_was_asked_while_it_reads_is_read_once_more(scene: Scene) -> None:
    """The file may be newer than the reading; ten signals are one more reading."""
    gate, reads = threading.Event(), []

    def slowly() -> Settings:
        reads.append(1)
        gate.wait(10)
        return scene.house.read_settings()

    scene.answer = slowly
    scene.reloading.ask()
    scene.mind_until(lambda: reads)
    for _ in range(10):
        scene.reloading.ask()
        scene.reloading.mind()
    gate.set()
    scene.mind_until(lambda: len(scene.told()) == 2)
    assert len(reads) == 2
    assert scene.manager.words == ["reloading", "ready"] * 2


def test_a_file_that_hangs_is_told_and_waited_for(scene: Scene) -> None:
    """After a minute status says so and systemd waits no more; what comes then still counts."""
    gate = threading.Event()
    limits = {"uploads": 7}

    def hanging() -> Settings:
        gate.wait(10)
        scene.house.overrides = {"limits": limits}
        return scene.house.read_settings()

    scene.answer = hanging
    scene.reloading.ask()
    scene.reloading.mind()
    scene.house.time.advance(READ_WITHIN_S)
    scene.reloading.mind()
    scene.reloading.mind()
    assert scene.told() == ["config.refused"]
    assert "has not been read" in (scene.house.parts.config_error or "")
    assert scene.manager.words == ["reloading", "ready"]
    gate.set()
    scene.mind_until(lambda: scene.followed)
    assert scene.told() == ["config.refused", "config.reloaded"]
    assert scene.house.parts.config_error is None
    assert scene.house.parts.settings.limits.uploads == 7


def test_a_defect_of_the_reader_is_told_and_changes_nothing(scene: Scene) -> None:
    """The thread ends with an answer, whatever ended it, and the next reading is a new one."""

    def defect() -> Settings:
        raise KeyError("x")

    before = scene.house.parts.settings
    scene.answer = defect
    scene.reloading.ask()
    scene.mind_until(lambda: "config.refused" in scene.told())
    assert scene.house.parts.settings is before
    assert "defect" in (scene.house.parts.config_error or "")
    scene.answer = scene.house.read_settings
    scene.reloading.ask()
    scene.mind_until(lambda: "config.unchanged" in scene.told())
    assert scene.house.parts.config_error is None
