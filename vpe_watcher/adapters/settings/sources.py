"""Where settings come from: command line, environment, systemd credentials, the TOML file.

Owns what each source says, the search for the file, and the memory of which source said what, so
that a mistake can be shown where it was made. Merging is pydantic-settings'. Never judges a value.
"""

from __future__ import annotations

import copy
import json
import os
import stat
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic_settings import InitSettingsSource

from vpe_watcher.adapters.settings.model import Document, table_at
from vpe_watcher.adapters.settings.values import Text
from vpe_watcher.core.errors import ConfigError
from vpe_watcher.core.wire import merged

CONFIG_VARIABLE = "VPE_WATCHER_CONFIG"
PREFIX = "VPE_WATCHER_"
PLACES = (Path("vpe-watcher.toml"), Path("/etc/vpe-watcher/config.toml"))
JOB_TEXTS = ("finishWebhook", "externalJobId", "cloudPackage", "endUserId")
JOB_KEYS = ("inputFiles", "outputFiles", "options", *JOB_TEXTS)
SECRETS = ("client_secret", "access_token")
CLIENT_SECRETS = ("client_secret", "client_secret_file")
TOKENS = ("access_token", "access_token_file")
PATH_KEYS = (
    ("inbox",),
    ("outbox",),
    ("archive",),
    ("failed",),
    ("state_file",),
    ("engine", "auth", "client_secret_file"),
    ("engine", "auth", "access_token_file"),
    ("notify", "urls_file"),
    ("notify", "webhook", "secret_file"),
)
# Other secrets than those of the Engine: where they stand as they are, and their credential.
NOTIFY_SECRETS = {
    ("notify", "urls"): "notify_urls",
    ("notify", "webhook", "secret"): "webhook_secret",
}
RECIPE_PATH_KEYS = ("inbox", "outbox")

KeyPath = tuple[str, ...]
Tree = dict[str, Any]


