"""`install-service` and `uninstall-service`: what systemd needs, put in place and taken back.

Says each thing that it does. A file that a person has changed stays as it is, and so do the
configuration, the state file, the accounts, and every folder with scans.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from vpe_watcher import __version__
from vpe_watcher.adapters import units
from vpe_watcher.adapters.units import NEW, Found
from vpe_watcher.app.result import Result
from vpe_watcher.core.errors import Refusal, UsageError

SHIPPED_COMMAND = "/opt/vpe-watcher/bin/vpe-watcher"
GROUP = "vpe-watcher"
INSTANCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,40}")
# Of the folder /srv/vpe and of the configuration of the service that is no instance.
TAKEN = frozenset({"config", "inbox", "outbox", "archive", "failed"})
HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108 - that is the point
CONFIG_MODE = 0o640


@dataclass(frozen=True, slots=True)
class Service:
    """Which service this is, and the file system that it is installed on."""

    instance: str | None
    root: Path

    @property
    def unit(self) -> str:
        """Return the unit's name as systemctl takes it."""
        return f"vpe-watcher@{self.instance}" if self.instance else "vpe-watcher"

    @property
    def config(self) -> Path:
        """Return the path of its configuration, on that file system."""
        return Path("/etc/vpe-watcher", f"{self.instance or 'config'}.toml")

    @property
    def unit_file(self) -> str:
        """Return the path of its unit, or of the template of all instances."""
        return f"/etc/systemd/system/vpe-watcher{'@' if self.instance else ''}.service"

    @property
    def folders_file(self) -> str:
        """Return the path of what says which folders there are."""
        suffix = f"-{self.instance}" if self.instance else ""
        return f"/etc/tmpfiles.d/vpe-watcher{suffix}.conf"

    def on_disk(self, path: str | Path) -> Path:
        """Return where a path lies from here."""
        return self.root / str(path).lstrip("/")


ACCOUNTS_FILE = "/etc/sysusers.d/vpe-watcher.conf"


@dataclass(slots=True)
class Deeds:
    """What was done, or would be, as lines for people."""

    is_dry: bool
    lines: list[str] = field(default_factory=list)

    def may(self, line: str) -> bool:
        """Note a deed; false when it is only to be told."""
        self.lines.append(f"would {line}" if self.is_dry else _past(line))
        return not self.is_dry

    def note(self, line: str) -> None:
        """Note that something stays as it is."""
        self.lines.append(line)


def install(
    instance: str | None, *, root: Path, is_dry: bool, command: str | None = None
) -> Result:
    """Put units, accounts, folders and a configuration in place; again it changes nothing."""
    service, deeds = Service(_checked(instance), _there(root)), Deeds(is_dry)
    command = _startable(command or own_command())
    _check_rights(is_dry=is_dry, verb="install-service")
    try:
        for path, text in _files(service, command):
            _put(service, path, text, deeds)
        _call(deeds, "systemd-sysusers", *_root_option(service), Path(ACCOUNTS_FILE).name)
        folders = Path(service.folders_file).name
        _call(deeds, "systemd-tmpfiles", "--create", *_root_option(service), folders)
        _put_config(service, deeds)
        _reload_manager(service, deeds)
    except OSError as error:
        raise _not_written(error) from error
    return Result(lines=tuple(deeds.lines), messages=_next_steps(service))


def uninstall(instance: str | None, *, root: Path, is_dry: bool) -> Result:
    """Stop the service and take its files back; scans, state and configuration stay."""
    service, deeds = Service(_checked(instance), _there(root)), Deeds(is_dry)
    _check_rights(is_dry=is_dry, verb="uninstall-service")
    try:
        if service.on_disk(service.unit_file).exists():
            now = ["--now"] if _is_live(service) else []
            _call(deeds, "systemctl", *_root_option(service), "disable", *now, service.unit)
        for path in _removable(service):
            _remove(service, path, deeds)
        if _is_live(service):
            _call(deeds, "systemctl", "daemon-reload")
    except OSError as error:
        raise _not_written(error) from error
    kept = ["the state file", "all folders with scans", "and the accounts (if there are any)"]
    if service.on_disk(service.config).exists():
        kept.insert(0, str(service.config))
    return Result(lines=(*deeds.lines, f"kept {', '.join(kept)}"))


def own_command() -> str:
    """Return the command line that starts this very installation."""
    script = Path(sys.executable).with_name("vpe-watcher")
    if script.exists():
        return _quoted(str(script))
    return f"{_quoted(sys.executable)} -m vpe_watcher"


def _quoted(path: str) -> str:
    """Write a path as a word of ExecStart=: systemd.service(5)."""
    escaped = path.replace("\\", "\\\\").replace("%", "%%").replace("$", "$$").replace('"', '\\"')
    return f'"{escaped}"' if re.search(r"[\s'\";]", path) else escaped


def _checked(instance: str | None) -> str | None:
    if instance is not None and (not INSTANCE.fullmatch(instance) or instance in TAKEN):
        raise UsageError(
            "--instance: letters, digits, - and _, and none of " + ", ".join(sorted(TAKEN)) + ".",
            code="usage",
        )
    return instance


def _there(root: Path) -> Path:
    if not root.is_dir():
        raise Refusal(
            f"There is no folder {root}.",
            code="root_missing",
            hint="--root names the folder in which the file system of an image is mounted; without "
            "it this machine is meant.",
        )
    return root.absolute()


