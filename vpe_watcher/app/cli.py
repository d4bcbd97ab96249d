"""The command line: names, options and help. Owns no behaviour; each command is one call.

What a command needs is imported when it runs, so that `--help` is instant.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vpe_watcher import __version__
from vpe_watcher.app.usage import Commands, Group

if TYPE_CHECKING:
    from vpe_watcher.app.result import Result

PROGRAM = "vpe-watcher"
INTERRUPTED = 130
ASKED = "__complete"

app = Commands(
    name=PROGRAM,
    cls=Group,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Drop dental scans into a folder, find their 3D models in another.",
    epilog="First steps:\n\n\b\n  vpe-watcher demo\n  vpe-watcher init /srv/vpe\n"
    "  vpe-watcher check --config /srv/vpe/vpe-watcher.toml\n"
    "  vpe-watcher run --config /srv/vpe/vpe-watcher.toml\n\n"
    "`vpe-watcher COMMAND --help` has examples for each command.",
)

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="The configuration (else $VPE_WATCHER_CONFIG, ./vpe-watcher.toml, "
        "/etc/vpe-watcher/config.toml).",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Instance = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="One of several: vpe-watcher@NAME, with /etc/vpe-watcher/NAME.toml."
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
FileSystem = Annotated[
    Path, typer.Option("--root", metavar="DIR", help="The file system of an image, not this one.")
]
Unused = Annotated[Path | None, typer.Option("--config", hidden=True)]
CASE = "A case id, the beginning of one, or the name of a case or of its result folder."
Cases = Annotated[list[str], typer.Argument(metavar="CASE", help=CASE)]


def main() -> None:
    """Run the command line of this process and exit."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        # A file name that is no text must not end a command, and must leave it as it is.
        getattr(stream, "reconfigure", lambda **_: None)(errors="surrogateescape")
    if arguments[:1] == [ASKED]:
        return _complete(arguments[1:3])
    try:
        return int(app(arguments, prog_name=PROGRAM, standalone_mode=False) or 0)
    except typer.TyperException as error:
        return _misused(error, as_json="--json" in arguments)
    except (typer.Abort, KeyboardInterrupt):
        return INTERRUPTED


def _complete(words: list[str]) -> int:
    """Answer a script of `completion` what may come next.

    Not a command: for one Typer loads a library, and a person waits at the key.
    """
    from vpe_watcher.app.completion import answer

    typer.echo(answer(*words or ("",)))
    return 0


def _misused(error: typer.TyperException, *, as_json: bool) -> int:
    """Print what is wrong with the command line; with --json as the errors object."""
    from vpe_watcher.app import render
    from vpe_watcher.app.result import ErrorEntry, Result
    from vpe_watcher.core.printable import printable

    code = int(getattr(error, "exit_code", 2))
    if as_json:
        entry = ErrorEntry("usage", str(getattr(error, "message", error)), "See --help.")
        render.show(Result(errors=(entry,), exit_code=code), as_json=True)
    else:
        words = str(getattr(error, "message", "")).split("\n")
        setattr(error, "message", "\n".join(map(printable, words)))  # noqa: B010 - as below
        getattr(error, "show")()  # noqa: B009 - not every version's type has it
    return code


def _answer(command: Callable[[], Result], *, as_json: bool = False) -> None:
    from vpe_watcher.app import render

    raise typer.Exit(render.answer(command, as_json=as_json))


def _say_unused(config: Path | None) -> None:
    from vpe_watcher.app import render

    if config is not None:
        render.say("The service reads /etc/vpe-watcher; --config is not used.")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"{PROGRAM} {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    pass


@app.command(
    epilog="Example:\n\n\b\n  vpe-watcher init /srv/vpe\n  vpe-watcher init",
)
def init(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Where (else here).", show_default=False)
    ] = (Path()),
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", help="Write this file, not DIR/vpe-watcher.toml."),
    ] = None,
) -> None:
    """Write a commented configuration and make its folders."""
    from vpe_watcher.app.commands.init import init

    _answer(lambda: init(folder, config))


