"""The table `[notify]`: what is refused, where its secrets come from, and that none is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vpe_watcher.adapters.settings import Settings, SettingsError, load_settings, warnings
from vpe_watcher.core.errors import ConfigError
from vpe_watcher.core.priorities import DayHours

BASE: dict[str, Any] = {
    "engine": {"auth": {"access_token": "t"}},
    "job": {"outputFiles": {"meshes": []}},
    "state_file": "state.sqlite3",
}
HOOK = {"url": "https://a.example/h?key=t0ken", "secret": "s3cret"}


def load(folder: Path, environ: dict[str, str] | None = None, **notify: object) -> Settings:
    """Load settings with this table."""
    return load_settings(overrides={**BASE, "notify": notify}, environ=environ or {}, cwd=folder)


def secret_file(folder: Path, name: str, content: str) -> Path:
    """Write a file that only we may read."""
    path = folder / name
    path.touch(mode=0o600)
    path.write_text(content)
    return path


def test_nobody_is_told_by_default(tmp_path: Path) -> None:
    """Notices are off until somebody says who gets them."""
    notify = load(tmp_path).notify
    assert notify.read_urls() == ()
    assert notify.webhook.url.get_secret_value() == ""
    assert notify.quiet_hours is None
    assert notify.digest_minute == 420


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("on", ["failed", "everything"], "must be a list of"),
        ("quiet_hours", "22-6", "not a span of the day"),
        ("quiet_hours", "22:00-24:01", "not a span of the day"),
        *(
            ("quiet_hours", empty, "must not end when it begins")
            for empty in ("06:30-06:30", "24:00-00:00", "24:00-24:00")
        ),
        ("digest_at", "7", "must be a time"),
        ("urls", ["json://127.0.0.1/"] * 11, "10 addresses at most"),
        ("urls", [""], "none of them empty"),
        ("webhook", {"url": "http://a.example/t0ken", "secret": "s"}, "travel in clear"),
        ("webhook", {"url": "https://me:t0ken@a.example/", "secret": "s"}, "without a user"),
        ("webhook", {"url": "ftp://a.example/", "secret": "s"}, "must be an https:// address"),
        ("webhook", {"url": "https://[t0ken/", "secret": "s"}, "cannot|can be read"),
        ("webhook", {"url": "https://a.example/t0ken"}, "is missing beside url"),
        ("webhook", {**HOOK, "secret_file": "gone"}, "are both set"),
        ("webhok", {}, "unknown key"),
    ],
)
def test_what_is_refused(tmp_path: Path, key: str, value: object, words: str) -> None:
    """With the key and a reason, and never with the value."""
    with pytest.raises(SettingsError, match=words) as caught:
        load(tmp_path, None, **{key: value})
    assert "t0ken" not in repr(caught.value.problems)


def test_quiet_hours_and_digest_are_minutes_of_the_day(tmp_path: Path) -> None:
    """As the rules want them."""
    notify = load(tmp_path, quiet_hours="22:00-6:30", digest_at="").notify
    assert (notify.quiet_hours, notify.digest_minute) == (DayHours(1320, 390), None)


def test_secrets_come_from_files_and_credentials(tmp_path: Path) -> None:
    """Read afresh, so that they can be renewed; comments and empty lines are none."""
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    secret = secret_file(credentials, "webhook_secret", "first\n")
    secret_file(credentials, "notify_urls", "# ward\njson://127.0.0.1/\n\n  jsons://x/ \n")
    environ = {"CREDENTIALS_DIRECTORY": str(credentials)}
    notify = load(tmp_path, environ, webhook={"url": "https://a.example/"}).notify
    assert notify.webhook.read_secret() == "first"
    secret.write_text("second")
    assert notify.webhook.read_secret() == "second"
    assert notify.read_urls() == ("json://127.0.0.1/", "jsons://x/")


def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    """Addresses are secrets like the others."""
    secret_file(tmp_path, "urls", "json://127.0.0.1/").chmod(0o644)
    with pytest.raises(SettingsError, match="open to every user"):
        load(tmp_path, urls_file="urls")


def test_too_many_addresses_in_a_file(tmp_path: Path) -> None:
    """Told when they are read, not cut off in silence."""
    secret_file(tmp_path, "urls", "json://127.0.0.1/\n" * 11)
    with pytest.raises(ConfigError, match="more than 10"):
        load(tmp_path, urls_file="urls").notify.read_urls()


def test_secrets_in_a_file_that_others_may_read_are_warned_of(tmp_path: Path) -> None:
    """Each by its key, with the key that names a file instead."""
    file = tmp_path / "vpe-watcher.toml"
    file.write_text(
        'state_file = "state.sqlite3"\n[engine.auth]\naccess_token_file = "token"\n'
        '[job.outputFiles]\nmeshes = []\n[notify]\nurls = ["json://127.0.0.1/t0ken"]\n'
        '[notify.webhook]\nurl = "https://a.example/"\nsecret = "t0ken"\n'
    )
    secret_file(tmp_path, "token", "t")
    file.chmod(0o644)
    found = warnings(load_settings(file, environ={}, cwd=tmp_path))
    assert [one.message.partition(" in ")[0] for one in found] == [
        "notify.urls",
        "notify.webhook.secret",
    ]
    assert "urls_file" in found[0].hint
    assert "t0ken" not in repr(found)


def test_no_repr_shows_a_secret(tmp_path: Path) -> None:
    """Whatever logs the settings by accident."""
    settings = load(tmp_path, webhook=HOOK, urls=["json://127.0.0.1/t0ken"])
    assert "t0ken" not in repr(settings)
    assert "s3cret" not in repr(settings)
