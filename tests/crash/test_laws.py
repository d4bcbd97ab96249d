"""The laws see what they are there for: each is broken by hand once."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.crash.laws import broken_at_death, broken_laws
from tests.crash.lives import Stage
from tests.crash.scenarios import SCENARIOS

FILE = SCENARIOS["file"]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """Return a stage on which one file was delivered."""
    found = FILE.stage(tmp_path / "stage")
    found.live_once()
    yield found
    found.sandbox.close()


def _lose_the_input(stage: Stage) -> None:
    (stage.root / "archive/scan/scan.nii").unlink()


def _lose_the_explanation(stage: Stage) -> None:
    (stage.root / "archive/scan/result.json").unlink()


def _half_fail(stage: Stage) -> None:
    (stage.root / "failed/scan").mkdir()
    (stage.root / "failed/scan/error.json").write_bytes(b'{"schema":')


def _double_the_input(stage: Stage) -> None:
    shutil.copy(stage.root / "archive/scan/scan.nii", stage.root / "failed")


def _deliver_twice(stage: Stage) -> None:
    shutil.copytree(stage.root / "outbox/scan", stage.root / "outbox/scan.2")


def _leave_a_draft(stage: Stage) -> None:
    (stage.root / "outbox/.vpe-watcher/staging/x").mkdir(parents=True)


def _lose_the_record(stage: Stage) -> None:
    (record,) = (stage.root / "archive/.vpe-watcher/records").iterdir()
    record.unlink()


def _leave_a_record(stage: Stage) -> None:
    (stage.root / "outbox/.vpe-watcher/records/x.json").write_text('{"attempts": 1}')


def _keep_an_old_record(stage: Stage) -> None:
    (stage.root / "failed/.vpe-watcher/records").mkdir(parents=True)
    (stage.root / "failed/.vpe-watcher/records/x.json").write_text('{"attempts": 1}')


def _change_a_mesh(stage: Stage) -> None:
    (stage.root / "outbox/scan/mandible.stl").write_bytes(b"")


def _start_again(stage: Stage) -> None:
    stage.sandbox.ledger.job().started += 1


def _leave_an_attempt(stage: Stage) -> None:
    with stage.database() as database, database.transaction() as connection:
        connection.execute("UPDATE events SET outcome = NULL WHERE step = 'waiting'")


def _leave_a_word(stage: Stage) -> None:
    stage.leave_word("retry", "scan")


def _ask_for_tokens(stage: Stage) -> None:
    stage.sandbox.ledger.tokens_issued += 1


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (_lose_the_input, "scan.nii is in 0 places"),
        (_double_the_input, "scan.nii is in 2 places"),
        (_deliver_twice, "the folders hold"),
        (_leave_a_draft, "left over"),
        (_leave_a_record, "left over"),
        (_lose_the_record, "the records of archive are"),
        (_keep_an_old_record, "the records of failed are"),
        (_change_a_mesh, "is not what its manifest says"),
        (_start_again, "jobs started: [2]"),
        (_leave_an_attempt, "an attempt is open"),
        (_leave_a_word, "a word was not obeyed"),
        (_ask_for_tokens, "2 tokens in 1 lives"),
    ],
)
def test_a_broken_law_is_named(stage: Stage, break_it: Callable[[Stage], None], words: str) -> None:
    """What was fine is not fine any more, and the words say what is wrong."""
    assert broken_laws(stage, FILE) == []
    break_it(stage)
    assert any(words in law for law in broken_laws(stage, FILE))


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (_lose_the_input, "was nowhere"),
        (_change_a_mesh, "is not what its manifest says"),
        (_lose_the_explanation, "archive/scan was visible without result.json"),
        (_half_fail, "failed/scan was visible without error.txt"),
        (_half_fail, "failed/scan was visible with half of error.json"),
        (_lose_the_record, "had ended without a record"),
    ],
)
def test_a_law_of_any_moment_is_named(
    stage: Stage, break_it: Callable[[Stage], None], words: str
) -> None:
    """What a death may not leave behind is seen at once."""
    assert broken_at_death(stage) == []
    break_it(stage)
    assert any(words in law for law in broken_at_death(stage))


def test_an_input_that_is_to_be_deleted_is_missed_without_its_result(tmp_path: Path) -> None:
    """It may go when its result is there, and not before."""
    stage = SCENARIOS["deleted"].stage(tmp_path / "stage")
    stage.live_once()
    assert broken_at_death(stage) == []
    shutil.rmtree(stage.root / "outbox/scan")
    assert broken_at_death(stage) == ["scan.nii was nowhere when the daemon had died"]
    stage.sandbox.close()


def test_an_archive_that_lacks_a_slice_is_named(tmp_path: Path) -> None:
    """What the Engine computed from is held against what was dropped."""
    stage = SCENARIOS["series"].stage(tmp_path / "stage")
    with closing(stage.sandbox):
        stage.live_once()
        assert broken_laws(stage, SCENARIOS["series"]) == []
        path = stage.sandbox.ledger.job().inputs["cbct"].uploads[-1].path
        with zipfile.ZipFile(path) as archive:
            content = {name: archive.read(name) for name in archive.namelist()[1:]}
        with zipfile.ZipFile(path, "w") as archive:
            for name, slice_ in content.items():
                archive.writestr(name, slice_)
        assert any(
            "archives that are not" in law for law in broken_laws(stage, SCENARIOS["series"])
        )


def test_what_is_written_into_an_export_is_named(tmp_path: Path) -> None:
    """A marker of ours would be one thing too many."""
    stage = SCENARIOS["place"].stage(tmp_path / "stage")
    with closing(stage.sandbox):
        stage.live_once()
        assert broken_laws(stage, SCENARIOS["place"]) == []
        (stage.root / "export/.vpe-watcher").mkdir()
        assert broken_laws(stage, SCENARIOS["place"])