@app.command(
    epilog="Example:\n\n\b\n  vpe-watcher check\n"
    "  sudo -u vpe-watcher vpe-watcher check --config /etc/vpe-watcher/config.toml",
)
def check(config: Config = None, json: Json = False) -> None:
    """Try everything that the daemon needs: folders, space, token, Engine."""
    from vpe_watcher.app.commands.check import check

    _answer(lambda: check(config), as_json=json)


@app.command(
    name="run",
    epilog="Example:\n\n\b\n  vpe-watcher run --config /etc/vpe-watcher/config.toml\n"
    "  vpe-watcher run --once     (for cron: exit 0, or 75 if work was left)",
)
def run_daemon(
    once: Annotated[bool, typer.Option("--once", help="Stop when there is no work left.")] = False,
    config: Config = None,
) -> None:
    """Be the daemon, in the foreground."""
    from vpe_watcher.app.commands.serve import run

    _answer(lambda: run(config, once=once))


@app.command(
    epilog="Example:\n\n\b\n  vpe-watcher status\n  vpe-watcher status --watch\n"
    "  vpe-watcher status --json | jq .cases",
)
def status(
    watch: Annotated[bool, typer.Option("--watch", help="Show it live; Ctrl-C ends it.")] = False,
    json: Json = False,
    config: Config = None,
) -> None:
    """Show the daemon, what waits and why, cases by state, what is paused."""
    from vpe_watcher.app.commands import live
    from vpe_watcher.app.commands import status as command

    if watch:
        _answer(lambda: live.watch(config, as_json=json), as_json=json)
    _answer(lambda: command.status(config), as_json=json)


@app.command(
    epilog="Example:\n\n\b\n  vpe-watcher cases --state failed\n"
    "  vpe-watcher cases --recipe teeth --since 2d\n"
    "  vpe-watcher cases --since 2026-11-20 --json",
)
def cases(
    state: Annotated[str | None, typer.Option(metavar="STATE", help="Only this state.")] = None,
    recipe: Annotated[str | None, typer.Option(metavar="RECIPE", help="Only this recipe.")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="WHEN", help="A date, a time, or an age such as 2d or 3h.")
    ] = None,
    json: Json = False,
    config: Config = None,
) -> None:
    """List the cases, newest first."""
    from vpe_watcher.app.commands.cases import cases

    _answer(lambda: cases(config, state=state, recipe=recipe, since=since), as_json=json)


@app.command(
    epilog="Example:\n\n\b\n  vpe-watcher show mueller-cbct\n  vpe-watcher show 3f2a --json",
)
def show(
    case: Annotated[
        str,
        typer.Argument(metavar="CASE", help=CASE),
    ],
    json: Json = False,
    config: Config = None,
) -> None:
    """Show one case: inputs, outputs, every step with its reason."""
    from vpe_watcher.app.commands.cases import show

    _answer(lambda: show(config, case), as_json=json)


@app.command(
    epilog="Example:\n\n\b\n  vpe-watcher explain /srv/vpe/inbox/scan.dcm",
)
def explain(
    path: Annotated[
        Path,
        typer.Argument(metavar="PATH", help="A file or folder in an inbox.", readable=False),
    ],
    config: Config = None,
) -> None:
    """Say why a file is taken or not, and what the daemon last saw."""
    from vpe_watcher.app.commands.explain import explain

    _answer(lambda: explain(config, path))


@app.command(
    epilog="Example:\n\n\b\n  vpe-watcher submit scan.dcm\n"
    "  vpe-watcher submit --recipe teeth --wait patient-folder/",
)
def submit(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", help="Files or folders.")],
    recipe: Annotated[
        str,
        typer.Option(
            metavar="RECIPE",
            help="Into the inbox of this recipe (else the inbox itself).",
            show_default=False,
        ),
    ] = "default",
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for the result and print its folder.")
    ] = False,
    config: Config = None,
) -> None:
    """Copy scans into the inbox the right way; the source stays."""
    from vpe_watcher.app.commands.submit import submit

    _answer(lambda: submit(config, tuple(paths), recipe=recipe, wait=wait))


