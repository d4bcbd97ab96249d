"""`retry` and `cancel`: the contract's table, all named cases or none."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.app.desk import WAY, Desk, problem
from vpe_watcher.app.commands.words import Wanted, retry
from vpe_watcher.app.listings import Listings
from vpe_watcher.core.errors import Refusal
from vpe_watcher.core.model import FailureClass, Label, State

FREE = {
    "failed unpaid": (State.SUBMITTING, Label.INPUT, problem("x", FailureClass.INPUT)),
    "cancelled unpaid": (State.UPLOADING, Label.CANCEL, None),
    "held unpaid": (State.CLAIMING, Label.GONE, problem("claim_gone")),
    "failed paid": (State.WAITING, Label.EXHAUSTED, problem("x", FailureClass.TRANSIENT)),
    "cancelled paid": (State.WAITING, Label.CANCEL, None),
    "held by time": (State.WAITING, Label.OVERDUE, problem("processing_overdue")),
    "held by refused poll": (State.WAITING, Label.REFUSED_AT_ONCE, problem("job_forbidden")),
}
COSTLY = {
    "failed by the Engine": (State.WAITING, Label.ENGINE, problem("e", FailureClass.ENGINE)),
    "held as a duplicate": (State.CLAIMING, Label.AMBIGUOUS, problem("duplicate_ambiguous")),
    "changed after notification": (
        State.DELIVERING,
        Label.CHANGED,
        problem("changed_after_notification"),
    ),
}
Way = tuple[State, Label, object]


def _case(desk: Desk, way: Way, name: str = "scan") -> str:
    state, label, why = way
    case_id = desk.walk(desk.add(name), state)
    return desk.lay_input(desk.end(case_id, label, why))  # type: ignore[arg-type]


@pytest.mark.parametrize("way", FREE.values(), ids=FREE)
def test_what_costs_nothing_needs_no_yes(running: Desk, way: Way) -> None:
    """The word is left for the daemon at once."""
    case_id = _case(running, way)
    ran = running.run("retry", case_id)
    assert ran.code == 0, ran.err
    assert running.words() == [("retry", case_id, False)]
    assert "next start" not in ran.err


@pytest.mark.parametrize("way", COSTLY.values(), ids=COSTLY)
def test_what_may_cost_again_needs_a_yes(running: Desk, way: Way) -> None:
    """Without --yes and without a terminal nothing is done; with it the yes is carried along."""
    case_id = _case(running, way)
    ran = running.run("retry", case_id)
    assert (ran.code, running.words()) == (1, [])
    assert "--yes" in ran.err
    assert running.run("retry", case_id, "--yes").code == 0
    assert running.words() == [("retry", case_id, True)]


def test_what_is_gone_from_a_paid_claim_is_to_be_put_back_and_not_dropped_anew(desk: Desk) -> None:
    """`show` names the folder, and the refused retry says that this way is free."""
    case_id = desk.walk(desk.add(), State.DELIVERING)
    desk.end(case_id, Label.GONE, problem("claim_gone"))
    folder = str(desk.places.content(desk.case(case_id)))
    assert folder in desk.run("show", case_id).out
    ran = desk.run("retry", case_id)
    assert (ran.code, desk.words()) == (1, [])
    assert folder in ran.err
    assert "which costs nothing" in ran.err
    desk.lay_input(case_id)
    assert "costs nothing" in desk.run("retry", case_id).out


def test_partial_with_a_failed_output_needs_a_yes(running: Desk) -> None:
    """A new job may do better, and may cost again."""
    case_id = running.finish(running.add(), outputs=("Available", "Failed"))
    running.lay_input(case_id)
    assert running.run("retry", case_id).code == 1
    assert running.run("retry", "--yes", case_id).code == 0


def test_partial_with_an_unfetched_output_is_free(running: Desk) -> None:
    """The same job still has the file."""
    case_id = running.finish(running.add(), outputs=("Available", "Unfetched"))
    running.lay_input(case_id)
    assert running.run("retry", case_id).code == 0
    assert running.words() == [("retry", case_id, False)]


def test_done_has_nothing_to_retry(running: Desk) -> None:
    """The results are there already."""
    case_id = running.lay_input(running.finish(running.add()))
    ran = running.run("retry", case_id, "--yes")
    assert (ran.code, running.words()) == (1, [])
    assert "nothing to retry" in ran.err


@pytest.mark.parametrize("state", WAY)
def test_under_way_has_nothing_to_retry(running: Desk, state: State) -> None:
    """The daemon is at it."""
    case_id = running.walk(running.add(), state)
    ran = running.run("retry", case_id)
    assert (ran.code, running.words()) == (1, [])


def test_an_input_that_is_gone_is_told(running: Desk) -> None:
    """Nothing can be sent that is not there any more."""
    case_id = _case(running, FREE["failed unpaid"])
    (running.settings.failed / "scan" / "scan.dcm").unlink()
    ran = running.run("retry", case_id)
    assert (ran.code, running.words()) == (1, [])
    assert "not in" in ran.err
    assert "hint:" in ran.err


@pytest.mark.parametrize(
    ("root", "way"), [("inbox", "held by refused poll"), ("failed", "failed unpaid")]
)
def test_an_input_in_a_folder_of_before_is_found(running: Desk, root: str, way: str) -> None:
    """A restart with another folder leaves it there: it is said where, and what to do."""
    case_id = _case(running, FREE[way])
    recipe = running.case(case_id).recipe
    old = running.settings.recipes[recipe].inbox if root == "inbox" else running.settings.failed
    kind = f"inbox:{recipe}" if root == "inbox" else root
    running.store.add_root(f"{kind} {old}", str(old))
    other = running.home / "other"
    other.mkdir()
    before = running.config.read_text()
    running.config.write_text(before.replace(f'{root} = "{root}"', f'{root} = "{other}"'))
    ran = running.run("retry", case_id)
    assert (ran.code, running.words()) == (1, [])
    assert f"lies in {old}, which was configured before" in " ".join(ran.err.split())
    running.config.write_text(before)
    assert running.run("retry", case_id).code == 0


def test_a_folder_of_before_that_hangs_is_asked_once(
    running: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It counts as one without the files: a dead mount does not hold up the command."""
    cases = [_case(running, FREE["failed unpaid"], f"c{n}") for n in range(2)]
    for number in range(2):
        (running.settings.failed / f"c{number}" / f"c{number}.dcm").unlink()
    dead, may_go_on, asked = running.home / "dead", threading.Event(), list[str]()
    running.store.add_root(f"failed {dead}", str(dead))

    def hanging(real: Callable[..., Any]) -> Callable[..., Any]:
        def ask(path: Any, *rest: Any, **options: Any) -> Any:
            if str(path).startswith(str(dead)):
                asked.append(str(path))
                may_go_on.wait(5)
            return real(path, *rest, **options)

        return ask

    monkeypatch.setattr(os, "listdir", hanging(os.listdir))
    monkeypatch.setattr(Path, "stat", hanging(Path.stat))
    monkeypatch.setattr(Listings.__init__, "__kwdefaults__", {"within_s": 0.2})
    began = time.monotonic()
    ran = running.run("retry", *cases)
    took_s = time.monotonic() - began
    may_go_on.set()
    assert (ran.code, running.words()) == (1, [])
    assert ran.err.count("is not in") == len(cases)
    assert took_s < 3
    assert len(asked) == 1


