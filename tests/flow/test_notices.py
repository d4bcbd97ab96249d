"""A daemon that tells people: over a real receiver, through outages, nights and crashes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from tests.flow.house import House, nifti
from tests.receiver import Received, Receiver
from vpe_watcher.adapters.notify import signature
from vpe_watcher.app.assembly import Clock
from vpe_watcher.app.crew import Crew
from vpe_watcher.app.notifying import SENDER, Notifying
from vpe_watcher.core.errors import EnvironmentFault
from vpe_watcher.core.model import State
from vpe_watcher.sandbox.options import Options

SECRET = "a webhook's secret"
NAMES = ("Mueller", "Huber", "Sánchez")


def notify_settings(receiver: Receiver, **more: object) -> dict[str, object]:
    """Return the table `[notify]` for a receiver."""
    return {"webhook": {"url": f"{receiver.url}/hook?key=t0ken", "secret": SECRET}, **more}


Building = Callable[..., House]


@pytest.fixture
def build_told(build: Building, receiver: Receiver) -> Building:
    """Build houses whose daemon tells the receiver."""

    def make(**more: object) -> House:
        options = more.pop("options", None)
        return build(options=options, notify=notify_settings(receiver, **more))

    return make


def notifying_of(house: House) -> Notifying:
    """Return what the daemon of a house would run on threads of its own."""
    return Notifying(
        house.settings,
        house.parts,
        clock=Clock(house.time.now, house.time.monotonic),
        stopping=house.stopping,
        chance=lambda: 1.0,
        log=house.log,
    )


def test_only_a_sender_bears_a_senders_name(build_told: Building) -> None:
    """A stop waits for the clerk, who writes rows, also for one that came with a reload."""
    crew = Crew(leave=lambda: None, log=lambda _event, /, **_fields: None)
    works = list(notifying_of(build_told()).threads())
    for name, _ in works:
        crew.start(name, lambda: None)
    again = [crew.numbered(name) for name, _ in works]
    assert [name.startswith(SENDER) for name in again] == [False, True]
    assert not {name for name, _ in works} & set(again)


def live(house: House, notifying: Notifying, seconds: float, *, step_s: float = 5.0) -> None:
    """Let time pass for daemon and notices."""
    for _ in range(int(seconds / step_s)):
        house.turn()
        notifying.turn()
        house.time.advance(step_s)


def go_to(house: House, clock: str) -> None:
    """Let both clocks jump forward to a local time of day."""
    here = datetime.fromtimestamp(house.time.wall, UTC).astimezone()
    hour, minute = map(int, clock.split(":"))
    then = here.replace(hour=hour, minute=minute, second=0, microsecond=0)
    house.time.advance((then - here).total_seconds() % (24 * 3600))


def drop_bad(house: House, *names: str) -> None:
    """Drop scans that fail."""
    for name in names:
        house.drop(name, b"no scan at all, whatever its name says" * 20)


def test_an_hour_without_a_receiver(build_told: Building, receiver: Receiver) -> None:
    """All arrive afterwards, each once, in the order in which they came to be."""
    house = build_told()
    notifying = notifying_of(house)
    receiver.down()
    for number in range(6):
        drop_bad(house, f"scan{number}.nii")
        live(house, notifying, 600)
    failed = [fields["case_id"] for event, fields in house.events if event == "case.failed"]
    assert len(failed) == 6
    assert receiver.received == []
    receiver.up()
    live(house, notifying, 600)
    told = [one.document["details"]["case_id"] for one in receiver.received]
    assert told == failed
    assert len(set(receiver.ids())) == 6
    waits = [fields for event, fields in house.events if event == "notice.waiting"]
    assert len(waits) == 1  # not once for each try


def test_no_name_leaves_the_house(build_told: Building, receiver: Receiver) -> None:
    """Neither of a file nor of a folder, in no byte that is sent; and the signature holds."""
    house = build_told(digest_at="07:00", options=Options(success=False))
    notifying = notifying_of(house)
    drop_bad(house, f"{NAMES[0]}_Anna.nii", f"{NAMES[2]}.nii.gz")
    house.drop(f"{NAMES[1]}/{NAMES[1]} upper.stl", b"solid Huber")
    house.drop(f"{NAMES[1]}/{NAMES[1]}.nii", nifti())
    live(house, notifying, 1200)
    go_to(house, "07:01")
    live(house, notifying, 60)
    assert {"case.failed", "digest"} <= set(receiver.events())
    sent = b"".join(
        one.path.encode() + str(one.headers).encode() + one.body for one in receiver.received
    )
    for name in NAMES:
        for spelled in (name, name.lower(), name.upper()):
            assert spelled.encode() not in sent
            assert spelled.encode("unicode-escape") not in sent
    assert str(house.root).encode() not in sent
    assert SECRET.encode() not in sent
    for one in receiver.received:
        timestamp = one.headers["X-VPE-Watcher-Timestamp"]
        assert one.headers["X-VPE-Watcher-Signature"] == signature(SECRET, timestamp, one.body)
        assert one.headers["Idempotency-Key"] == one.document["id"]
    logged = str([fields for event, fields in house.events if event.startswith("notice.")])
    assert not [word for word in (*NAMES, "t0ken", SECRET) if word in logged]


def test_names_when_the_configuration_says_so(build_told: Building, receiver: Receiver) -> None:
    """The search of the test before would find them."""
    house = build_told(names=True)
    notifying = notifying_of(house)
    drop_bad(house, f"{NAMES[0]}.nii")
    live(house, notifying, 60)
    assert receiver.received[0].document["details"]["case_name"] == NAMES[0]
    assert f"Case name: {NAMES[0]}" in receiver.received[0].document["text"]


def test_a_crash_between_sending_and_recording(
    build_told: Building, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next daemon sends it again under the same id, and no other one twice."""
    house = build_told()
    drop_bad(house, "one.nii", "two.nii")
    house.live_until_rest()

    def die(*_: object) -> None:
        raise SystemExit

    notifying = notifying_of(house)
    monkeypatch.setattr(house.parts.store, "settle_notice", die)
    with pytest.raises(SystemExit):
        notifying.turn()
    house.restart()
    live(house, notifying_of(house), 30)
    first, again, second = receiver.ids()
    assert first == again
    assert second != first


