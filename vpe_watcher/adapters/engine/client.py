"""The Engine's calls as methods. Owns routes, the token's place in each call, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlencode, urlsplit

from requests.adapters import BaseAdapter

from vpe_watcher.adapters.engine import answers, transfer
from vpe_watcher.adapters.engine.faults import ENGINE, bad_link, host_of, insecure_or_invalid
from vpe_watcher.adapters.engine.pace import Pace
from vpe_watcher.adapters.engine.token import (
    ClientCredentialsSource,
    ReadyTokenSource,
    TokenSource,
)
from vpe_watcher.adapters.engine.transport import Answer, Bearer, Call, Transport
from vpe_watcher.adapters.engine.values import (
    ClientCredentials,
    Download,
    Part,
    Poll,
    ReadyToken,
    Sent,
    Timeouts,
)
from vpe_watcher.core.errors import InputFault, JobRefused, TransientFault

TRY_POST = frozenset({404, 405})


class EngineClient:
    """One Engine and one account. Safe to share between threads."""

    def __init__(
        self,
        *,
        base_url: str,
        version: str,
        submit_path: str,
        auth: ClientCredentials | ReadyToken,
        token_file: Path,
        timeouts: Timeouts,
        user_agent: str,
        now: Callable[[], float],
        adapter: BaseAdapter | None = None,
    ) -> None:
        """Prepare; nothing is sent or read yet.

        `submit_path` is `job` or `generic-job`, `now` the wall clock in seconds since 1970,
        `token_file` where a token by client credentials is kept, `adapter` takes all requests
        instead of the network.
        """
        self._root = f"{base_url.rstrip('/')}/{version}"
        self._submit_path = submit_path
        self._host = host_of(base_url)
        self._may_be_plain = urlsplit(base_url).scheme == "http"
        self._now = now
        self._transport = Transport(timeouts=timeouts, user_agent=user_agent, adapter=adapter)
        self._tokens = self._source(auth, token_file)

    def submit(self, body: dict[str, Any]) -> dict[str, Any]:
        """Submit a job and return the answer as received.

        Raises AnswerLost if the job may have been made all the same, any other EnvironmentFault if
        it was certainly not sent or was refused for reasons that are not the job's (`server_error`:
        the Engine says that it failed), InputFault if the Engine refuses this job, TransientFault
        `answer_garbled` if it was accepted with a body that makes no sense.
        """
        try:
            data = json.dumps(body, allow_nan=False).encode()
        except ValueError as error:
            raise InputFault(
                "The job holds a value that JSON has not.",
                code="job_not_json",
                hint="Take it out of the recipe's [job] or of job.json (a number that is none?).",
            ) from error
        url = f"{self._root}/{self._submit_path}"
        answer = self._call("POST", url, data=data, on_new_connection=True)
        return answers.submitted(answer, host=self._host, now_s=self._now())

    def upload(
        self,
        url: str,
        source: Path | tuple[Part, ...],
        *,
        size: int,
        modality: str,
        on_progress: Callable[[int], None],
        should_stop: Callable[[], bool],
        pace: Pace | None = None,
    ) -> Sent:
        """PUT a file, or a series as one ZIP, to a pre-signed URL.

        `size` is that of the file or of the ZIP (`zip_size`); `on_progress` gets the bytes sent so
        far; without a `pace` it goes as fast as the line. Raises LinkExpired, HostFault,
        InputChanged if a file has not exactly its size or the ZIP would not have, Stopped, and the
        file's own OSError.
        """
        self._check_link(url, breaker="upload")
        return transfer.upload(
            self._transport,
            url=url,
            source=source,
            modality=modality,
            size=size,
            on_progress=on_progress,
            should_stop=should_stop,
            now_s=self._now,
            pace=pace or Pace(),
        )

    def notify(self, url: str) -> None:
        """Tell the Engine that an input is there. Harmless to repeat for the same job.

        Raises NotificationRefused on a 4xx that is no verdict, else what `submit` raises for
        trouble of the Engine.
        """
        self._check_link(url, breaker=ENGINE)
        answer = self._call("PUT", url)
        if answer.status in TRY_POST:
            answer = self._call("POST", url)
        answers.check_notified(answer, host=self._host, now_s=self._now())

    def poll(self, job_id: str) -> Poll:
        """Look at a job. Raises JobRefused if the Engine does not tell about it."""
        return self._poll(job_id)

    def check_reachable(self, job_id: str) -> None:
        """Ask whether the Engine is at work now, by a look at a job on a new connection.

        Whatever it says of the job will do. Raises EnvironmentFault as `poll` does.
        """
        with suppress(JobRefused, TransientFault):
            self._poll(job_id, on_new_connection=True)

    def download(
        self,
        url: str,
        target: BinaryIO,
        *,
        size: int | None,
        on_progress: Callable[[int], None],
        should_stop: Callable[[], bool],
    ) -> Download:
        """GET a pre-signed URL into `target`, which is neither truncated nor closed.

        `on_progress` gets the bytes received so far. Raises LinkExpired, HostFault (also if the
        body has not exactly `size` bytes), Stopped, and the target's own OSError.
        """
        self._check_link(url, breaker="download")
        return transfer.download(
            self._transport,
            url=url,
            target=target,
            size=size,
            on_progress=on_progress,
            should_stop=should_stop,
            now_s=self._now,
        )

    def renew_token(self) -> None:
        """Get a fresh token now (a ready-made one is only read). Raises EnvironmentFault."""
        self._tokens.renew()

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()

    def _poll(self, job_id: str, *, on_new_connection: bool = False) -> Poll:
        url = f"{self._root}/pollJobResults?{urlencode({'jobId': job_id})}"
        answer = self._call("GET", url, on_new_connection=on_new_connection)
        return answers.polled(answer, host=self._host, now_s=self._now())

    def _call(
        self, method: str, url: str, *, data: bytes | None = None, on_new_connection: bool = False
    ) -> Answer:
        """Call the Engine with the token; after a 401 once more with another one."""

        def once(token: str) -> Answer:
            kind = "application/json" if data is not None else ""
            call = Call(
                method, url, breaker=ENGINE, auth=Bearer(token), data=data, content_type=kind
            )
            return self._transport.call(call, on_new_connection=on_new_connection)

        token = self._tokens.current()
        answer = once(token)
        if answer.status != HTTPStatus.UNAUTHORIZED:
            return answer
        return once(self._tokens.replace(token))

    def _check_link(self, url: str, *, breaker: str) -> None:
        problem = insecure_or_invalid(url, may_be_plain=self._may_be_plain)
        if problem:
            raise bad_link(problem, breaker=breaker, host=host_of(url))

    def _source(self, auth: ClientCredentials | ReadyToken, file: Path) -> TokenSource:
        if isinstance(auth, ReadyToken):
            return ReadyTokenSource(auth)
        return ClientCredentialsSource(auth, transport=self._transport, file=file, now=self._now)
