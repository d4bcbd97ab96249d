"""The part of `check` that talks to the vendor: a fresh token, and whether the Engine answers.

Submits nothing: it asks about a job that does not exist.
"""

from __future__ import annotations

import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from vpe_watcher import __version__
from vpe_watcher.app.commands.check import ERROR, OK, WARNING, Finding
from vpe_watcher.core.errors import EnvironmentFault, StepFault

if TYPE_CHECKING:
    from vpe_watcher.adapters.engine import ClientCredentials, EngineClient, ReadyToken
    from vpe_watcher.adapters.settings import EngineSettings, Settings

# These are answers too: whoever gives them is there.
IN_TROUBLE = frozenset({"server_error", "rate_limited"})
NO_TOKEN = "none"  # noqa: S105 - it is none


def findings(settings: Settings) -> Iterator[Finding]:
    """Get a fresh token and ask the Engine."""
    from vpe_watcher.adapters.engine import ReadyToken

    # A token that root keeps in the state folder could not be read by the service.
    with tempfile.TemporaryDirectory(prefix="vpe-watcher-check-") as folder:
        token_file = Path(folder) / "token"
        with closing(_client(settings, _auth(settings.engine), token_file)) as client:
            token = _token(client, settings.engine)
            yield token
            if token.status == OK:
                yield _engine(client, settings.engine)
                return
        with closing(_client(settings, ReadyToken(lambda: NO_TOKEN), token_file)) as client:
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


def _client(
    settings: Settings, auth: ClientCredentials | ReadyToken, token_file: Path
) -> EngineClient:
    from vpe_watcher.adapters.engine import EngineClient, Timeouts

    engine, limits = settings.engine, settings.limits
    return EngineClient(
        base_url=engine.url,
        version=engine.version,
        submit_path=engine.submit_route,
        auth=auth,
        token_file=token_file,
        timeouts=Timeouts(connect_s=limits.connect_timeout_s, stall_s=limits.stall_timeout_s),
        user_agent=f"vpe-watcher/{__version__}",
        now=time.time,
    )


def _auth(engine: EngineSettings) -> ClientCredentials | ReadyToken:
    from vpe_watcher.adapters.engine import ClientCredentials, ReadyToken

    auth = engine.auth
    if auth.is_ready_made:
        return ReadyToken(auth.read_access_token)
    return ClientCredentials(
        client_id=auth.client_id,
        client_secret=auth.read_client_secret,
        token_url=auth.token_url,
        audience=auth.audience,
    )
