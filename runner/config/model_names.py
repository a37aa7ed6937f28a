"""A model as a job or a lock names it → one name per model, and the engine process's choice of it."""

from __future__ import annotations

import os
from pathlib import Path

from models.protocol import ModelChoice
from models.store.catalog import entry_named
from runner.config.settings import Settings

DRAFT = "draft"
CLONE, DESIGN, PRESETS = "clone", "design", "presets"


def is_test_engine(name: str) -> bool:
    """`module:function`, where the environment allows engines made for tests."""
    return ":" in name and bool(os.environ.get("VOICEJOBS_TEST_ENGINES"))


def name_without_folder(wanted: str) -> str | None:
    """Canonical name of a model that has no weights; None for all others."""
    if is_test_engine(wanted):
        return wanted
    return DRAFT if wanted.casefold() == DRAFT else None


def model_name(wanted: str, *, ability: str, settings: Settings, models_dir: Path) -> str:
    """Canonical name under which a model is scheduled, loaded and recorded. Raises UnknownModel."""
    if (simple := name_without_folder(wanted)) is not None:
        return simple
    from models.store.installed import resolve_model

    choice = resolve_model(wanted, directory=models_dir, ability=ability, offline=settings.offline)
    return choice.entry.name if choice.entry else choice.id


def likely_name(wanted: str) -> str | None:
    """`model_name` without looking at the disk; None when it depends on the machine or on a folder."""
    if (simple := name_without_folder(wanted)) is not None:
        return simple
    entry = entry_named(wanted)
    return entry.name if entry else None


def engine_choice(name: str, *, settings: Settings, folder: Path | None) -> ModelChoice:
    """Model for the engine process to open; `folder` holds the weights, where the model has any."""
    if is_test_engine(name):
        return ModelChoice(engine=name, model=name)
    if name == DRAFT:
        return ModelChoice(engine="draft", model=DRAFT)
    return ModelChoice(
        engine="qwen3-tts",
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
