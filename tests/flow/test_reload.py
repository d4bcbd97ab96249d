"""Other settings for a daemon that goes on: what counts, what is refused, what is let be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.flow.house import STL_JOB, House, merged, nifti
from tests.flow.test_poison import die_in, poisoned
from vpe_watcher.adapters.leases import Openness
from vpe_watcher.app.reload import Orders, prepare, take_over
from vpe_watcher.app.terms import setup_of
from vpe_watcher.core.errors import ConfigError
from vpe_watcher.core.model import Case, State

Build = Callable[..., House]
Patch = pytest.MonkeyPatch
OBJ = b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"  # which cannot prove that it is complete
OTHER_JOB = {"outputFiles": {"meshes": [{"extension": ".stl", "structures": ["maxilla"]}]}}


def _add_recipe(house: House, name: str = "teeth", **keys: Any) -> None:
    """Make a recipe's inbox and reload."""
    (house.root / "inbox" / name).mkdir(exist_ok=True)
    house.reload(recipes={name: keys})


def _refused(house: House, code: str, match: str, **overrides: Any) -> None:
    """Reload and be refused; nothing has changed."""
    before = (house.parts.settings, house.parts.ports, dict(house.parts.inboxes))
    with pytest.raises(ConfigError, match=match) as refusal:
        house.reload(**overrides)
    assert refusal.value.code == code
    assert refusal.value.hint
    assert (house.parts.settings, house.parts.ports, dict(house.parts.inboxes)) == before


# --- recipes -------------------------------------------------------------------------------------


def test_a_recipe_that_is_added_is_served(build: Build) -> None:
    """Its inbox is looked after, with its own job; the main inbox takes it for a case no more."""
    house = build()
    (house.root / "inbox" / "teeth").mkdir()
    house.live(10)
    house.reload(recipes={"teeth": {"job": OTHER_JOB}})
    house.drop("scan.nii", recipe="teeth")
    house.live_until_rest()
    case = house.case("scan")
    assert (case.recipe, case.state) == ("teeth", State.DONE)
    assert dict(case.job)["outputFiles"] == OTHER_JOB["outputFiles"]
    assert (house.root / "inbox" / "teeth").is_dir()


def test_a_new_inbox_that_is_missing_opens_its_breaker(build: Build) -> None:
    """As at a start: no mistake in the configuration, and healed when it comes."""
    house = build()
    house.reload(recipes={"teeth": {}})
    house.live(5)
    assert house.breakers() == {"inbox:teeth"}
    (house.root / "inbox" / "teeth").mkdir()
    house.drop("scan.nii", recipe="teeth")
    house.live_until_rest(at_most_s=900)
    assert house.breakers() == set()


def test_a_recipe_that_is_removed_is_left_alone(build: Build) -> None:
    """What lies in its inbox stays there, and its breakers go with it."""
    house = build(recipes={"teeth": {}})
    house.live(2)
    (house.root / "inbox" / "teeth").rename(house.root / "away")
    house.live(10)
    assert house.breakers() == {"inbox:teeth"}
    inbox = house.parts.inboxes["teeth"]
    _remove(house)
    inbox.turn()  # its thread may be in the middle of one
    assert house.breakers() == set()
    house.drop("scan.nii")
    house.live_until_rest()
    assert list(house.parts.inboxes) == ["default"]


def _remove(house: House) -> None:
    """Take all recipes out and reload."""
    house.overrides = {**house.overrides, "recipes": {}}
    house.reload()


@pytest.mark.parametrize("state", [State.CLAIMING, State.WAITING, State.ARCHIVING])
def test_a_recipe_with_cases_under_way_may_not_go(build: Build, state: State) -> None:
    """The reload does what a start would: it refuses, names recipe and number, and all goes on."""
    house = build(recipes={"teeth": {}})
    house.drop("scan.nii", recipe="teeth")
    house.live_until("scan", state)
    kept = house.overrides
    house.overrides = {**kept, "recipes": {}}
    _refused(house, "recipe_in_use", r"teeth \(1\)")
    house.overrides = kept
    house.drop("other.nii", nifti(seed=1), recipe="teeth")
    house.live(60)
    assert house.states() == {"scan": State.DONE, "other": State.DONE}
    _remove(house)
    assert "teeth" not in house.parts.inboxes


