"""What is told, in which words, and when: the pure part."""

from __future__ import annotations

import pytest

from vpe_watcher.core.notices import (
    UNSAID,
    Episode,
    Notice,
    document,
    judge,
    nameless,
    of_breaker,
    words,
)

NOW = "2026-11-23T07:00:00.000Z"


@pytest.mark.parametrize(
    ("text", "names", "told"),
    [
        ("The scan is not complete.", ["scan.dcm"], "The scan is not complete."),
        ("512 declared, 509 here.", ["512.dcm", "509.dcm"], "512 declared, 509 here."),
        ('Engine: "Mueller\'s scan".', ["scan.dcm"], 'Engine: "…".'),
        ('Engine: "Value "Mueller^Anna" is bad".', ["scan.dcm"], 'Engine: "…".'),
        ('Engine: "[{"input":"Mueller"}]". Stop.', ["scan.dcm"], 'Engine: "…". Stop.'),
        ("The file Mueller is bad.", ["Mueller_Anna.dcm"], UNSAID),
        ("The file of MUELLERS is bad.", ["mueller.dcm"], UNSAID),
        ("Patient Li has no scan.", ["Li.dcm"], UNSAID),
        ("A list is like this.", ["Li.dcm"], "A list is like this."),
        ("The patient 王 is here.", ["王.dcm"], UNSAID),
        ("It is 4711-08 of 12345678.", ["12345678.dcm"], UNSAID),
        ("", ["Anna"], ""),
    ],
)
def test_nothing_of_a_name_is_told(text: str, names: list[str], told: str) -> None:
    """What others said is cut out; a sentence with anything of a name is left out as a whole."""
    assert nameless(text, names) == told


def lived(name: str, *spans: tuple[float, float], until: float) -> list[tuple[float, str]]:
    """Look every second while a breaker is open in some spans; return what is told when."""
    told, episodes, now = [], dict[str, Episode](), 0.0
    while now <= until:
        is_open = any(begin <= now < end for begin, end in spans)
        open_now = frozenset({name} if is_open else ())
        news = judge(episodes, open_now, now=now, after_s=60, calm_s=300)
        told += [(now, "opened") for _ in news.opened] + [(now, "closed") for _ in news.closed]
        episodes, now = news.episodes, now + 1
    return told


def test_a_short_trouble_is_not_told() -> None:
    """Nobody is called for what heals by itself in a minute."""
    assert lived("engine", (10, 60), until=900) == []


def test_a_trouble_that_lasts_is_told_once_and_so_is_its_end() -> None:
    """The end is told when it has been good for a while."""
    assert lived("engine", (10, 200), until=900) == [(70, "opened"), (500, "closed")]


def test_a_breaker_that_flaps_is_told_once() -> None:
    """Hours of opening and closing are one trouble."""
    spans = [(at, at + 20.0) for at in range(0, 7200, 40)]
    told = lived("engine", *spans, until=9000)
    assert [word for _, word in told] == ["opened", "closed"]
    assert told[1][0] == spans[-1][1] + 300


def test_what_stops_all_intake_is_told_at_once() -> None:
    """A disk that is full, a state file that cannot be written: there is no minute to wait."""
    assert lived("disk", (10, 20), until=900) == [(10, "opened"), (320, "closed")]
    assert of_breaker("state", is_open=True).is_urgent
    assert not of_breaker("engine", is_open=True).is_urgent


def test_a_document_and_its_words() -> None:
    """A program finds the fields, a person what to do; both find the id."""
    draft = of_breaker("outbox", is_open=True, reason="It is gone.", hint="Mount it.")
    notice = Notice(7, "id1", draft.kind, NOW, draft.facts)
    found = document(notice, host="pc1")
    assert found["schema"] == "vpe-watcher/notice/1"
    assert (found["id"], found["event"], found["time"]) == ("id1", "breaker.opened", NOW)
    assert found["details"] == {"breaker": "outbox", "message": "It is gone.", "hint": "Mount it."}
    title, text = words(notice, host="pc1")
    assert title == "vpe-watcher on pc1: outbox is out of order, and what needs it waits"
    assert text == (
        "What happened: It is gone.\nWhat to do: Mount it.\n\n"
        "At 2026-11-23T07:00:00.000Z, notice id1."
    )


def test_what_was_only_counted_says_how_many() -> None:
    """A flood is one sentence."""
    title, _ = words(Notice(7, "id1", "case.failed", NOW, {}, count=9800), host="pc1")
    assert "9800 more of case.failed" in title
