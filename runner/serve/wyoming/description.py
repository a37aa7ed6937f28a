"""The voices of an instance → the answer to `describe`; and a request's voice → the one that is meant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wyoming.info import AsrModel, AsrProgram, Attribution, Info, TtsProgram, TtsVoice
from wyoming.tts import SynthesizeVoice

from models.languages import AUTO, canonical_language, language_code
from registry.errors import InvalidInput
from runner.serve.errors import RequestRefused
from runner.serve.voice_list import ListedVoice
from runner.version import VERSION

NAME = "voicejobs"
ATTRIBUTION = Attribution(name=NAME, url="")
UNKNOWN_LANGUAGES = ("english",)  # Home Assistant offers no voice without a language


def info(voices: Sequence[ListedVoice], *, recogniser: str = "") -> Info:
    """Everything that this server can do."""
    return Info(
        asr=[_listener(recogniser)] if recogniser else [],
        tts=[
            TtsProgram(
                name=NAME,
                description=NAME,
                attribution=ATTRIBUTION,
                installed=True,
                version=VERSION,
                voices=[_voice(voice) for voice in voices],
                supports_synthesize_streaming=True,
            )
        ],
    )


def _listener(recogniser: str) -> AsrProgram:
    from models.listen.recognisers import languages_of  # loads NumPy

    try:
        languages = languages_of(recogniser)
    except InvalidInput:  # jobs say so
        languages = ()
    name = recogniser.partition(":")[0]
    model = AsrModel(
        name=name,
        description=name,
        attribution=ATTRIBUTION,
        installed=True,
        version=VERSION,
        languages=[language_code(language) for language in languages or UNKNOWN_LANGUAGES],
    )
    return AsrProgram(
        name=NAME, description=NAME, attribution=ATTRIBUTION, installed=True, version=VERSION, models=[model]
    )


def _voice(voice: ListedVoice) -> TtsVoice:
    return TtsVoice(
        name=voice.id,
        description=voice.label,
        attribution=ATTRIBUTION,
        installed=True,
        version=voice.version,
        languages=[language_code(language) for language in voice.languages or UNKNOWN_LANGUAGES],
    )


@dataclass(frozen=True)
class ChosenVoice:
    """A voice by its name, and the language to be spoken where one was asked for."""

    name: str
    language: str | None = None


def choose_voice(wanted: SynthesizeVoice | None, voices: Sequence[ListedVoice]) -> ChosenVoice:
    """The voice that was asked for by name or by language, or the first of all. Raises RequestRefused, UnknownLanguage.

    A name need not be listed: `elena@2` is none of the list.
    """
    if wanted is not None and wanted.name:
        return ChosenVoice(str(wanted.name))
    language = canonical_language(str(wanted.language)) if wanted is not None and wanted.language else AUTO
    found = [voice for voice in voices if language in (AUTO, *(voice.languages or UNKNOWN_LANGUAGES))]
    if not found:
        what = "There is no voice yet" if not voices else f"No voice speaks {language}"
        raise RequestRefused(404, f"{what}.", wire_code="voice_not_found")
    return ChosenVoice(found[0].id, None if language == AUTO else language)