class Said(Tree):
    """What a source says, unprintable: PYDANTIC_SETTINGS_DEBUG would log the secrets in it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{len(self)} keys>"


class Source(InitSettingsSource):
    """One source: what it says, and its name for people. `names` tells which variable set a key."""

    def __init__(self, label: str, tree: Tree, names: Mapping[KeyPath, str] | None = None) -> None:
        super().__init__(Document, tree)
        self.label = label
        self.names = names or {}

    def __call__(self) -> Tree:
        """Say everything except the secrets that a stronger source has said instead."""
        stronger = (_rivals(_auth_in(said)) for said in self.settings_sources_data.values())
        self.init_kwargs = _without(next(filter(None, stronger), ()), self.init_kwargs)
        return Said(self.init_kwargs)

    def says(self, path: KeyPath) -> bool:
        """Tell whether this source sets the key at a path."""
        below: Any = self.init_kwargs
        for key in path:
            if not isinstance(below, dict) or key not in below:
                return False
            below = below[key]
        return True

    def variable_of(self, path: KeyPath) -> str | None:
        """Return the variable that sets a key, or a table above it."""
        names = (self.names.get(path[:length]) for length in range(len(path), 0, -1))
        return next((name for name in names if name), None)


class CommandLineSource(Source):
    """The options of the command line: nested tables or dotted keys, None = not given."""

    def __init__(self, overrides: Mapping[str, Any], cwd: Path) -> None:
        tree: Tree = {}
        for key, value in overrides.items():
            if value is not None:
                tree = merged(tree, _nested(tuple(key.split(".")), _as_text(value)))
        super().__init__("on the command line", _absolute(tree, cwd))


class EnvironmentSource(Source):
    """The variables of our prefix."""

    # EnvSettingsSource skips unknown variables, and cannot spell job keys as the Engine does.

    def __init__(
        self, environ: Mapping[str, str], recipe_names: tuple[str, ...], cwd: Path
    ) -> None:
        tree: Tree = {}
        names: dict[KeyPath, str] = {}
        for name, value in sorted(environ.items(), key=lambda item: item[0].count("__")):
            if not name.startswith(PREFIX) or name == CONFIG_VARIABLE:
                continue
            path = _path_of(name, recipe_names)
            names[path] = name
            tree = merged(tree, _nested(path, _read_variable(path, value)))
        super().__init__("in the environment variable", _absolute(tree, cwd), names)


class CredentialSource(Source):
    """The credentials that systemd laid out."""

    # SecretsSettingsSource reads the secret at once; ours points at the file, which is read late.

    def __init__(self, environ: Mapping[str, str]) -> None:
        folder = environ.get("CREDENTIALS_DIRECTORY", "")
        files = {f"{name}_file": Path(folder, name) for name in SECRETS if folder}
        auth = {key: str(file) for key, file in files.items() if _is_there(file)}
        tree: Tree = {"engine": {"auth": auth}} if auth else {}
        for path, name in NOTIFY_SECRETS.items():
            file = Path(folder, name)
            if folder and _is_there(file):
                tree = merged(tree, _nested((*path[:-1], f"{path[-1]}_file"), str(file)))
        super().__init__("in the systemd credentials", tree)


class FileSource(Source):
    """The configuration file. Raises `ConfigError` if it cannot be read or is no TOML."""

    # TomlConfigSettingsSource skips a missing file or a pipe, and fails at a byte order mark.

    def __init__(self, file: Path) -> None:
        tree = read_toml(file)
        super().__init__(f"in {file}", _absolute(tree, file.parent))
        recipes = tree.get("recipes")
        self.recipe_names = tuple(recipes) if isinstance(recipes, dict) else ()
        auth = tuple(f"engine.auth.{name}" for name in SECRETS if _auth_in(tree).get(name))
        self.secrets = auth + tuple(".".join(path) for path in NOTIFY_SECRETS if self.says(path))


@dataclass(frozen=True, slots=True)
class Sources:
    """All sources that say something, strongest first, and the file among them.

    `secrets_in_file` names the secrets that the file itself holds, also those that do not count.
    """

    layers: tuple[Source, ...]
    file: Path | None
    secrets_in_file: tuple[str, ...]

    def label_of(self, path: KeyPath) -> str:
        """Say in words which source sets a key, to be read after the key."""
        layer = self._layer_of(path)
        if layer is None:
            return f"(not set in {self.file})" if self.file else "(not set)"
        return " ".join(part for part in (layer.label, layer.variable_of(path)) if part)

    def variable_of(self, path: KeyPath) -> str | None:
        """Return the environment variable that decides a key, if one does."""
        layer = self._layer_of(path)
        return layer.variable_of(path) if layer else None

    def _layer_of(self, path: KeyPath) -> Source | None:
        return next((layer for layer in self.layers if layer.says(path)), None)


def read_sources(
    config: Path | None, overrides: Mapping[str, Any], environ: Mapping[str, str], cwd: Path
) -> Sources:
    """Read every source. Raises `ConfigError` for a file that is missing or no TOML."""
    file = find_config(config, environ, cwd)
    from_file = FileSource(file) if file else None
    layers = (
        CommandLineSource(overrides, cwd),
        EnvironmentSource(environ, from_file.recipe_names if from_file else (), cwd),
        CredentialSource(environ),
        from_file,
    )
    found = tuple(layer for layer in layers if layer is not None and layer.init_kwargs)
    if not found and file is not None:
        raise ConfigError(
            f"the configuration file {file} is empty: it sets no key",
            code="config_empty",
            hint="put its content back; or move it away, and `vpe-watcher init` writes a first one",
        )
    if not found:
        raise ConfigError(
            "there is no configuration file",
            code="config_missing",
            hint="run `vpe-watcher init`, name a file with --config, or put it at one of "
            + ", ".join(str(place) for place in PLACES),
        )
    return Sources(found, file, from_file.secrets if from_file else ())


def find_config(config: Path | None, environ: Mapping[str, str], cwd: Path) -> Path | None:
    """Find the configuration file as an absolute path, or None if nothing names one."""
    named = str(config) if config is not None else environ.get(CONFIG_VARIABLE, "")
    if not named:
        places = (Path(os.path.abspath(cwd / place)) for place in PLACES)  # noqa: PTH100
        return next((place for place in places if _is_there(place)), None)
    return _joined(cwd, named)


def read_toml(file: Path) -> Tree:
    """Read a TOML file (a byte order mark is allowed), and wait for nobody.

    Raises `ConfigError`.
    """
    try:
        if not is_readable_at_once(file):
            raise ConfigError(
                f"the configuration {file} is no regular file",
                code="config_unreadable",
                hint="put a file in its place, or name another one",
            )
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(
            f"the configuration file {file} cannot be read ({error.strerror})",
            code="config_unreadable",
            hint="check the path (--config, or the variable " + CONFIG_VARIABLE + ")",
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"the configuration file {file} is not UTF-8 text",
            code="config_syntax",
            hint="save it as UTF-8",
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            f"the configuration file {file} is not valid TOML: {error}",
            code="config_syntax",
            hint='look at that line: texts stand in "quotes", tables in [brackets]',
        ) from error


def is_readable_at_once(file: Path) -> bool:
    """Tell whether a file can be opened without waiting, as a FIFO or a terminal lets one wait.

    A shell's own pipe, as in --config <(…), has somebody who writes. Raises `OSError`.
    """
    is_pipe = os.path.realpath(file).rpartition("/")[2].startswith("pipe:[")
    return stat.S_ISREG(file.stat().st_mode) or is_pipe or file.samefile(os.devnull)


def _auth_in(tree: Tree) -> Tree:
    engine = tree.get("engine")
    auth = engine.get("auth") if isinstance(engine, dict) else None
    return auth if isinstance(auth, dict) else {}


def _without(keys: tuple[str, ...], tree: Tree) -> Tree:
    auth = {key: value for key, value in _auth_in(tree).items() if key not in keys}
    if auth == _auth_in(tree):
        return tree
    return {**tree, "engine": {**tree["engine"], "auth": auth}}


def _rivals(auth: Tree) -> tuple[str, ...]:
    """Let the strongest source that names a secret decide: list what weaker ones may not add."""
    if any(auth.get(key) for key in TOKENS):
        return (*CLIENT_SECRETS, *TOKENS, "client_id")
    if any(auth.get(key) for key in CLIENT_SECRETS):
        return (*CLIENT_SECRETS, *TOKENS)
    return ()


def _path_of(name: str, recipe_names: tuple[str, ...]) -> KeyPath:
    """Turn a variable's name into a key path. Case counts only inside a job body."""
    parts = name.removeprefix(PREFIX).split("__")
    path: KeyPath = ()
    for part in parts:
        if _is_job(path):
            path += (_spelled(part, JOB_KEYS, otherwise=part),)
        elif _is_in_job(path):
            path += (part,)
        elif path == ("recipes",):
            path += (_spelled(part, recipe_names, otherwise=part.lower()),)
        else:
            path += (part.lower(),)
    return path