def test_a_recipe_takes_nothing_while_it_is_removed(build: Build) -> None:
    """A look that found a scan ready before the answer writes no row behind it."""
    house = build(recipes={"teeth": {}})
    house.drop("scan.nii", recipe="teeth")
    inbox = house.parts.inboxes["teeth"]
    _remove(house)
    for _ in range(3):
        inbox.turn()
        house.time.advance(60)
    assert house.cases() == []
    assert (house.root / "inbox" / "teeth" / "scan.nii").exists()


@pytest.mark.parametrize("key", ["inbox", "outbox"])
def test_a_folder_may_change_when_nothing_needs_the_old_one(build: Build, key: str) -> None:
    """A case under way keeps it from changing; afterwards the new folder counts at once."""
    house = build(recipes={"teeth": {}})
    other = house.root / "other"
    other.mkdir()
    state = State.WAITING if key == "inbox" else State.DELIVERING
    house.drop("scan.nii", recipe="teeth")
    house.live_until("scan", state)
    recipes = {"teeth": {key: str(other)}}
    _refused(house, "folder_in_use", rf"the {key} of teeth \(1\)", recipes=recipes)
    house.live_until_rest()
    house.reload(recipes=recipes)
    if key == "inbox":
        (other / "late.nii").write_bytes(nifti(seed=1))
    else:
        house.drop("late.nii", nifti(seed=1), recipe="teeth")
    house.live_until_rest()
    assert house.case("late").state is State.DONE
    outbox = other if key == "outbox" else house.root / "outbox"
    assert (outbox / "late" / "result.json").exists()


def _hold(house: House) -> Case:
    """Hold the case of a scan in the recipe `teeth`, by a poll that is refused."""
    house.sandbox.set_faults([{"on": "poll", "times": 1, "do": {"status": 403}}])
    house.drop("scan.nii", recipe="teeth")
    return house.live_until("scan", State.HELD)


def _change(house: House, way: str) -> dict[str, Any]:
    """Return what takes the inbox of `teeth` away, or exchanges it."""
    (house.root / "other").mkdir(exist_ok=True)
    if way == "removed":
        house.overrides = {**house.overrides, "recipes": {}}
        return {}
    if way == "left in place":
        return {"recipes": {"teeth": {"leave_in_place": True}}}
    return {"recipes": {"teeth": {"inbox": str(house.root / "other")}}}


@pytest.mark.parametrize("way", ["removed", "exchanged", "left in place"])
def test_an_inbox_with_held_scans_may_not_go(build: Build, way: str) -> None:
    """Their scans lie in its hidden folder, where `retry` would not find them any more."""
    house = build(recipes={"teeth": {}})
    case = _hold(house)
    kept = house.overrides
    change = _change(house, way)
    _refused(house, "folder_in_use", r"the inbox of teeth \(1\)", **change)
    house.overrides = kept
    house.say("retry", case)
    house.live_until("scan", State.DONE)
    house.reload(**_change(house, way))


@pytest.mark.parametrize("is_taken_along", [True, False])
def test_a_held_scan_that_is_not_there_keeps_no_inbox(
    build: Build, *, is_taken_along: bool
) -> None:
    """Taken along with the whole inbox it is found there; taken out by hand it is a person's."""
    house = build(recipes={"teeth": {}})
    case = _hold(house)
    inbox = house.root / "inbox/teeth"
    if is_taken_along:
        inbox.rename(house.root / "other")
    else:
        (house.root / "other").mkdir()
        house.claimed(case).parent.rename(house.root / "kept")
    house.reload(recipes={"teeth": {"inbox": str(house.root / "other")}})
    if is_taken_along:
        house.say("retry", case)
        house.live_until("scan", State.DONE)
    assert house.parts.inboxes["teeth"].options.folder == house.root / "other"


