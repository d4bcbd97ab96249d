"""The receiver beside the daemon: started, kept trying, and shown while it cannot listen."""

from __future__ import annotations

from typing import Any, cast

import pytest

from vpe_watcher.app.listening import Listening
from vpe_watcher.app.receiving import Receiving
from vpe_watcher.core.errors import ConfigError, TryAgainLater


class Ear:
    """A receiver that cannot listen before somebody says so."""

    listen = "127.0.0.1:11112"

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.starts = 0

    def start(self) -> None:
        """Listen, or say why not."""
        self.starts += 1
        if self.error is not None:
            raise self.error

    def begin_stop(self) -> None:
        """Have nothing to stop."""

    def stop(self) -> bool:
        """Be stopped."""
        return True


class Scene:
    """A listening daemon whose time passes by hand."""

    def __init__(self) -> None:
        self.now = 100.0
        self.ear = Ear()
        self.events: list[tuple[str, dict[str, object]]] = []
        self.listening = Listening(
            cast(Receiving, self.ear), log=self.log, monotonic=lambda: self.now
        )

    def log(self, event: str, /, **fields: object) -> None:
        """Note an event."""
        self.events.append((event, fields))


def taken() -> TryAgainLater:
    """Return what a taken port raises."""
    return TryAgainLater("The port is taken.", code="port_taken", hint="Free it.")


def test_it_starts_once() -> None:
    """Listening is not begun twice."""
    scene = Scene()
    for _ in range(3):
        scene.listening.keep()
        scene.now += 60
    assert scene.ear.starts == 1
    assert scene.listening.shown() == {"listen": Ear.listen, "reason": ""}


def test_a_taken_port_heals_by_itself() -> None:
    """Tried every ten seconds, logged once, shown meanwhile."""
    scene = Scene()
    scene.ear.error = taken()
    for _ in range(30):
        scene.listening.keep()
        scene.now += 1
    assert scene.ear.starts == 3
    assert [event for event, _ in scene.events] == ["receive.waiting"]
    assert scene.listening.shown() == {"listen": Ear.listen, "reason": "The port is taken."}
    scene.ear.error = None
    scene.now += 10
    scene.listening.keep()
    assert scene.listening.shown() == {"listen": Ear.listen, "reason": ""}


def test_a_wrong_configuration_is_told_at_once() -> None:
    """The missing extra stops the start, with what to install."""
    scene = Scene()
    scene.ear.error = ConfigError("missing", code="dicom_not_installed", hint="pip install")
    with pytest.raises(ConfigError):
        scene.listening.keep()
    assert scene.events == []


def test_nothing_is_shown_where_nobody_listens() -> None:
    """Without an address there is no receiver."""
    scene = Scene()
    cast(Any, scene.ear).listen = ""
    assert scene.listening.shown() is None