@app.command(
    epilog="Example:\n\n\b\n  vpe-watcher retry 3f2a\n  vpe-watcher retry --failed\n"
    "  vpe-watcher retry --held --yes     (may cost again)",
)
def retry(
    case: Annotated[
        list[str] | None,
        typer.Argument(metavar="CASE", help=CASE),
    ] = None,
    failed: Annotated[bool, typer.Option("--failed", help="All failed cases.")] = False,
    held: Annotated[bool, typer.Option("--held", help="All held cases.")] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do it also where it may cost again.")
    ] = False,
    config: Config = None,
) -> None:
    """Take up cases again that failed, were cancelled or are held."""
    from vpe_watcher.app import render
    from vpe_watcher.app.commands.words import Wanted, retry
    from vpe_watcher.core.model import State
    from vpe_watcher.core.printable import printable

    chosen = ((failed, State.FAILED), (held, State.HELD))
    wanted = Wanted(tuple(case or ()), tuple(state for is_chosen, state in chosen if is_chosen))
    ask = None
    if render.can_ask():
        ask = lambda question: typer.confirm(printable(question), err=True)  # noqa: E731 - one use
    _answer(lambda: retry(config, wanted, yes=yes, ask=ask))


@app.command(epilog="Example:\n\n\b\n  vpe-watcher cancel 3f2a")
def cancel(case: Cases, config: Config = None) -> None:
    """Stop working on cases; what the Engine has begun goes on there."""
    from vpe_watcher.app.commands.words import cancel

    _answer(lambda: cancel(config, tuple(case)))


@app.command(
    epilog="Example:\n\n\b\n  vpe-watcher prune --dry-run     (what would go, and why)\n"
    "  vpe-watcher prune",
)
def prune(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Name what would go, and change nothing.")
    ] = False,
    json: Json = False,
    config: Config = None,
) -> None:
    """Remove now what [retention] keeps no longer."""
    from vpe_watcher.app.commands.prune import prune

    _answer(lambda: prune(config, dry_run=dry_run), as_json=json)


@app.command(
    epilog="Example:\n\n\b\n  vpe-watcher backup /var/backups/vpe-watcher-$(date +%F).sqlite3",
)
def backup(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A new file; nothing is overwritten.")
    ],
    config: Config = None,
) -> None:
    """Copy the state file beside the running daemon."""
    from vpe_watcher.app.commands.backup import backup

    _answer(lambda: backup(config, file))


@app.command(
    epilog="Example:\n\n\b\n  vpe-watcher recover\n  vpe-watcher recover --resume pacs",
)
def recover(
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="RECIPE",
            help="Go on with a recipe whose inbox is left as it is. A scan that still lies there "
            "and whose case was lost may be sent and paid for again.",
        ),
    ] = None,
    config: Config = None,
) -> None:
    """Rebuild a lost, damaged or outdated state file from the folders."""
    from vpe_watcher.app.commands.recover import recover

    _answer(lambda: recover(config, resume=resume))


@app.command(
    epilog="Example:\n\n\b\n  vpe-watcher receive\n"
    "  vpe-watcher receive --listen :11112     (all addresses)",
)
def receive(
    listen: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", help="Else dicom.listen of the configuration, or 127.0.0.1:11112."
        ),
    ] = None,
    config: Config = None,
) -> None:
    """Receive DICOM from a PACS into the inbox, without the daemon."""
    from vpe_watcher.app.commands.receive import receive

    _answer(lambda: receive(config, listen=listen))


@app.command(
    name="install-service",
    epilog="Example:\n\n\b\n  sudo /opt/vpe-watcher/bin/vpe-watcher install-service\n"
    "  sudo /opt/vpe-watcher/bin/vpe-watcher install-service --instance pacs\n"
    "  vpe-watcher install-service --dry-run     (no root needed)",
)
def install_service(
    instance: Instance = None,
    dry_run: DryRun = False,
    root: FileSystem = Path("/"),
    config: Unused = None,
) -> None:
    """Put the systemd service in place: unit, accounts, folders, configuration."""
    from vpe_watcher.app.commands.service import install

    _say_unused(config)
    _answer(lambda: install(instance, root=root, is_dry=dry_run))