def test_an_inbox_that_says_nothing_may_hold_held_scans(build: Build) -> None:
    """An unmounted share looks like an inbox in which nothing is claimed."""
    house = build(recipes={"teeth": {}})
    _hold(house)
    inbox = house.root / "inbox/teeth"
    inbox.rename(house.root / "share")
    inbox.mkdir()
    change = _change(house, "exchanged")
    _refused(house, "folder_in_use", r"the inbox of teeth \(1\)", **change)


def test_a_case_that_is_held_while_a_reload_is_read_counts(build: Build) -> None:
    """What was asked of the folder before says nothing of it."""
    house = build(recipes={"teeth": {}})
    house.sandbox.set_faults([{"on": "poll", "times": 1, "do": {"status": 403}}])
    house.drop("scan.nii", recipe="teeth")
    house.live_until("scan", State.WAITING)
    house.overrides = merged(house.overrides, _change(house, "exchanged"))
    orders = prepare(house.parts, house.read_settings(), engine_of=lambda _: house.engine)
    house.live_until("scan", State.HELD)
    with pytest.raises(ConfigError, match=r"the inbox of teeth \(1\)"):
        take_over(house.parts, orders)


def test_a_held_case_that_is_retried_while_a_reload_is_read_counts(build: Build) -> None:
    """Nothing of it lay in the inbox when that was asked; now it is under way there."""
    house = build(recipes={"teeth": {}})
    case = _hold(house)
    claims, kept = house.claimed(case).parent, house.root / "kept"
    claims.rename(kept)
    house.overrides = merged(house.overrides, _change(house, "exchanged"))
    orders = prepare(house.parts, house.read_settings(), engine_of=lambda _: house.engine)
    assert orders.emptied == {case.case_id}
    kept.rename(claims)
    house.say("retry", case)
    house.live_until("scan", State.WAITING)
    with pytest.raises(ConfigError, match=r"the inbox of teeth \(1\)"):
        take_over(house.parts, orders)


def test_the_outbox_of_a_step_that_is_held_stays(build: Build) -> None:
    """A retry goes on there: without its results it would take them for published."""
    house = build(recipes={"teeth": {}})
    house.drop("scan.nii", recipe="teeth")
    house.live_until("scan", State.DELIVERING)
    for _ in range(5):
        die_in(house, "scan")
    poisoned(house, "scan")
    other = house.root / "other"
    other.mkdir()
    recipes = {"teeth": {"outbox": str(other)}}
    _refused(house, "folder_in_use", r"the outbox of teeth \(1\)", recipes=recipes)


@pytest.mark.parametrize("key", ["archive", "failed"])
def test_where_scans_rest_may_change_between_two_archivings(build: Build, key: str) -> None:
    """Not while one is being put away: what it left in the old folder would be forgotten."""
    house = build()
    other = house.root / "other"
    other.mkdir()
    house.drop("scan.nii")
    house.live_until("scan", State.ARCHIVING)
    _refused(house, "folder_in_use", rf"{key} \(1\)", **{key: str(other)})
    house.live_until_rest()
    house.reload(**{key: str(other)})
    house.drop("late.nii", nifti(seed=1) if key == "archive" else b"\x01" * 600)
    house.live(60)
    assert [path.name for path in other.iterdir() if not path.name.startswith(".")] == ["late"]


def test_a_new_folder_that_knows_more_than_the_state_file_is_refused(build: Build) -> None:
    """As at a start: a claim of ours that no row tells of is no ground to go on."""
    house = build()
    other = house.root / "other"
    (other / ".vpe-watcher" / "house" / "c1").mkdir(parents=True)
    _refused(house, "state_outdated", "claim", recipes={"x": {"inbox": str(other)}})
    house.drop("scan.nii")
    house.live_until_rest()


def test_a_recipe_may_go_and_come_back(build: Build) -> None:
    """Its folder bears the marker of this life: that is no contradiction."""
    house = build(recipes={"teeth": {}})
    house.live(2)
    for _ in range(3):
        _remove(house)
        _add_recipe(house)
        house.live(2)
    house.drop("scan.nii", recipe="teeth")
    house.live_until_rest()
    assert house.breakers() == set()


# --- rules of intake -----------------------------------------------------------------------------


