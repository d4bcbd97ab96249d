"""The simulated Engine: one set of rules, which the faces (server, adapter) carry to clients.

Owns routing, faults and the ledger's entries. Never opens a socket; all files go below the scratch
folder that it is given, and stay there.
"""

from __future__ import annotations

import dataclasses
import json
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vpe_watcher.sandbox.accounts import Accounts
from vpe_watcher.sandbox.bucket import get_result, put_upload
from vpe_watcher.sandbox.context import Context, House
from vpe_watcher.sandbox.engine import issue_token, notify_upload, poll_job, submit_job
from vpe_watcher.sandbox.faults import (
    Action,
    FaultScript,
    Rule,
    Subject,
    parse_script,
    replacement,
)
from vpe_watcher.sandbox.ledger import Job, Ledger, Seen
from vpe_watcher.sandbox.messages import (
    Breakage,
    CappedReader,
    Request,
    RequestCut,
    Response,
    json_response,
    read_body,
    refusal,
)
from vpe_watcher.sandbox.options import Options, ScriptError, changed_options
from vpe_watcher.sandbox.validation import items_of, structures_of
from vpe_watcher.sandbox.workshop import (
    Workshop,
    make_surface,
    make_tetrahedron,
    require_extra,
)

SEGMENT = r"[^/]+"
ROUTES = (
    ("control", rf"/_sandbox/(?P<what>{SEGMENT})"),
    ("upload", rf"/_store/uploads/(?P<job>{SEGMENT})/(?P<modality>[^/.]+)(?P<extension>[^/]*)"),
    ("download", rf"/_store/results/(?P<job>{SEGMENT})/(?P<file>{SEGMENT})"),
    ("token", r"/oauth/token"),
    ("submit", rf"/(?P<version>{SEGMENT})/(?P<route>job|generic-job)"),
    (
        "notify",
        rf"/(?P<version>{SEGMENT})/jobs/(?P<job>{SEGMENT})/inputs/(?P<modality>{SEGMENT})/finished",
    ),
    ("poll", rf"/(?P<version>{SEGMENT})/pollJobResults"),
)
UNCHANGED = Action()
HANDLERS: Mapping[str, Callable[[Context], Response]] = {
    "token": issue_token,
    "submit": submit_job,
    "upload": put_upload,
    "notify": notify_upload,
    "poll": poll_job,
    "download": get_result,
}


@dataclass(frozen=True, slots=True)
class Route:
    """Which call a path is, and the names in it."""

    kind: str
    names: dict[str, str]


def find_route(path: str) -> Route:
    """Return the call that a path stands for; `other` if none."""
    for kind, pattern in ROUTES:
        if match := re.fullmatch(pattern, path):
            return Route(kind, match.groupdict())
    return Route("other", {})


