"""A model's name → the languages it speaks, as far as that is known without loading it. Only reads the disk."""

from __future__ import annotations

from pathlib import Path

from models.engine_kinds import MLX_AUDIO, QWEN3_TTS, kind_of_model
from models.errors import LanguageNotSpoken
from models.languages import AUTO, canonical_language
from models.store.availability import read_config
from models.store.catalog import LANGUAGES as QWEN3_TTS_LANGUAGES
from models.store.catalog import entry_named
from models.store.installed import resolve_model
from registry.errors import VoiceJobsError

DIALECT = "dialect"  # in the name of what is no language of a model, though its config lists it with them


def languages_of(model: str) -> tuple[str, ...]:
    """Languages that a model of this name speaks; () where any, or nobody knows."""
    kind = kind_of_model(model)
    if not kind.has_weights:
        return kind.spoken_languages()
    if kind == MLX_AUDIO:
        entry = entry_named(model)
        return entry.family.languages if entry is not None and entry.family is not None else ()
    return QWEN3_TTS_LANGUAGES


def check_spoken(language: str, model: str, *, models_dir: Path, position: int | None = None) -> None:
    """Raise LanguageNotSpoken where the model would when it is given a line in this language, at that position."""
    kind = kind_of_model(model)
    if language == AUTO or kind == MLX_AUDIO:
        return
    spoken = _of_checkpoint(model, models_dir) if kind == QWEN3_TTS else languages_of(model)
    names = {_canonical(name) for name in spoken}
    if names and _canonical(language) not in names:
        raise LanguageNotSpoken(language, spoken=spoken, where="" if position is None else f"line {position}: ")


def _of_checkpoint(model: str, models_dir: Path) -> tuple[str, ...]:
    """Languages in the config of a Qwen3-TTS model, else those of all published ones; () of one we do not know."""
    folder = resolve_model(model, directory=models_dir).folder
    config = read_config(folder) if folder is not None else None
    talker = config.get("talker_config") if isinstance(config, dict) else None
    own = talker.get("codec_language_id") if isinstance(talker, dict) else None
    if isinstance(own, dict) and own:
        return tuple(str(name) for name in own if DIALECT not in str(name).lower())
    return QWEN3_TTS_LANGUAGES if config is None and entry_named(model) is not None else ()


def _canonical(name: str) -> str:
    try:
        return canonical_language(name)
    except VoiceJobsError:
        return name.strip().lower()  # of a checkpoint's own
