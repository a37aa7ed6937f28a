"""`voicejobs init`, `check`, `schema` and `completion`: what needs no runner and no registry."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import cast

import click

from runner.cli.console import Command, globals_of, json_option, say, show, to_json
from runner.exit_codes import FAILED, OK


@click.command(
    cls=Command,
    examples=(
        "voicejobs init",
        "voicejobs init ~/voices",
        "voicejobs init ~/voices --force   # write the defaults anew",
    ),
)
@click.argument("folder", metavar="[DIR]", required=False, type=click.Path(path_type=Path, file_okay=False))
@click.option("--force", is_flag=True, help="Overwrite a voicejobs.toml that is there.")
def init(folder: Path | None, force: bool) -> None:
    """Make an instance in DIR; without it where --root says, else here.

    Writes a voicejobs.toml in which every key stands, commented, with its default, and makes the folders.
    """
    from registry.durable_files import make_folder_durably, write_durably
    from registry.errors import Conflict
    from runner.config.instance import Instance
    from runner.config.settings import SETTINGS_FILE, default_file, load_settings

    folder = (folder or globals_of(click.get_current_context()).get("root") or Path()).expanduser().absolute()
    path = folder / SETTINGS_FILE
    if path.exists() and not force:
        raise Conflict(f"{path} is there already.", hint="--force writes the defaults over it.")
    make_folder_durably(folder)
    write_durably(path, default_file().encode())
    instance = Instance(folder, load_settings(path))
    instance.prepare()
    say(f"Made an instance in {folder}. Start it with: voicejobs --root {shlex.quote(str(folder))} run")


@click.command(
    cls=Command,
    examples=("voicejobs check hello.toml", "voicejobs check examples/*.toml", "voicejobs check --json - < hello.json"),
)
@click.argument("files", metavar="FILE…", nargs=-1, required=True)
@json_option
def check(files: tuple[str, ...], as_json: bool) -> int:
    """Check job files without running them; - reads standard input.

    Exit code 1 when one of them is wrong. The files that a job names are looked for, too.
    """
    from runner.cli.check import check_file

    verdicts = [check_file(name, stdin=sys.stdin.buffer) for name in files]
    if as_json:
        click.echo(to_json(verdicts))
    else:
        for verdict in verdicts:
            say("\n".join(verdict.problems) if verdict.problems else f"{verdict.file}: ok, {_kind_text(verdict.kind)}")
            if verdict.hint:
                say(f"  {verdict.hint}")
    return FAILED if any(verdict.problems for verdict in verdicts) else OK


def _kind_text(kind: str | None) -> str:
    return f"{'an' if kind in ('export', 'import') else 'a'} {kind} job"


@click.command(cls=Command, examples=("voicejobs schema > job.schema.json",))
def schema() -> None:
    """Print the JSON Schema of job files, TOML and JSON alike."""
    from runner.jobfile.parse import job_schema

    show(job_schema(), as_json=True, text=str)


@click.command(
    cls=Command,
    examples=(
        'eval "$(voicejobs completion bash)"     # in ~/.bashrc',
        'eval "$(voicejobs completion zsh)"      # in ~/.zshrc',
        "voicejobs completion fish > ~/.config/fish/completions/voicejobs.fish",
    ),
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell."""
    from click.shell_completion import get_completion_class

    from runner.cli.program import voicejobs

    kind = get_completion_class(shell)
    assert kind is not None  # click brings these three along
    click.echo(kind(cast(click.Command, voicejobs), {}, "voicejobs", "_VOICEJOBS_COMPLETE").source())
