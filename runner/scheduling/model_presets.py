"""A model's name → the presets that it brings along, and the one that speaks where no voice is named.

As far as that is known without loading it: an engine's presets are in its package, its files or our own tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from models.engine_kinds import MLX_AUDIO, kind_of_model
from models.errors import UnsupportedRequest
from models.store.availability import read_config
from models.store.catalog import kind_of
from models.store.companions import family_in, presets_in
from models.store.installed import ResolvedModel, resolve_model
from models.store.shared_directory import slug_of
from registry.voices.names import PRESET_PREFIX
from runner.config.instance import Instance
from runner.config.model_names import PRESETS, further_voices
from runner.names import PRESET_NAMES
from runner.scheduling.spoken_languages import languages_of
from runner.scheduling.voice_resolution import ModelNames


@dataclass(frozen=True, kw_only=True)
class Offer:
    """Presets of a model, None where nobody knows before it is here or loaded; and languages, none where any."""

    presets: tuple[str, ...] | None
    languages: tuple[str, ...] = ()


def offer_of(model: str, instance: Instance) -> Offer:
    """Offer of the model of this one name. Raises UnknownModel."""
    kind = kind_of_model(model)
    if not kind.has_weights:
        own = kind.own_presets(further_voices(kind, instance)) if kind.has_own_presets else PRESET_NAMES
        return Offer(presets=own or None, languages=languages_of(model))
    directory = ModelNames(instance).directory
    found = resolve_model(model, directory=directory, ability=PRESETS, offline=instance.settings.offline)
    if kind == MLX_AUDIO:
        return _by_mlx_audio(found, directory)
    config = read_config(found.folder) if found.folder is not None else None
    if config is None and found.entry is None:
        return Offer(presets=None)
    if PRESETS not in kind_of(config, found.entry).abilities:
        return Offer(presets=())
    talker = config.get("talker_config") if isinstance(config, dict) else None
    speakers = talker.get("spk_id") if isinstance(talker, dict) else None
    presets = tuple(map(str, speakers)) if isinstance(speakers, dict) else PRESET_NAMES
    return Offer(presets=presets, languages=languages_of(model))


def _by_mlx_audio(found: ResolvedModel, directory: Path) -> Offer:
    family = found.entry.family if found.entry is not None else None
    if found.folder is None or not found.folder.is_dir():
        return Offer(presets=None) if family is None else Offer(presets=family.presets or None)
    family = family or family_in(found.folder, model_id=found.id)
    if family is None:
        return Offer(presets=None)

    def here(repository: str) -> Path | None:
        folder = directory / slug_of(repository)
        return folder if folder.is_dir() else None

    return Offer(presets=presets_in(found.folder, family, found=here), languages=family.languages)


def default_voice(model: str | None, instance: Instance, *, key: str, preferred: str | None = None) -> str:
    """Preset that speaks where no voice is named: one that the model has; `key` is where a person can name another.

    `model` is the one that is asked for; None: the instance's. Raises UnsupportedRequest, or UnknownModel.
    """
    name = ModelNames(instance).for_ability(PRESETS, wanted=model)
    kind, presets = kind_of_model(name), offer_of(name, instance).presets
    usual = preferred or kind.narrator
    if presets is None and kind != MLX_AUDIO:
        return f"{PRESET_PREFIX}{usual}"  # the engine says what it has instead
    if presets:
        chosen = next((one for one in (usual, kind.narrator) if one in presets), presets[0])
        return f"{PRESET_PREFIX}{chosen}"
    what = "has no presets" if presets is not None else "has presets that nobody knows before it is here"
    raise UnsupportedRequest(
        f"No voice is named, and {name} {what}.", hint=f'Set {key}: a locked voice, or "preset:NAME".'
    )