def _startable(command: str) -> str:
    place = next((one for one in HIDDEN if command.lstrip('"').startswith(f"{one}/")), None)
    if place:
        raise Refusal(
            f"The service could not start {command}: it sees nothing of {place}.",
            code="command_hidden",
            hint="Install the program elsewhere, such as /opt/vpe-watcher (see README), and call "
            "install-service of that one.",
        )
    return command


def _check_rights(*, is_dry: bool, verb: str) -> None:
    if os.geteuid() != 0 and not is_dry:
        raise Refusal(
            f"Only root may do this: {verb} changes /etc.",
            code="needs_root",
            hint=f"sudo {own_command()} {verb} … (or --dry-run to see what it would do)",
        )


def _files(service: Service, command: str) -> Iterator[tuple[str, str]]:
    """Yield the path and the text of each file that systemd shall find."""
    kind = "@" if service.instance else ""
    unit = units.shipped(f"vpe-watcher{kind}.service").replace(SHIPPED_COMMAND, command)
    yield service.unit_file, unit
    yield ACCOUNTS_FILE, units.shipped("sysusers.d/vpe-watcher.conf")
    folders = units.shipped(f"tmpfiles.d/vpe-watcher{kind}.conf")
    yield service.folders_file, folders.replace("NAME", service.instance or "")


def _put(service: Service, path: str, text: str, deeds: Deeds) -> None:
    place, text = service.on_disk(path), units.sealed(text, version=__version__)
    found = units.found_at(place, text)
    if found is not Found.CHANGED:
        _remove_new(service, path, deeds)
    if found is Found.SAME:
        deeds.note(f"{path} is up to date")
    elif found is Found.CHANGED:
        if deeds.may(f"write {path}{NEW}, and keep {path}: somebody has changed it"):
            units.write(place.with_name(place.name + NEW), text)
    elif deeds.may(f"{'write' if found is Found.NOTHING else 'update'} {path}"):
        units.write(place, text)


def _put_config(service: Service, deeds: Deeds) -> None:
    place = service.on_disk(service.config)
    if place.exists():
        deeds.note(f"{service.config} stays as it is")
    elif deeds.may(f"write {service.config}: fill in the vendor's client_id and secret"):
        from vpe_watcher.adapters.settings import example_config_text

        text = example_config_text()
        if service.instance:
            text = text.replace("/srv/vpe/", f"/srv/vpe/{service.instance}/")
            text = text.replace(
                "/var/lib/vpe-watcher/", f"/var/lib/vpe-watcher-{service.instance}/"
            )
        units.write(place, text, mode=CONFIG_MODE)


def _removable(service: Service) -> Iterator[str]:
    """Yield what this service alone needs, and what all need if it is the last."""
    others = {
        path
        for path in service.on_disk("/etc/tmpfiles.d").glob("vpe-watcher*.conf")
        if path != service.on_disk(service.folders_file)
    }
    yield service.folders_file
    if not service.instance or not any(path.name != "vpe-watcher.conf" for path in others):
        yield service.unit_file
    if not others:
        yield ACCOUNTS_FILE


def _remove(service: Service, path: str, deeds: Deeds) -> None:
    place = service.on_disk(path)
    if not place.exists():
        deeds.note(f"{path} is not there")
    elif place.is_symlink() or not units.is_as_installed(
        place.read_text(encoding="utf-8", errors="replace")
    ):
        deeds.note(f"kept {path}: somebody has changed it")
    elif deeds.may(f"remove {path}"):
        place.unlink()
    _remove_new(service, path, deeds)


def _remove_new(service: Service, path: str, deeds: Deeds) -> None:
    """Take away what was written beside a changed file, unless it was changed itself."""
    place = service.on_disk(path + NEW)
    if not place.is_file():
        return
    if not units.is_as_installed(place.read_text(encoding="utf-8", errors="replace")):
        deeds.note(f"kept {path}{NEW}: somebody has changed it")
    elif deeds.may(f"remove {path}{NEW}"):
        place.unlink()


def _call(deeds: Deeds, *words: str) -> None:
    if deeds.may(f"run {' '.join(words)}"):
        units.call(*words)


def _root_option(service: Service) -> list[str]:
    return [] if service.root == Path("/") else [f"--root={service.root}"]


def _is_live(service: Service) -> bool:
    return service.root == Path("/") and units.is_running()


def _reload_manager(service: Service, deeds: Deeds) -> None:
    if _is_live(service):
        _call(deeds, "systemctl", "daemon-reload")
    else:
        deeds.note("systemd does not run here: it will read the files when it starts")


def _not_written(error: OSError) -> Refusal:
    return Refusal(
        f"Cannot write {error.filename}: {error.strerror}.",
        code="cannot_write",
        hint="What was done before stays; run the command again when that is put right.",
    )


def _next_steps(service: Service) -> tuple[str, ...]:
    command = own_command()
    secret = f"/etc/credstore/{service.unit.replace('@', '-')}.client_secret"
    return (
        "Next:",
        f"  1. Write the vendor's client_id into {service.config}, and the secret into a file that",
        f"     client_secret_file names there, or into {secret}",
        f"  2. sudo -u vpe-watcher {command} check --config {service.config}",
        f"  3. systemctl enable --now {service.unit}   (if it runs already: restart)",
        "  4. usermod --append --groups vpe-people NAME   (who drops scans; vpe-pacs: a PACS)",
    )


def _past(line: str) -> str:
    verb, _, rest = line.partition(" ")
    past = {"write": "wrote", "update": "updated", "remove": "removed", "run": "ran"}[verb]
    return f"{past} {rest.replace(', and keep ', ', and kept ')}"
