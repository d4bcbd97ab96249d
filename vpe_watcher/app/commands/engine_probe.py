"""The part of `check` that talks to the vendor: a fresh token, and whether the Engine answers.

Submits nothing: it asks about a job that does not exist.
"""

from __future__ import annotations

import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from vpe_watcher.app.commands.check import ERROR, OK, WARNING, Finding
from vpe_watcher.core.errors import EnvironmentFault, StepFault

if TYPE_CHECKING:
    from vpe_watcher.adapters.engine import EngineClient
    from vpe_watcher.adapters.settings import EngineSettings, Settings

# These are answers too: whoever gives them is there.
IN_TROUBLE = frozenset({"server_error", "rate_limited"})


def findings(settings: Settings) -> Iterator[Finding]:
    """Get a fresh token and ask the Engine."""
    from vpe_watcher.app.assembly import build_engine

    # A token that root keeps in the state folder could not be read by the service.
    with tempfile.TemporaryDirectory(prefix="vpe-watcher-check-") as folder:
        apart = _throwaway(settings, folder)
        with closing(build_engine(apart, now=time.time)) as client:
            token = _token(client, settings.engine)
            yield token
            if token.status == OK:
                yield _engine(client, settings.engine)
                return
        with closing(build_engine(_tokenless(apart), now=time.time)) as client:
            yield _engine(client, settings.engine, has_token=False)


def _token(client: EngineClient, engine: EngineSettings) -> Finding:
    try:
        client.renew_token()
    except StepFault as fault:
        return Finding(ERROR, f"no token: {fault.message}", fault.hint)
    if engine.auth.is_ready_made:
        return Finding(OK, "the ready-made access token can be read")
    return Finding(OK, f"a fresh token came from {engine.auth.token_url}")


def _engine(client: EngineClient, engine: EngineSettings, *, has_token: bool = True) -> Finding:
    """Ask; without a token every answer is a good one."""
    answers = Finding(OK, f"the Engine answers ({engine.url}, version {engine.version})")
    try:
        client.poll(str(uuid.uuid4()))
    except EnvironmentFault as fault:
        if fault.code == "token_not_accepted" and not has_token:
            return answers
        status = WARNING if fault.code in IN_TROUBLE else ERROR
        return Finding(status, fault.message, fault.hint)
    except StepFault:
        return answers
    return answers


def _throwaway(settings: Settings, folder: str) -> Settings:
    """Return settings whose kept token lies in a folder that goes."""
    return replace(settings, state_file=Path(folder) / settings.state_file.name)


def _tokenless(settings: Settings) -> Settings:
    """Return settings with a token that nobody accepts."""
    from pydantic import SecretStr

    from vpe_watcher.adapters.settings import AuthSettings

    auth = AuthSettings.model_construct(access_token=SecretStr("none"))
    return replace(settings, engine=settings.engine.model_copy(update={"auth": auth}))