def test_quiet_hours(build_told: Building, receiver: Receiver) -> None:
    """At night a failed case waits for the morning; a full disk does not."""
    house = build_told(quiet_hours="22:00-06:30", digest_at="")
    notifying = notifying_of(house)
    go_to(house, "23:00")
    drop_bad(house, "scan.nii")
    live(house, notifying, 120)
    assert receiver.received == []
    fault = EnvironmentFault("No room.", code="disk_low", breaker="disk", hint="Make some.")
    house.parts.breakers.open(fault, kind="free space")
    live(house, notifying, 30)
    assert receiver.events() == ["breaker.opened"]
    assert receiver.received[0].document["urgent"] is True
    go_to(house, "06:31")
    live(house, notifying, 30)
    assert receiver.events() == ["breaker.opened", "case.failed"]


def test_a_flapping_breaker(build_told: Building, receiver: Receiver) -> None:
    """Told once, though the daemon starts again in the middle, and so is its end."""
    house = build_told(digest_at="")
    notifying = notifying_of(house)
    fault = EnvironmentFault("No answer.", code="gone", breaker="engine", hint="Wait.")
    for number in range(40):
        house.parts.breakers.open(fault, kind="submitting")
        live(house, notifying, 20)
        house.parts.breakers.close("engine", kind="submitting")
        live(house, notifying, 20)
        if number == 20:
            house.restart()
            notifying = notifying_of(house)
    assert receiver.events() == ["breaker.opened"]
    live(house, notifying, 320)
    assert receiver.events() == ["breaker.opened", "breaker.closed"]
    assert "No answer." in receiver.received[0].document["text"]


