"""One effect a state: each is safe to repeat and reports an outcome, never the next state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from vpe_watcher.core.model import Case, Outcome, State
from vpe_watcher.flow.claim import claim
from vpe_watcher.flow.ports import Ports
from vpe_watcher.flow.receive import deliver, fetch, wait
from vpe_watcher.flow.rest import archive
from vpe_watcher.flow.send import notify, submit, upload

EFFECTS: Mapping[State, Callable[[Case, Ports], Outcome]] = MappingProxyType(
    {
        State.CLAIMING: claim,
        State.SUBMITTING: submit,
        State.UPLOADING: upload,
        State.NOTIFYING: notify,
        State.WAITING: wait,
        State.FETCHING: fetch,
        State.DELIVERING: deliver,
        State.ARCHIVING: archive,
    }
)