def _is_job(path: KeyPath) -> bool:
    return path == ("job",) or (len(path) == 3 and path[0] == "recipes" and path[2] == "job")


def _is_in_job(path: KeyPath) -> bool:
    return any(_is_job(path[:length]) for length in (1, 3) if length < len(path))


def _spelled(part: str, known: tuple[str, ...], *, otherwise: str) -> str:
    return next((name for name in known if name.lower() == part.lower()), otherwise)


def _read_variable(path: KeyPath, value: str) -> Any:
    """Read JSON where a table belongs or a job body is; leave the rest to the key's type."""
    is_open = path == ("recipes",) or _is_job(path) or _is_in_job(path)
    if table_at(path) is None and not is_open:
        return Text(value)
    if _is_job(path[:-1]) and path[-1] in JOB_TEXTS:
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _as_text(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _as_text(below) for key, below in value.items() if below is not None}
    return Text(value) if isinstance(value, str | Path) else value


def _nested(path: KeyPath, value: Any) -> Tree:
    for key in reversed(path):
        value = {key: value}
    return dict(value)


def _absolute(tree: Tree, base: Path) -> Tree:
    """Make the relative paths of one source absolute; what is no path stays for the validator."""
    result = copy.deepcopy(tree)
    for path in _paths_in(result):
        below: Any = result
        for key in path[:-1]:
            below = below.get(key) if isinstance(below, dict) else None
        value = below.get(path[-1]) if isinstance(below, dict) else None
        if isinstance(value, str) and value and "\0" not in value:
            below[path[-1]] = str(_joined(base, value))
    return result


def _paths_in(tree: Tree) -> Iterator[KeyPath]:
    yield from PATH_KEYS
    recipes = tree.get("recipes")
    for name in recipes if isinstance(recipes, dict) else ():
        for key in RECIPE_PATH_KEYS:
            yield ("recipes", name, key)


def _is_there(file: Path) -> bool:
    """Tell whether to try a file: one behind a closed folder is tried, and the error is shown."""
    try:
        file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def _joined(base: Path, value: str) -> Path:
    # normpath, not resolve: a link that moves later must be followed afresh, not frozen here.
    return Path(os.path.normpath(base / value))
