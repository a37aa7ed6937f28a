"""`voicejobs init`, `demo`, `doctor` and `completion`: an instance made, tried and examined."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import cast

import click

from runner.cli.console import (
    NO_RUNNER,
    Command,
    NamedPath,
    current_instance,
    echo,
    globals_of,
    json_option,
    reachable,
    say,
    show,
    terminal_table,
    to_json,
    wrapped,
)
from runner.exit_codes import FAILED, NEEDS_ACTION, OK
from runner.text_format import counted

ALL_ENGINES = "*"  # of `doctor --engine` without a name


@click.command(
    cls=Command,
    examples=(
        "voicejobs init",
        "voicejobs init ~/voices",
        "voicejobs init ~/voices --force   # write the defaults again",
    ),
)
@click.argument("folder", metavar="[DIR]", required=False, type=NamedPath())
@click.option("--force", is_flag=True, help="Overwrite an existing voicejobs.toml.")
@click.option("--accept-state", is_flag=True, help="Accept an empty or another registry where one was lost.")
def init(folder: Path | None, force: bool, accept_state: bool) -> None:
    """Create an instance in DIR; default: the folder of --root, else this one.

    Writes a voicejobs.toml that lists every key with its default, commented out, and creates the folders.
    """
    from models.named_paths import kind_of, shown_path, status_of
    from registry.durable_files import make_folder_durably
    from registry.errors import Conflict
    from runner.config.instance import Instance
    from runner.config.settings import SETTINGS_FILE, default_file, load_settings
    from runner.errors import UsageProblem
    from runner.output_files import check_target, write_target

    folder = (folder or globals_of(click.get_current_context()).get("root") or Path()).absolute()
    path = folder / SETTINGS_FILE
    if accept_state and path.exists():
        from runner.cli.accept_state import accept_state_of

        say(accept_state_of(folder))
        return
    if path.exists() and not force:
        raise Conflict(f"{path} exists already.", hint="--force overwrites it with the defaults.")
    if (status := status_of(folder)) is not None and not folder.is_dir():
        raise UsageProblem(f"{shown_path(folder)} is {kind_of(status) or 'a file'}, where a folder is needed.")
    if path.exists() or path.is_symlink():
        check_target(path)
    make_folder_durably(folder)
    write_target(path, default_file().encode())
    instance = Instance(folder, load_settings(path))
    instance.prepare()
    say(f"Created an instance in {folder}. Start it with `voicejobs --root {shlex.quote(str(folder))} run`.")


@click.command(
    cls=Command,
    examples=("voicejobs demo", "voicejobs demo --dir /tmp/voices   # an instance to look at and work with"),
)
@click.option(
    "--dir",
    "folder",
    type=NamedPath(),
    metavar="DIR",
    help="Folder to use; default: a new temporary one.",
)
@json_option
def demo(folder: Path | None, as_json: bool) -> None:
    """Design, lock and speak in a scratch instance, and show the result.

    Drops five job files at once: two voices are designed and locked, and both speak a scene, with the draft engine;
    where it is installed, hibari narrates. Neither needs a download. Fails unless every receipt says done and the
    track contains speech.
    """
    from runner.cli.demo import demo_text, run_demo

    result = run_demo(folder, say=say)
    echo(to_json(result) if as_json else demo_text(result))


@click.command(
    cls=Command,
    examples=(
        "voicejobs doctor",
        "voicejobs doctor --engine      # starts engines, too",
        "voicejobs doctor --engine draft   # whether one engine keeps the promises of the protocol",
        "voicejobs doctor --json",
        "voicejobs doctor --runner      # for cron and monitoring: is a runner active?",
    ),
)
@click.option(
    "--runner", "only_runner", is_flag=True, help="Only say whether a runner is active; exit code 3 if none is."
)
@click.option(
    "--engine",
    metavar="[NAME]",
    is_flag=False,
    flag_value=ALL_ENGINES,
    help="Also start engines: do they speak, does MLX compute correctly? With a NAME: only try whether the engine of "
    "this model keeps the promises of the protocol.",
)
@click.option("--list-checks", is_flag=True, help="List the checks without running them.")
@click.option("--verbose", is_flag=True, help="Also show checks that found nothing wrong.")
@json_option
def doctor(only_runner: bool, engine: str | None, list_checks: bool, verbose: bool, as_json: bool) -> int:
    """Check this instance and this machine.

    Every finding comes with a remedy. Exit code 1 when there is a warning or a problem. With --runner the exit code
    is 0 when a runner is active, and 3 when none is.
    """
    from runner.doctor import findings
    from runner.doctor.checks import ALWAYS_TOLD, CHECKS, contract_findings, examine
    from runner.doctor.registry_checks import active_runner

    if only_runner:
        if (holder := active_runner(current_instance())) is None:
            say(NO_RUNNER)
            return NEEDS_ACTION
        show({"runner": holder}, as_json=as_json, text=lambda _: f"a runner is active: {holder}")
        return OK

    if list_checks:
        listed = [{"check": name, "what": what} for name, (what, _) in CHECKS.items()]
        rows = [(item["check"], item["what"]) for item in listed]
        echo(to_json(listed) if as_json else terminal_table(("CHECK", "WHAT"), rows))
        return OK
    if engine not in (None, ALL_ENGINES):
        raw = contract_findings(current_instance(), str(engine))
    else:
        raw = iter(examine(current_instance(), engine=engine is not None))
    found = []
    for one in raw:
        found.append(finding := replace(one, message=reachable(one.message), remedy=reachable(one.remedy)))
        if as_json or (finding.severity == findings.OK and not verbose and finding.check not in ALWAYS_TOLD):
            continue
        echo(wrapped(f"{finding.severity:<8} {finding.check}: {finding.message}", indent=9))
        if finding.remedy and finding.severity != findings.OK:
            echo(wrapped(f"{'':<8}   → {finding.remedy}", indent=13))
    bad = [finding for finding in found if finding.counts]
    if as_json:
        echo(to_json({"ok": not bad, "findings": found}))
        return FAILED if bad else OK
    checks = len({finding.check for finding in found})
    notes = sum(finding.severity == findings.NOTE for finding in found)
    echo(f"{counted(checks, 'check')}: {counted(len(bad), 'finding')}, {counted(notes, 'note')}")
    return FAILED if bad else OK


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
    assert kind is not None  # click knows these three
    click.echo(kind(cast(click.Command, voicejobs), {}, "voicejobs", "_VOICEJOBS_COMPLETE").source())
