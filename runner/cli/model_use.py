"""Which voices need which model: the registry's current versions → model ids.

Nothing is created: an instance without a database has no voices.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from models.store import catalog

PAGE = 1_000


def voices_by_model(state_dir: Path) -> dict[str, tuple[str, ...]]:
    """Model id, in lower case → the voices, as `name@N`, whose current version was locked with it."""
    if not state_dir.is_dir():
        return {}  # before the registry is loaded, which takes longer than a listing
    from registry.registry import DATABASE_NAME, open_registry

    if not (state_dir / DATABASE_NAME).exists():
        return {}
    found: dict[str, list[str]] = defaultdict(list)
    with open_registry(state_dir) as registry:
        after = ""
        while page := registry.voices(after=after, limit=PAGE):
            for voice in page:
                if voice.model is not None and voice.current is not None:
                    for model_id in ids_meant_by(voice.model):
                        found[model_id].append(f"{voice.name}@{voice.current}")
            after = page[-1].name
    return {model_id: tuple(voices) for model_id, voices in found.items()}


def ids_meant_by(model: str) -> tuple[str, ...]:
    """The ids, in lower case, of the models that a recorded name may mean: short name, repository id or folder."""
    entry = catalog.entry_named(model)
    if entry is None:
        return (model.casefold(),)
    exact = [repository for repository in entry.repositories if repository.casefold() == model.casefold()]
    return tuple(repository.casefold() for repository in exact or entry.repositories)
