"""A model as a job or a lock names it → one name per model, and the engine process's choice of it."""

from __future__ import annotations

from pathlib import Path

from models.engine_kinds import kind_of_model, model_without_folder
from models.protocol import ModelChoice
from models.store.catalog import entry_named
from runner.config.settings import Settings

CLONE, DESIGN, PRESETS = "clone", "design", "presets"


def model_name(wanted: str, *, ability: str, settings: Settings, models_dir: Path) -> str:
    """Canonical name under which a model is scheduled, loaded and recorded. Raises UnknownModel."""
    if (simple := model_without_folder(wanted)) is not None:
        return simple
    from models.store.installed import resolve_model

    choice = resolve_model(wanted, directory=models_dir, ability=ability, offline=settings.offline)
    return choice.entry.name if choice.entry else choice.id


def likely_name(wanted: str) -> str | None:
    """`model_name` without looking at the disk; None when it depends on the machine or on a folder."""
    if (simple := model_without_folder(wanted)) is not None:
        return simple
    entry = entry_named(wanted)
    return entry.name if entry else None


def engine_choice(name: str, *, settings: Settings, folder: Path | None) -> ModelChoice:
    """Model for the engine process to open; `folder` holds the weights, where the model has any."""
    kind = kind_of_model(name)
    if not kind.has_weights:
        return ModelChoice(engine=kind.name, model=name, folder=None if folder is None else str(folder))
    return ModelChoice(
        engine=kind.name,
        model=name,
        folder=str(folder),
        dtype=None if settings.dtype == "auto" else settings.dtype,
        batch=settings.batch or None,
        memory_limit_bytes=settings.engine_memory_limit_bytes or None,
        blas=None if settings.blas == "auto" else settings.blas,
        formulation=None if settings.formulation == "auto" else settings.formulation,
        memory_factor=settings.memory_factor,
        memory_check=settings.memory_check,
    )