def test_what_was_seen_stays_seen(build: Build) -> None:
    """A reload does not begin the quiet time anew: fifty of them keep no scan waiting."""
    house = build(intake={"settle_s": 10})
    house.drop("a_upper.obj", OBJ)
    for number in range(12):
        house.reload(limits={"jobs_in_flight": 10 + number})
        house.turn()
        house.time.advance(1)
    house.turn()
    assert "a_upper" in house.states()


def test_intake_keys_count_for_what_waits_already(build: Build) -> None:
    """A shorter quiet time, a name to leave alone, another pattern: from the next look on."""
    house = build(intake={"settle_s": 1000})
    house.drop("bowl.obj", OBJ)
    house.drop("keep_upper.obj", OBJ)
    house.live(20)
    assert house.cases() == []
    house.reload(intake={"settle_s": 1, "ignore": ["keep*"], "patterns": {"ios_lower": ["bowl*"]}})
    house.live_until_rest()
    assert house.states() == {"bowl": State.DONE}
    assert (house.root / "inbox" / "keep_upper.obj").exists()


def test_nothing_is_judged_by_old_rules_after_a_reload(build: Build) -> None:
    """A look that is under way when the rules change takes nothing by the old ones."""
    house = build()
    house.drop("scan.nii")
    inbox = house.parts.inboxes["default"]
    openness = house.parts.ports.openness
    reloads: list[Orders] = []

    def openness_of(recipe: str, path: Path) -> Openness:
        if not reloads:
            reloads.append(house.reload(intake={"ignore": ["scan*"]}))
        return openness(recipe, path)

    ports = replace(house.parts.ports, openness=openness_of)
    inbox.use(setup_of(house.settings, house.settings.recipes["default"], ports))
    for _ in range(6):
        inbox.turn()
        house.time.advance(60)
    assert reloads
    assert house.cases() == []


def test_the_turn_that_adopts_rules_judges_by_them(build: Build, monkeypatch: Patch) -> None:
    """Also where the word to look anew comes behind it, or is lost in a look that just began."""
    house = build(intake={"settle_s": 5, "scan_every_s": 600})
    house.drop("bowl_upper.obj", OBJ)
    house.live(4)
    inbox = house.parts.inboxes["default"]
    monkeypatch.setattr(inbox, "look_anew", lambda: None)
    house.reload(intake={"ignore": ["bowl*"]})
    house.time.advance(10)
    for _ in range(3):
        inbox.turn()
        house.time.advance(2)
    assert house.cases() == []


def test_a_job_counts_for_scans_that_are_taken_from_now_on(build: Build) -> None:
    """The body of a claimed case is its own, and a breaker of the recipe is tried at once."""
    house = build()
    house.sandbox.set_options(processing_s=1000)
    house.drop("old.nii")
    house.live_until("old", State.WAITING)
    house.reload(job=OTHER_JOB)
    house.drop("new.nii", nifti(seed=1))
    house.live_until("new", State.WAITING)
    jobs = {case.case_name: dict(case.job)["outputFiles"] for case in house.cases()}
    assert jobs == {"old": STL_JOB["outputFiles"], "new": OTHER_JOB["outputFiles"]}


# --- limits, the Engine, delivery ----------------------------------------------------------------


def test_a_larger_budget_lets_the_rest_go_at_once(build: Build) -> None:
    """Nobody waits for the breaker's time, which was five minutes."""
    house = build(limits={"jobs_per_day": 1})
    for number in range(3):
        house.drop(f"{number}.nii", nifti(seed=number))
    house.live(400)
    assert house.breakers() == {"budget"}
    house.reload(limits={"jobs_per_day": 10})
    house.live(20)
    assert set(house.states().values()) == {State.DONE}
    assert house.breakers() == set()


def test_right_credentials_close_the_breaker_at_once(build: Build) -> None:
    """The wrong secret had made the token's breaker wait for minutes."""
    house = build(engine={"auth": {"client_secret": "wrong"}})
    house.drop("scan.nii")
    house.live(600)
    assert house.breakers() == {"token"}
    before = house.parts.engine
    house.reload(engine={"auth": {"client_secret": "sandbox"}})
    assert house.parts.engine is not before
    house.live(30)
    assert house.states() == {"scan": State.DONE}