def test_one_bad_name_stops_all(running: Desk) -> None:
    """All named cases are checked before a word is said; every reason is told."""
    good = _case(running, FREE["failed unpaid"], "good")
    done = running.finish(running.add("done"))
    ran = running.run("retry", good, "nobody", done)
    assert (ran.code, running.words()) == (1, [])
    assert "nobody" in ran.err
    assert done in ran.err


def test_one_that_costs_stops_all_without_a_yes(running: Desk) -> None:
    """Nothing is done for any of the named cases."""
    free = _case(running, FREE["failed unpaid"], "free")
    costly = _case(running, COSTLY["failed by the Engine"], "costly")
    assert (running.run("retry", free, costly).code, running.words()) == (1, [])
    assert running.run("retry", free, costly, "--yes").code == 0
    assert {subject for _, subject, _ in running.words()} == {free, costly}


def test_a_person_is_asked_once_for_all(running: Desk) -> None:
    """The question names the cases; a no does nothing, a yes counts for those that cost."""
    free = _case(running, FREE["failed unpaid"], "free")
    costly = [_case(running, COSTLY["failed by the Engine"], f"c{n}") for n in range(2)]
    asked: list[str] = []

    def ask(question: str, *, answer: bool) -> bool:
        asked.append(question)
        return answer

    wanted = Wanted((free, *costly))
    with pytest.raises(Refusal):
        retry(running.config, wanted, yes=False, ask=lambda q: ask(q, answer=False))
    assert running.words() == []
    result = retry(running.config, wanted, yes=False, ask=lambda q: ask(q, answer=True))
    assert result.exit_code == 0
    assert len(asked) == 2
    assert all(case_id in asked[0] for case_id in costly)
    assert running.words() == [
        ("retry", free, False),
        *(("retry", case_id, True) for case_id in costly),
    ]


