"""`voicejobs service`: the runner, or the server, kept running by systemd or launchd."""

from __future__ import annotations

import os
import re
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runner.cli.console import Command, LazyGroup, current_instance, echo, globals_of, reachable, say
from runner.errors import UsageProblem
from runner.exit_codes import FAILED, OK
from runner.names import printable_name

if TYPE_CHECKING:
    from runner.services.supervisor import Service, Supervisor

serve_option = click.option("--serve", is_flag=True, help="The server, `voicejobs serve`, instead of the runner.")
name_option = click.option(
    "--name", metavar="NAME", default="", help="Name of this instance's service, where you have several instances."
)
INSTANCE = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,38}[A-Za-z0-9_])?")


@click.group(cls=LazyGroup, examples=("voicejobs service install", "voicejobs service status"))
def service() -> None:
    """Keep the runner, or the server, running by systemd or launchd."""


@service.command(
    cls=Command,
    examples=(
        "voicejobs service install",
        "voicejobs service install --serve      # the server, too",
        "voicejobs service install --print      # only show the file",
        "voicejobs service install --name studio",
    ),
)
@serve_option
@name_option
@click.option("--print", "only_print", is_flag=True, help="Show the file, and change nothing.")
@click.option("--yes", is_flag=True, help="Replace another file of its name without asking.")
def install(serve: bool, name: str, only_print: bool, yes: bool) -> None:
    """Write the service of this instance and start it, now and at every login.

    On Linux it is a unit of your own systemd, on macOS a launch agent. Before it replaces another file it asks.
    """
    supervisor, wanted = _supervisor(), _service(serve, name)
    if only_print:
        echo(supervisor.text(wanted).rstrip("\n"))
        return
    if globals_of(click.get_current_context()).get("settings"):
        say("warning: the service has the settings of voicejobs.toml; --set does not change them")
    current_instance().prepare()
    for sentence in supervisor.install(wanted, may_replace=lambda path: yes or _agrees(path)):
        say(sentence)


@service.command(cls=Command, examples=("voicejobs service uninstall",))
@serve_option
@name_option
def uninstall(serve: bool, name: str) -> None:
    """Stop the service and remove its file; jobs, voices and settings stay."""
    for sentence in _supervisor().uninstall(_service(serve, name)):
        say(sentence)


@service.command(cls=Command, examples=("voicejobs service status",))
@serve_option
@name_option
def status(serve: bool, name: str) -> int:
    """Show the service's state, as the supervisor tells it; exit code 3 when it does not run."""
    text, code = _supervisor().status(_service(serve, name))
    echo(text)
    return code


@service.command(cls=Command, examples=("voicejobs service logs", "voicejobs service logs -f"))
@serve_option
@name_option
@click.option("--follow", "-f", is_flag=True, help="Go on as more is said.")
def logs(serve: bool, name: str, follow: bool) -> int:
    """Show what the supervisor heard; the log of the work is in the state folder's `logs`."""
    return OK if _supervisor().show_logs(_service(serve, name), follow=follow) == 0 else FAILED


def _supervisor() -> Supervisor:
    from runner.services.supervisor import supervisor_here

    return supervisor_here(os.environ)


def _service(serve: bool, name: str) -> Service:
    """The service of this instance, run by this installation."""
    from runner.services.recipes import service_command
    from runner.services.supervisor import Service

    if name and (not INSTANCE.fullmatch(name) or name.split("-")[-1] == "serve"):  # the servers' own ending
        said = f"{printable_name(name)[:60]!r} cannot be the name of a service."
        raise UsageProblem(said, hint="Up to 40 letters a to z, digits, - and _ can; `-serve` is added by --serve.")
    root = current_instance().root.absolute()
    program = Path(sysconfig.get_path("scripts"), "voicejobs")
    if not program.exists():
        raise UsageProblem(
            f"There is no {program}.", hint="Install voicejobs into an environment: `make venv`, or pip install."
        )
    command: list[Any] = service_command(program, root)
    if serve:
        command = [str(program), "--root", str(root), "serve"]
    return Service(command=tuple(command), instance=name, is_server=serve)


def _agrees(path: Path) -> bool:
    """Whether a person, where there is one, agrees to replace a file."""
    if sys.stdin is None or not sys.stdin.isatty():  # closed, or no terminal
        return False
    return click.confirm(reachable(f"{path} is there and says something else. Replace it?"), default=False, err=True)
