"""The example configuration: complete, true to the defaults, loadable, and shipped as it is."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from vpe_watcher.adapters.settings import example_config_text, load_settings
from vpe_watcher.adapters.settings.model import (
    Document,
    IntakeSettings,
    RecipeTable,
    known_keys,
    table_at,
)

TOP_LEVEL_COPY = Path(__file__).parents[2] / "config.example.toml"
OPTIONAL = re.compile(r"^# (?=[a-z_]+ = |\[)", re.MULTILINE)
EXPLAINED = re.compile(r"[^#]+= .* # \S+")
FOLDERS_AND_JOB = {"inbox", "outbox", "job"}
OWN_KEYS = sorted(
    set(RecipeTable.model_fields) - set(IntakeSettings.model_fields) - FOLDERS_AND_JOB
)
OPEN = {("job",), ("recipes",)}


def everything() -> dict[str, Any]:
    """Parse the example with its optional lines switched on."""
    return tomllib.loads(OPTIONAL.sub("", example_config_text()))


def value_at(path: tuple[str, ...]) -> Any:
    """Return the example's value for a key."""
    value: Any = everything()
    for key in path:
        assert key in value, f"the example does not have {'.'.join(path)}"
        value = value[key]
    return value


def test_the_copy_at_the_top_is_the_one_that_is_shipped() -> None:
    """config.example.toml at the top and in the package are identical."""
    assert TOP_LEVEL_COPY.read_text(encoding="utf-8") == example_config_text()


@pytest.mark.parametrize("path", known_keys(), ids=".".join)
def test_every_key_stands_in_the_example_with_its_default(path: tuple[str, ...]) -> None:
    """No key is missing, and each value of the example is the default that counts without it."""
    value = value_at(path)
    if path in OPEN or table_at(path) is not None:
        assert isinstance(value, dict)
        return
    table = table_at(path[:-1])
    assert table is not None
    assert getattr(table.model_validate({path[-1]: value}), path[-1]) == getattr(table(), path[-1])


@pytest.mark.parametrize("key", OWN_KEYS)
def test_a_recipes_own_keys_stand_there_with_their_defaults(key: str) -> None:
    """Each key that only recipes have is in the example's recipe; None and 0 are both no limit."""
    value = value_at(("recipes", "teeth", key))
    given = getattr(RecipeTable.model_validate({key: value}), key)
    assert (given or None) == (getattr(RecipeTable(), key) or None)


def test_a_recipes_folders_stand_there_with_their_defaults() -> None:
    """The example's recipe says which folders it has anyway."""
    assert value_at(("recipes", "teeth", "inbox")) == value_at(("inbox",)) + "/teeth"
    assert value_at(("recipes", "teeth", "outbox")) == value_at(("outbox",))


def test_the_example_knows_no_other_key() -> None:
    """With all optional lines switched on, the example has the shape of a configuration."""
    document = Document.model_validate(everything())
    assert list(document.recipes) == ["teeth"]


def test_every_line_of_the_example_is_explained() -> None:
    """Each line with a key says in a comment behind it what the key does."""
    lines = OPTIONAL.sub("", example_config_text()).splitlines()
    keys = [line for line in lines if re.match(r"[a-z_]+ = ", line)]
    unexplained = [line for line in keys if not EXPLAINED.match(line)]
    assert unexplained == ["mandible = { smoothingIterations = 1 }"]
    assert all(len(line) <= 100 for line in example_config_text().splitlines())


def test_the_example_loads_once_secrets_and_folders_are_given(tmp_path: Path) -> None:
    """A person who fills in the secrets and makes the state folder can start with the example."""
    secret = tmp_path / "secret"
    secret.touch(0o600)
    secret.write_text("s")
    file = tmp_path / "config.toml"
    text = example_config_text()
    text = text.replace('client_id = ""', 'client_id = "id"')
    text = text.replace('client_secret_file = ""', 'client_secret_file = "secret"')
    text = text.replace("/var/lib/vpe-watcher/state.sqlite3", "state.sqlite3")
    file.write_text(text)
    settings = load_settings(file, environ={})
    assert settings.inbox == Path("/srv/vpe/inbox")
    assert settings.engine.auth.read_client_secret() == "s"
    assert settings.recipes["default"].job == {
        "outputFiles": {"meshes": [{"extension": ".stl", "structures": ["mandible"]}]}
    }
