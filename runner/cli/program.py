"""Arguments → one command of `voicejobs`, run; its errors → a sentence on stderr and an exit code."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from models.named_paths import is_no_text
from registry.errors import VoiceJobsError, storage_error
from runner.cli.console import HELP_WIDTH, LazyGroup, NamedPath, complain, globals_of, say, wants_colour
from runner.errors import Unforeseen, UsageProblem, raised_at
from runner.exit_codes import INTERRUPTED, OK, USAGE
from runner.version import VERSION

SAID_CHARACTERS = 300
COMMANDS = {
    "init": (
        "runner.cli.commands.setup:init",
        "Create an instance in DIR; default: the folder of --root, else this one.",
    ),
    "demo": ("runner.cli.commands.setup:demo", "Design, lock and speak in a scratch instance, and show the result."),
    "run": ("runner.cli.commands.run:run", "Take jobs from the inbox and work on them."),
    "serve": ("runner.cli.commands.serve:serve", "Serve speech and jobs over HTTP, and speech to Home Assistant."),
    "service": (
        "runner.cli.commands.service:service",
        "Keep the runner, or the server, running by systemd or launchd.",
    ),
    "submit": (
        "runner.cli.commands.submit:submit",
        "Drop job files, with the files they name, into the inbox; - reads standard input.",
    ),
    "say": ("runner.cli.commands.say:say", "Speak a text, as the say command of macOS does."),
    "transcribe": ("runner.cli.commands.transcribe:transcribe", "Write down what is said in a recording."),
    "check": ("runner.cli.commands.run:check", "Check job files without running them; - reads standard input."),
    "schema": ("runner.cli.commands.run:schema", "Print the JSON Schema of job files, TOML and JSON alike."),
    "status": (
        "runner.cli.commands.status:status",
        "Show whether a runner is active, what is being spoken, and what waits.",
    ),
    "logs": ("runner.cli.commands.status:logs", "Print the end of the runner's log."),
    "jobs": ("runner.cli.commands.jobs:jobs", "List, show, play, retry, cancel and remove jobs."),
    "voices": ("runner.cli.commands.voices:voices", "Lock, list, compare, import, export and tidy voices."),
    "script": ("runner.cli.commands.script:script", "Check books and screenplays, and choose their voices."),
    "master": ("runner.cli.commands.master:master", "Measure finished audio against the rules of distributors."),
    "models": ("runner.cli.commands.models:models", "List, download, verify and move models."),
    "doctor": ("runner.cli.commands.setup:doctor", "Check this instance and this machine."),
    "backup": ("runner.cli.commands.backup:backup", "Write a backup of voices, jobs and takes to FILE."),
    "restore": (
        "runner.cli.commands.backup:restore",
        "Restore voices, jobs and takes from the backup FILE, also from another machine.",
    ),
    "completion": ("runner.cli.commands.setup:completion", "Print the completion script of a shell."),
}


@click.group(
    cls=LazyGroup,
    table=COMMANDS,
    examples=(
        "voicejobs init studio",
        "voicejobs --root studio run            # a daemon; drop job files into studio/inbox",
        "voicejobs submit --wait scene.toml",
    ),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": HELP_WIDTH},
)
@click.option("--root", type=NamedPath(), metavar="DIR", help="Folder of the instance: one with a voicejobs.toml.")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Override a key of voicejobs.toml; repeatable."
)
@click.version_option(VERSION, message="%(prog)s %(version)s")
@click.pass_context
def voicejobs(ctx: click.Context, root: Path | None, settings: tuple[str, ...]) -> None:
    """A declarative job runner for voices: drop a job file into inbox/, get speech and a receipt in outbox/.

    Exit codes: 0 ok, 1 the work failed, 2 usage, 3 not found or needs action, 4 another runner is active,
    75 try again, 130 interrupted.
    """
    ctx.color = wants_colour()
    given = globals_of(ctx)
    if root is not None:
        given["root"] = root
    given["settings"] = _settings_from(settings)


def _settings_from(pairs: Sequence[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise UsageProblem(f"--set {pair}: expected KEY=VALUE.")
        *tables, name = key.strip().split(".")
        inside = values
        for table in tables:
            found = inside.setdefault(table, {})
            inside = found if isinstance(found, dict) else {}
        inside[name] = value
    return values


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # the parent process may have closed it
            stream.reconfigure(errors="backslashreplace")  # whatever its encoding cannot write
    code = run_command(sys.argv[1:] if arguments is None else arguments)
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        _discard_output()
        if not isinstance(error, BrokenPipeError):
            code = complain(storage_error(error, "writing the output"), given={})
    sys.exit(code)


def run_command(arguments: Sequence[str]) -> int:
    """Run one command line; returns its exit code."""
    given: dict[str, Any] = {}
    try:
        result = voicejobs.main(list(arguments), prog_name="voicejobs", standalone_mode=False, obj=given)
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.ClickException as error:
        shown = io.StringIO()
        error.show(file=shown)
        say(shown.getvalue().rstrip("\n"))
        return USAGE
    except (KeyboardInterrupt, click.Abort) as stopped:
        if not (stopped.args or getattr(stopped.__cause__, "args", ())):  # else it was said, and more
            say("interrupted")
        return INTERRUPTED
    except VoiceJobsError as error:
        return complain(error, given=given)
    except BrokenPipeError:
        _discard_output()
        return OK
    except OSError as error:
        return complain(storage_error(error, f"using {error.filename or 'a file'}"), given=given)
    except Exception as error:
        wrong = [argument for argument in arguments if not argument.isascii() and is_no_text(argument)]
        if wrong and isinstance(error, UnicodeError):
            return complain(UsageProblem(f"{wrong[0]!a} is not text: its bytes are not UTF-8."), given=given)
        nul = [argument for argument in arguments if "\0" in argument]
        if nul and isinstance(error, ValueError):
            return complain(UsageProblem(f"{nul[0]!a} contains a NUL character."), given=given)
        return complain(_unforeseen(error, given), given=given)
    return result if isinstance(result, int) else OK


def _discard_output() -> None:
    """Let the rest of the output, which Python flushes at exit, go nowhere."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _unforeseen(error: Exception, given: dict[str, Any]) -> VoiceJobsError:
    """Error for a fault of the program: its kind and place are said, and its trace goes into the instance's log."""
    said = " ".join(str(error).split())[:SAID_CHARACTERS]
    hint = "This is a fault of voicejobs; please report it."
    try:
        from runner.config.instance import open_instance
        from runner.config.logs import LOG_FILE, set_up_logging

        instance = open_instance(given.get("root"), flags=given.get("settings"))
        set_up_logging(instance, to_stderr=False)
        logging.getLogger("voicejobs").error("unforeseen fault in a command", exc_info=error)
        hint = f"This is a fault of voicejobs; please report it with the trace in {instance.logs_dir / LOG_FILE}."
    except Exception:  # there is no instance, it is itself the fault, or no folder for its log: the place must do
        pass
    return Unforeseen(f"Something unforeseen went wrong: {raised_at(error)}: {said}", hint=hint)