def test_a_step_keeps_the_settings_with_which_it_began(build: Build) -> None:
    """A reload in the midst of a submit: the answer is recorded, nothing is sent twice."""
    house = build()
    engine = house.parts.engine
    house.drop("scan.nii")
    house.live_until("scan", State.SUBMITTING)

    def submit(body: dict[str, Any]) -> dict[str, Any]:
        house.reload(engine={"version": "v1"}, delivery={"identifiers": False})
        return type(engine).submit(engine, body)

    engine.submit = submit  # type: ignore[method-assign]
    house.live_until_rest()
    assert house.sandbox.ledger.count("submit") == 1
    assert house.sandbox.ledger.count("upload") == 1
    assert house.states() == {"scan": State.DONE}


def test_the_same_engine_is_kept(build: Build) -> None:
    """Its connections and its token go on where nothing of it changed."""
    house = build()
    before = house.parts.engine
    house.reload(limits={"uploads": 7, "poll_every_s": 1})
    assert house.parts.engine is before
    house.reload(limits={"stall_timeout_s": 7})
    assert house.parts.engine is not before


def test_a_token_file_that_others_may_read_is_refused(build: Build) -> None:
    """As at a start; and a running daemon goes on with what it has."""
    house = build()
    secret = house.root / "secret"
    secret.write_text("sandbox")
    secret.chmod(0o644)
    auth = {"client_secret": "", "client_secret_file": str(secret)}
    _refused(house, "config_secret_file", "open to every user", engine={"auth": auth})
    secret.chmod(0o600)
    house.reload(engine={"auth": auth})
    house.drop("scan.nii")
    house.live_until_rest()


def test_delivery_and_retention_count_at_once(build: Build) -> None:
    """What is archived from now on goes by the new word."""
    house = build()
    house.reload(retention={"on_success": "delete"})
    house.drop("scan.nii")
    house.live_until_rest()
    assert house.files("archive") == ["scan/result.json"]


# --- what is told --------------------------------------------------------------------------------


def test_addresses_for_notices_are_read_again(build: Build) -> None:
    """Of their file the configuration knows the path alone: what stands in it is asked anew."""
    house = build()
    file = house.root / "urls"
    file.write_text("json://127.0.0.1:9/old\n", encoding="utf-8")
    file.chmod(0o600)
    house.reload(notify={"urls_file": str(file)})
    before = house.parts.targets
    assert house.reload().changed == ()
    assert house.parts.targets is before
    file.write_text("json://127.0.0.1:9/new\n", encoding="utf-8")
    assert house.reload().changed == ("notify.urls_file",)
    (target,) = house.parts.targets
    assert target.name != before[0].name
    assert house.parts.store.notice_policy.targets == (target.name,)


def test_the_state_file_waits_for_a_restart(build: Build) -> None:
    """It is named, and all else counts."""
    house = build()
    orders = house.reload(
        state_file=str(house.root / "state" / "other.sqlite3"), limits={"uploads": 5}
    )
    assert (orders.deferred, orders.changed) == (("state_file",), ("limits.uploads",))
    assert house.parts.settings.state_file.name == "state.sqlite3"


def test_the_changed_keys_are_named_and_no_value(build: Build) -> None:
    """Dotted, down to the key; a recipe as a whole."""
    house = build(recipes={"teeth": {}})
    orders = house.reload(
        engine={"auth": {"client_secret": "other"}},
        recipes={"teeth": {"settle_s": 1}},
        intake={"patterns": {"facial": ["x"]}},
        log={"names": True},
    )
    assert set(orders.changed) == {
        "engine.auth.client_secret",
        "recipes.default",
        "recipes.teeth",
        "intake.patterns.facial",
        "log.names",
    }
    assert house.reload().changed == ()


def test_a_file_that_changed_changes_nothing_before_a_reload(build: Build) -> None:
    """Settings are values: an inbox, a step and the schedule read no file."""
    house = build()
    house.overrides = {**house.overrides, "limits": {"jobs_per_day": 1}}
    house.read_settings()
    for number in range(2):
        house.drop(f"{number}.nii", nifti(seed=number))
    house.live_until_rest()
    assert house.breakers() == set()
