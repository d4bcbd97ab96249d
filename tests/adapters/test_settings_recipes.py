"""What settings look like in use: the Engine's address, recipes with all gaps filled, warnings."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from vpe_watcher.adapters.settings import Settings, load_settings, warnings

BASE = """
inbox = "inbox"
outbox = "outbox"
archive = "archive"
failed = "failed"
state_file = "state/state.sqlite3"
[engine.auth]
access_token = "t"
[job]
endUserId = "clinic"
[job.options.mandible]
smoothingIterations = 1
decimateMaxError = 0.1
[job.outputFiles]
meshes = [{ extension = ".stl", structures = ["mandible"], uploadUrl = "https://x/y?z=1" }]
"""


@pytest.fixture(autouse=True)
def closed_files() -> Iterator[None]:
    """Close the configuration to others: it holds a token, which would be warned about."""
    before = os.umask(0o077)
    yield
    os.umask(before)


def settings_of(folder: Path, text: str) -> Settings:
    """Load a configuration with some lines added."""
    (folder / "state").mkdir(exist_ok=True)
    file = folder / "vpe-watcher.toml"
    file.write_text(BASE + text)
    return load_settings(file, environ={})


def test_the_default_recipe_is_the_inbox_itself(tmp_path: Path) -> None:
    """Without a word about recipes there is one, with everything from the top level."""
    settings = settings_of(tmp_path, "")
    recipe = settings.recipes["default"]
    assert list(settings.recipes) == ["default"]
    assert recipe.inbox == settings.inbox == tmp_path / "inbox"
    assert recipe.outbox == settings.outbox
    assert recipe.job == settings.job
    assert recipe.intake == settings.intake
    assert recipe.jobs_per_day is None
    assert (recipe.require, recipe.ready_marker, recipe.job_json_keys) == ((), "", ())
    assert (recipe.leave_in_place, recipe.exported_by_nfs) == (False, False)


def test_what_stands_in_outputfiles_passes_through(tmp_path: Path) -> None:
    """The job body is the Engine's: keys that we do not know are kept as they are."""
    mesh = settings_of(tmp_path, "").job["outputFiles"]["meshes"][0]
    assert mesh["uploadUrl"] == "https://x/y?z=1"


def test_a_recipe_inherits_and_overrides(tmp_path: Path) -> None:
    """Objects of the job are merged key by key, lists replaced; intake keys by plain name."""
    settings = settings_of(
        tmp_path,
        """
        [intake]
        scan_every_s = 7
        [intake.patterns]
        facial = ["*gesicht*"]
        [recipes.teeth]
        outbox = "teeth-results"
        settle_s = 1
        existing = "ignore"
        jobs_per_day = 3
        job_json_keys = ["endUserId"]
        exported_by_nfs = true
        [recipes.teeth.patterns]
        ios_upper = ["*oben*"]
        [recipes.teeth.job]
        outputFiles.meshes = [{ extension = ".ply", structures = ["all_teeth"] }]
        options.mandible.decimateMaxError = 0.5
        """,
    )
    teeth, default = settings.recipes["teeth"], settings.recipes["default"]
    assert teeth.inbox == tmp_path / "inbox" / "teeth"
    assert teeth.outbox == tmp_path / "teeth-results"
    assert teeth.job == {
        "endUserId": "clinic",
        "options": {"mandible": {"smoothingIterations": 1, "decimateMaxError": 0.5}},
        "outputFiles": {"meshes": [{"extension": ".ply", "structures": ["all_teeth"]}]},
    }
    assert (teeth.intake.settle_s, teeth.intake.scan_every_s) == (1, 7)
    assert (default.intake.settle_s, default.intake.existing) == (5, "take")
    assert teeth.intake.existing == "ignore"
    assert teeth.intake.patterns.ios_upper == ("*oben*",)
    assert teeth.intake.patterns.facial == ("*gesicht*",)
    assert default.intake.patterns.ios_upper == ("*upper*", "*maxilla*")
    assert (teeth.jobs_per_day, teeth.job_json_keys) == (3, ("endUserId",))
    assert teeth.exported_by_nfs is True