class Sandbox:
    """The simulated Engine.

    `scratch` takes uploads and results. `clock` gives seconds since 1970. `simple` answers every
    job with the same small tetrahedron and needs no library; otherwise ConfigError leaves when the
    libraries of the extra are not installed. `faults` is a script as in `faults.py`. `tokens` are
    ready-made and never expire.
    """

    def __init__(
        self,
        scratch: Path,
        *,
        simple: bool = False,
        options: Options | None = None,
        faults: object = None,
        clock: Callable[[], float] = time.time,
        client_id: str = "sandbox",
        client_secret: str = "sandbox",  # noqa: S107 - a public word of the sandbox
        tokens: Iterable[str] = (),
    ) -> None:
        if not simple:
            require_extra()
        self._clock = clock
        self._lock = threading.Lock()
        self._options = options or Options()
        self._script = FaultScript(parse_script([] if faults is None else faults))
        self._house = House(
            scratch=scratch,
            secret=b"vpe-watcher sandbox",
            new_id=lambda: str(uuid.uuid4()),
            ledger=Ledger(),
            accounts=Accounts(client_id=client_id, client_secret=client_secret, ready_made=tokens),
            workshop=Workshop(scratch, make_tetrahedron if simple else make_surface),
        )

    @property
    def ledger(self) -> Ledger:
        """Return what was seen so far."""
        return self._house.ledger

    @property
    def options(self) -> Options:
        """Return the options in force."""
        with self._lock:
            return self._options

    def set_options(self, **changes: Any) -> None:
        """Change options from now on; raise ScriptError for what does not fit."""
        with self._lock:
            self._options = changed_options(self._options, changes)

    def set_faults(self, script: object) -> None:
        """Put another fault script (decoded JSON) in force; raise ScriptError if it is wrong."""
        self._script.replace(parse_script(script))

    def revoke_tokens(self) -> None:
        """Make every token worthless that was issued or given so far."""
        self._house.accounts.revoke_all()

    def compute_in_background(self) -> None:
        """Compute when jobs start, and answer 202 until a result is there (servers want this)."""
        self._house.workshop.in_background = True

    def close(self) -> None:
        """Stop computing. Files in the scratch folder stay."""
        self._house.workshop.close()

    def handle(self, request: Request) -> Response:
        """Answer one request. Safe to call from many threads at once."""
        path = request.parts.path
        route = find_route(path)
        if route.kind == "control":
            return self._control(route.names["what"], request)
        if route.kind == "other":
            response, rule = refusal(404, "no such route"), None
        else:
            rule = self._script.pick(self._subject(route, request))
            try:
                response = self._carry_out(route, request, rule)
            except RequestCut:
                response = Response(0, {}, b"", Breakage(reset=True))
        self._note(route, request, response, is_fault=rule is not None)
        return response

    def _carry_out(self, route: Route, request: Request, rule: Rule | None) -> Response:
        if rule is None:
            return HANDLERS[route.kind](self._context(route, request, UNCHANGED))
        action = rule.do
        if route.kind == "upload" and action.reset_after is not None and not rule.after_effect:
            _swallow(request, action.reset_after)
            return Response(0, {}, b"", Breakage(reset=True))
        if action.is_replacement and not rule.after_effect:
            return replacement(action)
        response = HANDLERS[route.kind](self._context(route, request, action))
        if action.is_replacement:
            return replacement(action)
        return dataclasses.replace(response, breakage=action.breakage)

    def _context(self, route: Route, request: Request, action: Action) -> Context:
        return Context(
            house=self._house,
            request=request,
            now=self._clock(),
            options=_options_under(self.options, action),
            names=route.names,
            is_size_wrong=action.wrong_size,
            is_link_expired=action.expire and route.kind in ("upload", "download", "notify"),
        )

    def _job_of(self, route: Route, request: Request) -> Job | None:
        name = route.names.get("job") or request.query.get("jobId", "")
        return self._house.ledger.jobs.get(name)

    def _subject(self, route: Route, request: Request) -> Subject:
        job = self._job_of(route, request)
        index = job.index if job else None
        if route.kind == "submit":
            index = len(self._house.ledger.jobs)
        number = route.names.get("file", "").partition(".")[0]
        structures = _structures(job, int(number) if number.isdecimal() else None)
        return Subject(route.kind, index, route.names.get("modality"), structures)

    def _note(self, route: Route, request: Request, response: Response, *, is_fault: bool) -> None:
        job = self._job_of(route, request)
        seen = Seen(
            time=self._clock(),
            kind=route.kind,
            method=request.method,
            path=request.parts.path,
            status=None if response.breakage.reset else response.status,
            authorization=request.is_authorized,
            job=job.id if job else None,
            fault=is_fault,
        )
        with self._house.ledger.lock:
            self._house.ledger.requests.append(seen)

    def _control(self, what: str, request: Request) -> Response:
        if (request.method, what) == ("GET", "ledger"):
            return json_response(200, self._house.ledger.as_json())
        if request.method != "POST" or what not in ("faults", "options"):
            return refusal(404, "the controls are GET ledger, POST faults, POST options")
        try:
            self._apply(what, json.loads(read_body(request)))
        except ValueError as fault:
            return refusal(400, str(fault))
        return json_response(200, {})

    def _apply(self, what: str, content: object) -> None:
        if what == "faults":
            self.set_faults(content)
            return
        if not isinstance(content, dict):
            raise ScriptError("options are an object")
        if content.pop("revoke_tokens", False):
            self.revoke_tokens()
        self.set_options(**content)


def _options_under(options: Options, action: Action) -> Options:
    if action is UNCHANGED:
        return options
    return dataclasses.replace(
        options,
        missing=options.missing + action.missing,
        failed=options.failed + action.failed,
        success=options.success and action.success,
        url_expiry_s=0.0 if action.expire else options.url_expiry_s,
        token_expiry_s=0.0 if action.expire else options.token_expiry_s,
    )


def _structures(job: Job | None, number: int | None) -> frozenset[str]:
    """Return the structures of one output of a job (counted over all kinds), or of all."""
    wanted = job.request["outputFiles"].values() if job else []
    items = [item for entry in wanted for item in items_of(entry)]
    if number is not None:
        items = items[number : number + 1]
    return frozenset(name for item in items for name in structures_of(item))


def _swallow(request: Request, size: int) -> None:
    reader = CappedReader(request.body, size)
    while reader.read(1 << 20):
        pass