def test_all_failed_and_all_held(running: Desk) -> None:
    """Both switches gather by state and leave the others alone."""
    failed = _case(running, FREE["failed unpaid"], "a")
    held = _case(running, FREE["held by time"], "b")
    _case(running, FREE["cancelled unpaid"], "c")
    assert running.run("retry", "--failed").code == 0
    assert [subject for _, subject, _ in running.words()] == [failed]
    assert running.run("retry", "--held").code == 0
    assert [subject for _, subject, _ in running.words()] == [failed, held]


def test_none_failed_is_fine(running: Desk) -> None:
    """There is nothing to do, which is no error."""
    ran = running.run("retry", "--failed")
    assert ran.code == 0
    assert "nothing to retry" in ran.err


def test_retry_wants_to_know_which(desk: Desk) -> None:
    """No case and no switch: the command line is wrong."""
    assert desk.run("retry").code == 2


def test_a_stopped_daemon_acts_at_its_start(desk: Desk) -> None:
    """The word waits in the state file, and the person is told."""
    case_id = _case(desk, FREE["failed unpaid"])
    ran = desk.run("retry", case_id)
    assert ran.code == 0
    assert "next start" in ran.err
    assert desk.words() == [("retry", case_id, False)]


@pytest.mark.parametrize(
    "state",
    [
        State.CLAIMING,
        State.SUBMITTING,
        State.UPLOADING,
        State.NOTIFYING,
        State.WAITING,
        State.FETCHING,
    ],
)
def test_cancel_leaves_its_word(running: Desk, state: State) -> None:
    """Whatever is under way and not yet being delivered can be stopped."""
    case_id = running.walk(running.add(), state)
    assert running.run("cancel", case_id).code == 0
    assert running.words() == [("cancel", case_id, False)]


@pytest.mark.parametrize("state", [State.DELIVERING, State.ARCHIVING])
def test_what_is_being_delivered_is_not_cancelled(running: Desk, state: State) -> None:
    """It is too late, and told so."""
    case_id = running.walk(running.add(), state)
    ran = running.run("cancel", case_id)
    assert (ran.code, running.words()) == (1, [])
    assert "already being delivered" in ran.err


def test_a_case_at_rest_is_not_cancelled(running: Desk) -> None:
    """Nor is any other that was named beside it."""
    done = running.finish(running.add("done"))
    other = running.add("other")
    ran = running.run("cancel", other, done)
    assert (ran.code, running.words()) == (1, [])
    assert "nothing to cancel" in ran.err


@pytest.mark.parametrize(("answer", "code"), [(b"y\n", 0), (b"n\n", 1), (b"\n", 1)])
def test_the_question_comes_on_a_terminal(running: Desk, answer: bytes, code: int) -> None:
    """A yes counts, anything else does nothing; stdout stays free for data."""
    case_id = _case(running, COSTLY["failed by the Engine"])
    ours, theirs = pty.openpty()
    os.write(ours, answer)
    done = subprocess.run(
        [sys.executable, "-m", "vpe_watcher", "retry", case_id, "--config", str(running.config)],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm"},
        check=False,
    )
    os.close(theirs)
    shown = os.read(ours, 10000).decode()
    os.close(ours)
    assert "Go on?" in shown
    assert case_id in shown
    assert done.returncode == code
    assert b"Go on?" not in done.stdout
    assert running.words() == ([("retry", case_id, True)] if code == 0 else [])