def test_the_default_recipe_can_be_tuned(tmp_path: Path) -> None:
    """[recipes.default] tunes the inbox itself, and may repeat its path."""
    text = '[recipes.default]\ninbox = "inbox"\nsettle_s = 0\n'
    settings = settings_of(tmp_path, text)
    assert settings.recipes["default"].intake.settle_s == 0
    assert settings.intake.settle_s == 5


@pytest.mark.parametrize(
    "text",
    [
        '[recipes.t]\noutbox = "shared"\n[recipes.u]\noutbox = "shared"',
        '[recipes.t]\noutbox = "outbox/t"',
        '[recipes.t]\ninbox = "inbox/other-name"',
        '[recipes.t]\ninbox = "far/away"',
        "[recipes.t]\nready_marker = false\nrequire = []\nleave_in_place = false",
        "[retention]\nprune_below = ''\narchive_days = 0",
        "[retention]\nprune_below = '2 GiB'\narchive_days = 0.5\nfailed_days = 30",
    ],
)
def test_what_the_contract_allows_is_not_refused(tmp_path: Path, text: str) -> None:
    """Shared outboxes, inboxes in the main one or outside, and switched-off keys are fine."""
    assert settings_of(tmp_path, text).recipes["default"].name == "default"


@pytest.mark.parametrize(
    ("engine", "url"),
    [
        ("", "https://eu.virtualpatientengine.com"),
        ("region = 'us'", "https://us.virtualpatientengine.com"),
        ("base_url = 'https://proxy.example/vpe/'", "https://proxy.example/vpe"),
        ("region = 'us'\nbase_url = 'http://127.0.0.1:8080'", "http://127.0.0.1:8080"),
        ("base_url = 'http://127.8.9.1'", "http://127.8.9.1"),
        ("base_url = 'http://[::1]:80'", "http://[::1]:80"),
        ("base_url = 'http://localhost:1'", "http://localhost:1"),
    ],
)
def test_the_address_of_the_engine(tmp_path: Path, engine: str, url: str) -> None:
    """The region makes the address unless base_url is set; http:// is for this machine."""
    assert settings_of(tmp_path, f"[engine]\n{engine}").engine.url == url


@pytest.mark.parametrize(
    ("engine", "route"),
    [
        ("version = '24.06'", "job"),
        ("version = 'v3'", "job"),
        ("version = 'v2'", "generic-job"),
        ("version = 'v1'", "generic-job"),
        ("version = 'v2'\nsubmit_path = 'job'", "job"),
        ("submit_path = 'generic-job'", "generic-job"),
    ],
)
def test_the_submit_route(tmp_path: Path, engine: str, route: str) -> None:
    """Old Engines have another route, and the key decides against the version."""
    assert settings_of(tmp_path, f"[engine]\n{engine}").engine.submit_route == route


def test_a_likely_typing_error_of_a_structure_is_a_warning(tmp_path: Path) -> None:
    """A name that looks like a known one is warned about, once, with its recipes."""
    text = """
    [recipes.a.job.outputFiles]
    meshes = [{ structures = ["mandibel", "tooth11", "Skull"] }]
    [recipes.b.job.outputFiles]
    meshes = { structures = ["mandibel", "hyoid-bone", "soft-tissue"] }
    """
    found = warnings(settings_of(tmp_path, text))
    assert [(problem.code, problem.hint.split("?")[0]) for problem in found] == [
        ("structure_name", 'did you mean "mandible"'),
        ("structure_name", 'did you mean "skull"'),
    ]
    assert '"mandibel"' in found[0].message
    assert "recipe a, b" in found[0].message


def test_known_structures_make_no_warning(tmp_path: Path) -> None:
    """Teeth by FDI number, deciduous ones too, and the shorthands are known."""
    names = '["tooth48", "tooth85", "all_nerves", "maxillary-complex", "left_nerve"]'
    text = f"[recipes.a.job.outputFiles]\nmeshes = [{{ structures = {names} }}]"
    assert warnings(settings_of(tmp_path, text)) == []
