"""Models, their voices, plans and events → lines for people and JSON for scripts."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runner.cli.console import echo, say, terminal_table, to_json
from runner.text_format import counted, short, size

if TYPE_CHECKING:
    from models.migrate.migration import Plan, PlannedStep
    from models.store.events import ModelEvent
    from models.store.families import Family
    from models.store.installed import InstalledModel


VOICES_A_PAGE = 1_000
NON_COMMERCIAL = " (non-commercial)"


def talk(event: ModelEvent) -> None:
    """Print an event on stderr; progress has its own bar."""
    if event.kind != "progress":
        say(event.message)


@contextmanager
def progress_bar() -> Iterator[Callable[[ModelEvent], None]]:
    """Consumer of events that draws a bar on a terminal, and elsewhere ignores progress."""
    bars: list[Any] = []

    def show(event: ModelEvent) -> None:
        if event.kind != "progress" or not sys.stderr.isatty():
            if bars:
                click.echo(err=True)  # ends the bar's line; the next progress draws it again
            talk(event)
            return
        if not bars:
            bars.append(click.progressbar(length=event.data["total_bytes"], label=event.model, file=sys.stderr))
            bars[0].__enter__()
        bars[0].update(event.data["done_bytes"] - bars[0].pos)

    try:
        yield show
    finally:
        for bar in bars:
            bar.__exit__(None, None, None)


def model_as_json(model: InstalledModel, *, used_by: tuple[str, ...] = ()) -> dict[str, Any]:
    """Installed model, for scripts."""
    entry = model.entry
    return {
        "id": model.id,
        "name": entry.name if entry else None,
        "state": model.state.state,
        "missing": list(getattr(model.state, "missing", ())),
        "problems": list(getattr(model.state, "problems", ())),
        "progress": getattr(model.state, "progress", None),
        "size_bytes": model.size_bytes,
        "folder": str(model.folder),
        "revision": model.revision,
        "variant": model.kind.variant,
        "parameters": model.kind.parameters,
        "quantization": model.kind.quantization,
        "abilities": list(model.kind.abilities),
        "family": family.name if (family := family_for(model)) else None,
        "companions": companions_for(model),
        "licence": (entry.licence or None) if entry else None,
        "speech": model.kind.is_speech,
        "used_by": list(used_by),
    }


def listing(rows: Sequence[dict[str, Any]]) -> str:
    """Table of models, for people."""
    headings = ("MODEL", "SHORT NAME", "SIZE", "STATE", "CAN", "LICENCE", "VOICES", "FOLDER")
    return terminal_table(headings, [_cells(row) for row in rows])


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    state = f"partial: {', '.join(row['missing'][:3])}" if row["missing"] else row["state"].replace("_", " ")
    voices = short(", ".join(row["used_by"]), 40) or "-"
    can = ", ".join(row["abilities"]) or "-"
    licence = row["licence"] or "not known"
    licence += NON_COMMERCIAL if "-NC" in licence else ""
    folder = row["folder"] or "-"
    return (row["id"], row["name"] or "-", size(row["size_bytes"]), state, can, licence, voices, folder)


def family_for(model: InstalledModel) -> Family | None:
    """The family of a model that mlx-audio speaks with; None for all others."""
    from models.store.companions import family_in

    return model.entry.family if model.entry else family_in(model.folder, model_id=model.id)


def companions_for(model: InstalledModel) -> list[str]:
    """Repositories that a model needs besides its own."""
    from models.store.availability import read_config
    from models.store.families import companions_of

    family = family_for(model)
    return [] if family is None else [one.repository for one in companions_of(family, read_config(model.folder))]


def models_elsewhere(directory: Path, *, environ: Mapping[str, str]) -> list[dict[str, Any]]:
    """Models in legacy places, as rows of a listing."""
    from models.migrate.legacy_places import scan_legacy
    from models.store import catalog
    from models.store.availability import read_config
    from models.store.installed import InstalledModel

    scan = scan_legacy(directory, environ=environ)
    found = [
        InstalledModel(
            id=candidate.id,
            folder=candidate.folder,
            state=candidate.state,
            size_bytes=candidate.size_bytes,
            kind=catalog.kind_of(read_config(candidate.folder), entry),
            revision=candidate.revision,
            entry=entry,
        )
        for candidate in scan.candidates
        for entry in [catalog.entry_named(candidate.id)]
    ]
    return [model_as_json(model) for model in found]


def models_not_installed(directory: Path, *, present: set[str]) -> list[dict[str, Any]]:
    """Known models that are not installed, as rows of a listing."""
    from models.store import catalog
    from models.store.availability import NotAvailable
    from models.store.installed import InstalledModel
    from models.store.shared_directory import slug_of

    absent = [entry for entry in catalog.CATALOG if not present.intersection(entry.repositories)]
    rows = [
        InstalledModel(
            id=entry.id,
            folder=directory / slug_of(entry.id),
            state=NotAvailable(),
            size_bytes=entry.size_bytes,
            kind=catalog.kind_of(None, entry),
            revision=None,
            entry=entry,
        )
        for entry in absent
    ]
    return [{**model_as_json(model), "folder": None} for model in rows]


def step_as_json(step: PlannedStep) -> dict[str, Any]:
    """Step of a migration, for scripts."""
    return {
        "id": step.model,
        "action": step.action,
        "source": str(step.source),
        "target": str(step.target),
        "size_bytes": step.size_bytes,
        "place": step.place,
        "reason": step.reason,
    }


def show_plan(plan: Plan, *, as_json: bool) -> None:
    """Print a migration before it is run: the data on stdout, the sum on stderr."""
    if as_json:
        echo(to_json([step_as_json(step) for step in plan.steps]))
        return
    for step in plan.steps:
        way = f"-> {step.target}" if step in plan.changes else f"({step.reason})"
        echo(f"{step.action:10} {size(step.size_bytes):>10}  {step.source} {way}")
    for finding in plan.findings:
        echo(f"{'closed':10} {'':>10}  {finding.folder} ({finding.reason})")
    moved_bytes = sum(step.size_bytes for step in plan.changes)
    say(f"{counted(len(plan.changes), 'change')}, {size(moved_bytes)}, into {plan.directory}")


# ---- voices that need a model ----------------------------------------------------------------------------------------


def voices_by_model(state_dir: Path) -> dict[str, tuple[str, ...]]:
    """Model id, in lower case → the voices, as `name@N`, whose current version was locked with it."""
    if not state_dir.is_dir():
        return {}  # before the registry is loaded, which takes longer than a listing
    from registry.registry import open_registry
    from registry.storage.database import DATABASE_NAME

    if not (state_dir / DATABASE_NAME).exists():
        return {}
    found: dict[str, list[str]] = defaultdict(list)
    with open_registry(state_dir, reads_only=True) as registry:
        after = ""
        while page := registry.voices(after=after, limit=VOICES_A_PAGE):
            for voice in page:
                if voice.model is not None and voice.current is not None:
                    for model_id in ids_meant_by(voice.model):
                        found[model_id].append(f"{voice.name}@{voice.current}")
            after = page[-1].name
    return {model_id: tuple(voices) for model_id, voices in found.items()}


def ids_meant_by(model: str) -> tuple[str, ...]:
    """Ids, in lower case, of the models that a recorded name may mean: short name, repository id or folder."""
    from models.store import catalog

    entry = catalog.entry_named(model)
    if entry is None:
        return (model.casefold(),)
    exact = [repository for repository in entry.repositories if repository.casefold() == model.casefold()]
    return tuple(repository.casefold() for repository in exact or entry.repositories)