def test_one_digest_a_day(build_told: Building, receiver: Receiver) -> None:
    """None for a day that was not seen; what ended, what is there, what is out of order."""
    house = build_told(on=["digest"], digest_at="07:00")
    go_to(house, "09:00")
    notifying = notifying_of(house)
    house.drop("good.nii")
    drop_bad(house, "bad.nii")
    live(house, notifying, 300)
    assert receiver.received == []
    go_to(house, "07:00")
    live(house, notifying, 300)
    house.restart()
    live(house, notifying_of(house), 300)
    (digest,) = receiver.received
    assert digest.document["details"] == {
        "ended": {"done": 1, "failed": 1},
        "now": {},
        "breakers": [],
    }
    go_to(house, "07:00")
    live(house, notifying_of(house), 60)
    assert receiver.events() == ["digest", "digest"]


def test_a_refusal_is_taken_as_the_last_word(build_told: Building, receiver: Receiver) -> None:
    """It is logged once, and the next notice goes on its way."""

    def status(_: Received) -> int:
        return 410 if len(receiver.received) == 1 else 204

    receiver.status = status
    house = build_told()
    notifying = notifying_of(house)
    drop_bad(house, "one.nii", "two.nii")
    live(house, notifying, 60)
    assert len(receiver.received) == 2
    assert [event for event, _ in house.events if event.startswith("notice.")] == [
        "notice.refused",
        "notice.sent",
    ]


def test_what_nobody_takes_is_dropped_in_the_end(build_told: Building, receiver: Receiver) -> None:
    """After give_up_after_h, with a word in the log."""
    house = build_told(give_up_after_h=2, digest_at="")
    notifying = notifying_of(house)
    receiver.down()
    drop_bad(house, "one.nii")
    live(house, notifying, 3 * 3600, step_s=60)
    assert ("notice.dropped", {"count": 1}) in house.events
    receiver.up()
    live(house, notifying, 600)
    assert receiver.received == []


def test_a_state_file_that_fails_is_told_without_it(
    build_told: Building, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be put down is told at once, and once; afterwards it is known."""
    house = build_told(digest_at="")
    notifying = notifying_of(house)
    notifying.turn()
    fault = EnvironmentFault("It is full.", code="state_full", breaker="state", hint="Make room.")

    def fail(*_: object, **__: object) -> None:
        raise fault

    house.parts.breakers.open(fault, kind="main")
    with monkeypatch.context() as patch:
        for verb in ("put_notice", "set_told", "settle_notice", "take_notice", "has_notice"):
            patch.setattr(house.parts.store, verb, fail)
        for _ in range(5):
            with pytest.raises(EnvironmentFault):
                notifying.clerk.turn()
            notifying.senders[0].turn()
            house.time.advance(1)
    assert receiver.events() == ["breaker.opened"]
    live(house, notifying, 10)
    house.parts.breakers.close("state", kind="main")
    live(house, notifying, 330)
    assert receiver.events() == ["breaker.opened", "breaker.closed"]


def test_a_receiver_that_hangs_is_waited_for_by_nobody(
    build_told: Building, receiver: Receiver
) -> None:
    """Cases go on, and a daemon that stops leaves the sender behind, away from the state file."""
    receiver.status = lambda _: None
    house = build_told()
    notifying = notifying_of(house)
    drop_bad(house, "bad.nii")
    house.live_until_rest()
    thread = threading.Thread(target=notifying.senders[0].turn, daemon=True)
    thread.start()
    house.drop("good.nii")
    house.live(60)
    assert house.states()["good"] is State.DONE
    assert thread.is_alive()
    notifying.stop()
    receiver.release.set()
    thread.join(20)
    assert not thread.is_alive()
    assert house.parts.store.has_notice("webhook", only_urgent=False)
