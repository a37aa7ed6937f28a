"""`voicejobs models …`: models listed, fetched, verified, moved, removed and quantised."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from runner.cli.commands.models_output import (
    listing,
    model_as_json,
    models_elsewhere,
    models_not_installed,
    progress_bar,
    show_plan,
    step_as_json,
    talk,
    voices_by_model,
)
from runner.cli.completion import model_names
from runner.cli.console import Command, LazyGroup, NamedPath, echo, globals_of, json_option, say, to_json
from runner.text_format import counted, size

if TYPE_CHECKING:
    from runner.config.quick_settings import QuickSettings

Decorated = TypeVar("Decorated", bound=Callable[..., Any])
MODELS_DIR_KEY = "voicejobs.models_dir"


@dataclass(frozen=True, kw_only=True)
class ChosenDirectory:
    """Model directory of a command, and the settings of the instance if there is one."""

    directory: Path
    instance: QuickSettings | None
    environ: Mapping[str, str]

    @property
    def offline(self) -> bool:
        return self.instance.offline if self.instance else False

    @property
    def migrate(self) -> str:
        return self.instance.migrate if self.instance else "auto"


def models_dir_option(command: Decorated) -> Decorated:
    """Add `--models-dir` to a command, also after its name."""
    text = "The shared model directory; overrides VOICEJOBS_MODELS_DIR, ACERVO_MODELS_DIR and voicejobs.toml."
    return click.option("--models-dir", "models_dir", type=NamedPath(), help=text)(command)


@click.group("models", cls=LazyGroup, examples=("voicejobs models list", "voicejobs models pull qwen3-tts-0.6b-base"))
@models_dir_option
@click.pass_context
def models(context: click.Context, models_dir: Path | None) -> None:
    """List, download, verify and move models."""
    if models_dir is not None:
        context.meta[MODELS_DIR_KEY] = models_dir


def chosen_directory(context: click.Context, models_dir: Path | None) -> ChosenDirectory:
    """Model directory that this command line means, with or without an instance.

    Models are shared by all instances, so none is needed.
    """
    from models.store.shared_directory import resolve_models_dir
    from runner.config.quick_settings import quick_settings

    given = globals_of(context)
    instance = quick_settings(given.get("root"), flags=given.get("settings"))
    flag = models_dir or context.meta.get(MODELS_DIR_KEY)
    configured = instance.models_dir if instance else None
    directory = resolve_models_dir(flag, os.environ, configured)
    return ChosenDirectory(directory=directory, instance=instance, environ=os.environ)


def models_command(name: str, *examples: str) -> Callable[[Callable[..., None]], click.Command]:
    """Make a command of a function that gets the chosen directory first, and `as_json`."""

    def decorate(function: Callable[..., None]) -> click.Command:
        @click.pass_context
        def run(context: click.Context, /, models_dir: Path | None, **values: Any) -> None:
            function(chosen_directory(context, models_dir), **values)

        run.__doc__ = function.__doc__
        command = models.command(name, cls=Command, examples=examples)(models_dir_option(json_option(run)))
        command.params[:0] = reversed(getattr(function, "__click_params__", []))
        return command

    return decorate


@models_command("list", "voicejobs models list", "voicejobs models list --all --json")
@click.option("--all", "show_all", is_flag=True, help="Also models in legacy places, and known ones not installed.")
def list_command(chosen: ChosenDirectory, show_all: bool, as_json: bool) -> None:
    """List installed models: state, size, folder, and the voices that need them."""
    from models.store.installed import list_models

    used = voices_by_model(chosen.instance.state_dir) if chosen.instance else {}
    rows = [model_as_json(one, used_by=used.get(one.id.casefold(), ())) for one in list_models(chosen.directory)]
    if show_all:
        rows += models_elsewhere(chosen.directory, environ=chosen.environ)
        rows += models_not_installed(chosen.directory, present={row["id"] for row in rows})
    if as_json:
        echo(to_json(rows))
        return
    if not rows:
        say(
            f"No model in {chosen.directory}. `voicejobs models pull NAME` fetches one; "
            "`voicejobs models list --all` names them."
        )
    else:
        echo(listing(rows))


@models_command("path", "voicejobs models path qwen3-tts-1.7b-base")
@click.argument("name", default="default", shell_complete=model_names)
def path_command(chosen: ChosenDirectory, name: str, as_json: bool) -> None:
    """Print the folder of model NAME; default: the default model. Exit code 3 when it is not installed."""
    from models.errors import ModelNotInstalled
    from models.store.availability import Available, availability
    from models.store.installed import resolve_model

    choice = resolve_model(name, directory=chosen.directory)
    if choice.folder is None:
        raise ModelNotInstalled(f"{choice.id} has no folder: it needs no weights and is always ready.")
    if not isinstance(availability(choice.folder), Available):
        hint = f"`voicejobs models pull {choice.id}` fetches it."
        raise ModelNotInstalled(f"{choice.id} is not usable in {chosen.directory}.", hint=hint)
    if as_json:
        echo(to_json({"id": choice.id, "folder": str(choice.folder)}))
    else:
        echo(str(choice.folder))


@models_command(
    "pull",
    "voicejobs models pull qwen3-tts-0.6b-base",
    "voicejobs models pull mlx-community/Qwen3-TTS-12Hz-1.7B-Base-8bit",
    "voicejobs models pull --for design,lock,presets",
)
@click.argument("name", required=False, shell_complete=model_names)
@click.option("--for", "kinds", metavar="WORK", help="The default models for design, lock and presets, by commas.")
@click.option("--revision", help="A commit, tag or branch; default: the main branch.")
def pull_command(
    chosen: ChosenDirectory, name: str | None, kinds: str | None, revision: str | None, as_json: bool
) -> None:
    """Make model NAME usable: adopt it from a legacy place, download it, or download missing files."""
    names = _names_to_pull(chosen.directory, name, kinds, revision)
    pulled = [_pull(chosen, one, revision) for one in names]
    if as_json:
        echo(to_json(pulled[0] if name is not None else pulled))
    else:
        for one in pulled:
            echo(one["folder"] or one["id"])


def _names_to_pull(directory: Path, name: str | None, kinds: str | None, revision: str | None) -> list[str]:
    """Names of the models to pull; those of kinds of work are said first, with their sizes."""
    from models.store.forecast import ABILITIES, default_models, free_bytes, to_download
    from runner.errors import UsageProblem

    if name is not None and kinds is None:
        return [name]
    if name is not None or kinds is None or revision is not None:
        hint = f"`voicejobs models pull NAME`, or `voicejobs models pull --for {','.join(ABILITIES)}`."
        raise UsageProblem("Give either the NAME of a model or --for (and --revision with a NAME alone).", hint=hint)
    wanted = [kind.strip() for kind in kinds.split(",")]
    if unknown := [kind for kind in wanted if kind not in ABILITIES]:
        raise UsageProblem(f"--for knows {', '.join(ABILITIES)}, and not {unknown[0]!r}.")
    found = [entry.name for entry in default_models(wanted)]
    missing = list(to_download(found, directory=directory))
    here = len(found) - len(missing)
    needed_bytes = sum(one.size_bytes for one in missing)
    say(f"{', '.join(found)}: {here} here, {size(needed_bytes)} to download; {size(free_bytes(directory))} free")
    return found


def _pull(chosen: ChosenDirectory, name: str, revision: str | None) -> dict[str, Any]:
    from models.fetch.prepare import pull_model

    with progress_bar() as show:
        prepared = pull_model(
            name,
            directory=chosen.directory,
            migrate=chosen.migrate,
            offline=chosen.offline,
            environ=chosen.environ,
            revision=revision,
            on_event=show,
            progress_every_s=0.1 if sys.stderr.isatty() else 5.0,
        )
    return {
        "id": prepared.id,
        "folder": str(prepared.folder) if prepared.folder else None,
        "revision": prepared.revision,
        "state": prepared.state.state,
        "actions": list(prepared.actions_done),
    }


@models_command("verify", "voicejobs models verify", "voicejobs models verify qwen3-tts-1.7b-base --hashes")
@click.argument("names", nargs=-1, shell_complete=model_names)
@click.option("--hashes", is_flag=True, help="Also read every byte and compare the hashes with the manifest.")
def verify_command(chosen: ChosenDirectory, names: tuple[str, ...], hashes: bool, as_json: bool) -> None:
    """Check models NAMES, or all, for everything that loading would refuse. Exit code 1 when one is broken.

    The weights are read once, to see that they are finite numbers, and again after they have changed.
    """
    from models.store.availability import Available
    from models.store.upkeep import repair_hint, verify_models
    from runner.errors import WorkFailed

    checked = verify_models(names, directory=chosen.directory, hashes=hashes)
    rows = [model_as_json(model) for model in checked]
    if as_json:
        echo(to_json(rows))
    else:
        echo(listing(rows)) if rows else None
        for row in rows:
            for problem in row["problems"]:
                echo(f"{row['id']}: {problem}")
    broken = [model for model in checked if not isinstance(model.state, Available)]
    if broken:
        hints = dict.fromkeys(repair_hint(model) for model in broken)
        raise WorkFailed(f"Not usable: {', '.join(model.id for model in broken)}.", hint=" ".join(hints))


@models_command(
    "migrate", "voicejobs models migrate --dry-run", "voicejobs models migrate", "voicejobs models migrate --undo"
)
@click.option("--dry-run", is_flag=True, help="Print the plan with sizes, and change nothing.")
@click.option("--undo", is_flag=True, help="Revert the last migration, if its files are untouched.")
@click.option(
    "--on-conflict",
    type=click.Choice(["keep-existing", "keep-complete", "report-only"]),
    default="keep-existing",
    show_default=True,
    help="What to do when the directory has a model of that name already.",
)
def migrate_command(chosen: ChosenDirectory, dry_run: bool, undo: bool, on_conflict: str, as_json: bool) -> None:
    """Move all models from legacy places to the shared directory.

    Nothing is merged or overwritten, and nothing is deleted that has not been moved.
    """
    from models.migrate.migration import plan_migration, recover, run_plan, undo_last
    from runner.errors import UsageProblem, WorkFailed

    if undo and dry_run:
        raise UsageProblem("--undo and --dry-run cannot be used together.")
    if undo:
        undone = undo_last(chosen.directory, on_event=talk)
        rows = [{"id": one.model, "action": "undone", "folder": str(one.source)} for one in undone]
        echo(to_json(rows)) if as_json else None
        return
    if not dry_run:
        recover(chosen.directory, on_event=talk)
    plan = plan_migration(chosen.directory, environ=chosen.environ, on_conflict=on_conflict)
    if dry_run:
        show_plan(plan, as_json=as_json)
        return
    outcome = run_plan(plan, on_event=talk)
    failed = set(outcome.failed)
    if as_json:
        echo(
            to_json(
                [{**step_as_json(step), "done": step in outcome.done, "failed": step in failed} for step in plan.steps]
            )
        )
    elif not outcome.done:
        say("Nothing to move.")
    if failed:
        raise WorkFailed(f"{counted(len(failed), 'model')} could not be moved.", hint="The messages above say why.")


@models_command("rm", "voicejobs models rm qwen3-tts-0.6b-base")
@click.argument("name", shell_complete=model_names)
@click.option("--force", is_flag=True, help="Even if the current version of a voice needs it.")
def rm_command(chosen: ChosenDirectory, name: str, force: bool, as_json: bool) -> None:
    """Remove model NAME from the shared directory."""
    from models.errors import ModelNeeded
    from models.store.installed import resolve_model
    from models.store.upkeep import remove_model

    choice = resolve_model(name, directory=chosen.directory)
    used = voices_by_model(chosen.instance.state_dir).get(choice.id.casefold(), ()) if chosen.instance else ()
    if used and not force:
        hint = "Relock them for another model first, or use --force."
        raise ModelNeeded(f"{choice.id} is needed by {', '.join(used)}.", hint=hint)
    removed = remove_model(choice, directory=chosen.directory)
    if as_json:
        echo(to_json({"id": removed.id, "folder": str(removed.folder), "freed_bytes": removed.freed_bytes}))
    else:
        say(f"removed {removed.id}, freed {size(removed.freed_bytes)}")


@models_command("quantize", "voicejobs models quantize qwen3-tts-1.7b-base --bits 8")
@click.argument("source", shell_complete=model_names)
@click.option("--bits", type=click.Choice(["8", "6", "4"]), required=True, help="Bits per weight.")
@click.option("--to", "target", help="Id of the new model; default: that of SOURCE, with -8bit at its end.")
def quantize_command(chosen: ChosenDirectory, source: str, bits: str, target: str | None, as_json: bool) -> None:
    """Write a smaller copy of model SOURCE with 8, 6 or 4 bits per weight, as a separate model."""
    from runner.cli.quantize_run import quantize_model

    made = quantize_model(source, bits=int(bits), target=target, directory=chosen.directory)
    if as_json:
        echo(to_json(model_as_json(made)))
    else:
        echo(str(made.folder))


@models_command("env", "voicejobs models env mlx-audio", "voicejobs models env mlx-audio --python python3.12")
@click.argument("engine")
@click.option("--python", "base", metavar="PYTHON", help="The Python to make it with; default: that of voicejobs.")
def env_command(chosen: ChosenDirectory, engine: str, base: str | None, as_json: bool) -> None:
    """Make an environment for ENGINE alone, or complete it, by venv and pip; print its Python.

    For packages that exclude those of voicejobs. It is used once voicejobs.toml names it.
    """
    from models.engine_kinds import MLX_AUDIO
    from models.fetch.hub import is_offline
    from registry.errors import NotFound
    from runner.config.quick_settings import SETTINGS_FILE
    from runner.engine.engine_python import make_environment
    from runner.errors import InstanceNotFound, WorkFailed

    if engine != MLX_AUDIO.name:
        raise NotFound(f"No engine {engine!r} can have an environment of its own; {MLX_AUDIO.name} can.")
    if (instance := chosen.instance) is None:
        hint = "Run it within one, or name it with --root."
        raise InstanceNotFound("An environment belongs to an instance, and here is none.", hint=hint)
    if is_offline(chosen.environ, setting=chosen.offline):
        raise WorkFailed("pip would use the network, which is switched off (offline).", hint="Go online first.")
    made = make_environment(instance.state_dir / "engines" / engine, engine, base=base)
    say(f"{engine} {made.package_version} for Python {made.version}. Write into {instance.root / SETTINGS_FILE}:")
    say(f'[engines.{engine}]\npython = "{made.path}"')
    if as_json:
        found = {"engine": engine, "python": str(made.path), "version": made.version, "package": made.package_version}
        echo(to_json(found))
    else:
        echo(str(made.path))