@app.command(
    name="uninstall-service",
    epilog="Example:\n\n\b\n  sudo vpe-watcher uninstall-service\n"
    "  sudo vpe-watcher uninstall-service --instance pacs --dry-run",
)
def uninstall_service(
    instance: Instance = None,
    dry_run: DryRun = False,
    root: FileSystem = Path("/"),
    config: Unused = None,
) -> None:
    """Stop the systemd service and take it back; scans, state and configuration stay."""
    from vpe_watcher.app.commands.service import uninstall

    _say_unused(config)
    _answer(lambda: uninstall(instance, root=root, is_dry=dry_run))


@app.command(
    epilog="Example:\n\n\b\n  vpe-watcher notify --test",
)
def notify(
    test: Annotated[
        bool, typer.Option("--test", help="Send one test notice to each, and say what came of it.")
    ] = False,
    config: Config = None,
    json: Json = False,
) -> None:
    """Show how many notices wait for whom, or try each of them."""
    from vpe_watcher.app.commands.notify import notify

    _answer(lambda: notify(config, test=test), as_json=json)


@app.command(
    epilog="Example:\n\n\b\n  vpe-watcher demo\n  vpe-watcher demo /tmp/demo --scan my.dcm",
)
def demo(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="DIR", help="An empty or new folder (else a temporary one)."),
    ] = None,
    scan: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A scan of yours, not the phantom.")
    ] = None,
    config: Unused = None,
) -> None:
    """Show it all: a simulated Engine, the daemon, a scan, its mesh."""
    from vpe_watcher.app import render
    from vpe_watcher.app.demo import demo

    if config is not None:
        render.say("The demo writes a configuration of its own; --config is not used.")
    _answer(lambda: demo(folder, scan))


@app.command(
    epilog="Example:\n\n\b\n  vpe-watcher sandbox --port 8089\n"
    "  vpe-watcher sandbox --processing-s 30 --fault-script faults.json",
)
def sandbox(
    port: Annotated[int, typer.Option(metavar="PORT", help="0: a free one.", min=0, max=65535)] = 0,
    fault_script: Annotated[
        Path | None,
        typer.Option("--fault-script", metavar="FILE", help="Which calls go wrong, as JSON."),
    ] = None,
    processing_s: Annotated[
        float,
        typer.Option("--processing-s", metavar="SECONDS", help="How long each job takes.", min=0),
    ] = 0.0,
    simple: Annotated[
        bool, typer.Option("--simple", help="The same tetrahedron for all; needs no libraries.")
    ] = False,
    config: Unused = None,
) -> None:
    """Be the simulated Engine alone, on this machine; its URL is the first line."""
    from vpe_watcher.app import render
    from vpe_watcher.app.commands.serve import sandbox

    if config is not None:
        render.say("The sandbox has no configuration; --config is not used.")
    _answer(
        lambda: sandbox(
            port=port, fault_script=fault_script, processing_s=processing_s, simple=simple
        )
    )


@app.command(
    epilog='Example:\n\n\b\n  eval "$(vpe-watcher completion bash)"     (in ~/.bashrc)\n'
    "  vpe-watcher completion zsh > ~/.zfunc/_vpe-watcher     (a folder of $fpath)\n"
    "  vpe-watcher completion fish > ~/.config/fish/completions/vpe-watcher.fish",
)
def completion(
    shell: Annotated[
        Literal["bash", "zsh", "fish"],
        typer.Argument(metavar="SHELL", help="bash, zsh or fish.", show_choices=False),
    ],
    config: Unused = None,
) -> None:
    """Print the script for completion in bash, zsh or fish."""
    from vpe_watcher.app import render
    from vpe_watcher.app.completion import script

    if config is not None:
        render.say("The script is the same for all; --config is not used.")
    typer.echo(script(shell), nl=False)
