"""The registry, the settings and the instance's model → every voice that can be asked for, with its languages.

Nothing is loaded to find out: an engine's presets and languages are in its package, its files or our own tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from models.errors import UnknownModel
from registry.errors import VoiceJobsError
from registry.storage.session import Session
from registry.voices.lookup import list_voices, resolve
from registry.voices.names import PRESET_PREFIX, name_key
from registry.voices.values import VoiceSummary
from runner.config.instance import Instance
from runner.config.model_names import PRESETS
from runner.names import PRESET_NAMES, may_be_preset, parse_voice_reference
from runner.scheduling.model_presets import offer_of
from runner.scheduling.spoken_languages import languages_of
from runner.scheduling.voice_resolution import SPEAKER_OF_PRESET, ModelNames
from runner.text_format import short
from runner.version import VERSION

PAGE = 500
OTHER_NAMES = {speaker: name for name, speaker in SPEAKER_OF_PRESET.items()}  # each speaker is listed once
LABEL_COLUMNS = 60


@dataclass(frozen=True, kw_only=True)
class ListedVoice:
    """One voice: `id` as a person types it, `languages` by their canonical names, none where any or unknown."""

    id: str
    label: str
    languages: tuple[str, ...]
    version: str


def listed_voices(session: Session, instance: Instance) -> list[ListedVoice]:
    """Other names in `[serve.voices]`, locked voices by name, then the presets of the instance's model."""
    locks = {name_key(voice.id): voice for voice in _locks(session)}
    presets = {name_key(voice.id): voice for voice in _presets(instance)}
    others = (_other(session, name, meant, presets) for name, meant in instance.settings.serve.voices.items())
    known = {name_key(voice.id): voice for voice in others if voice is not None}
    chosen = {**presets, **locks, **known}
    return [chosen[key] for key in {**known, **locks, **presets}]


def _other(session: Session, name: str, meant: str, presets: dict[str, ListedVoice]) -> ListedVoice | None:
    """Another name of a voice; None where that voice is not there."""
    try:
        reference = parse_voice_reference(meant)
        if may_be_preset(reference):
            preset = presets.get(name_key(_typed(reference.name)))
            return preset and replace(preset, id=name, label=name)
        version = resolve(session, reference)
    except (ValueError, VoiceJobsError):
        return None
    languages = _own_first(version.language, languages_of(version.model.model))
    return ListedVoice(id=name, label=name, languages=languages, version=str(version.number))


def _locks(session: Session) -> Iterator[ListedVoice]:
    after = ""
    while page := list_voices(session, after=after, limit=PAGE):
        yield from (_lock(voice) for voice in page if voice.current is not None)
        after = page[-1].name


def _lock(voice: VoiceSummary) -> ListedVoice:
    label = f"{voice.name}: {voice.description}" if voice.description else voice.name
    return ListedVoice(
        id=voice.name,
        label=short(label, LABEL_COLUMNS),
        languages=_own_first(voice.language, languages_of(voice.model or "")),
        version=str(voice.current),
    )


def _own_first(own: str | None, spoken: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(spoken, key=lambda language: language != own))


def _presets(instance: Instance) -> Iterator[ListedVoice]:
    try:
        model = ModelNames(instance).for_ability(PRESETS, wanted=None)
        offer = offer_of(model, instance)
    except UnknownModel:
        return
    for name in offer.presets or ():
        typed = _typed(OTHER_NAMES.get(name_key(name), name))
        try:
            parse_voice_reference(typed)
        except ValueError:
            continue  # nobody could write it in a job
        yield ListedVoice(id=typed, label=name.capitalize(), languages=offer.languages, version=VERSION)


def _typed(name: str) -> str:
    return name_key(name) if name_key(name) in PRESET_NAMES else f"{PRESET_PREFIX}{name}"
