"""A line and the model that speaks it → the arguments of mlx-audio's `generate`, and what the model would not heed.

Many models swallow arguments that they do not know; nothing is passed to one that does not use it.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from models.errors import LanguageNotSpoken, PromptModelMismatch, UnknownSpeaker, UnsupportedRequest
from models.languages import AUTO, language_code
from models.mlx_audio.load import LoadedModel
from models.protocol import LockedVoice, PresetVoice, SpeechWork
from models.store.families import ONLY_VOICE
from models.text.spoken_time import spoken_time
from models.voices.recorded_prompt import RecordedPrompt, recorded_prompt

TAKES_NO_INSTRUCTIONS = "{name} takes no instructions; instruct was ignored."
OUTETTS = "outetts"


def streams(model: LoadedModel) -> bool:
    """Whether it gives its sound out while it makes it, which may then be another one than of the whole."""
    return "stream" in model.arguments - set(model.family.ignored)


def clones(model: LoadedModel) -> bool:
    """Whether it speaks with the voice of a recording."""
    return "ref_audio" in model.arguments


def voice_arguments(model: LoadedModel, work: SpeechWork, *, scratch: Path) -> dict[str, Any]:
    """Arguments that choose the voice. Raises UnknownSpeaker, UnsupportedRequest or PromptModelMismatch."""
    if isinstance(work.voice, PresetVoice):
        wanted = work.voice.name.casefold()
        named = {name.casefold(): name for name in model.presets}
        if wanted not in named:
            raise UnknownSpeaker(work.voice.name, known=model.presets)
        if wanted == ONLY_VOICE or model.family.voice_argument in model.family.ignored:
            return {}
        name = named[wanted]
        if pattern := model.family.voice_file:
            return {model.family.voice_argument: str(model.folder / pattern.replace("*", name))}
        return {model.family.voice_argument: name}
    if not isinstance(work.voice, LockedVoice):
        raise UnsupportedRequest(
            f"{model.family.name} cannot design voices.",
            hint="Use a Qwen3-TTS voice design model, or the engine draft.",
        )
    if not clones(model):
        raise UnsupportedRequest(f"{model.family.name} cannot speak with a locked voice; it has only its presets.")
    return _recording_arguments(model, recorded_prompt(work.voice.prompt), scratch=scratch)


def _recording_arguments(model: LoadedModel, prompt: RecordedPrompt, *, scratch: Path) -> dict[str, Any]:
    if model.family.name == OUTETTS:
        if prompt.profile is None:
            raise PromptModelMismatch(
                "The voice has no speaker profile, which OuteTTS speaks with.",
                hint="`voicejobs voices relock NAME --model outetts` makes a version with one.",
            )
        path = scratch / "speaker.json"
        path.write_text(json.dumps(prompt.profile), encoding="utf-8")
        return {"voice": str(path)}
    if not prompt.waveform.size:
        raise PromptModelMismatch(
            f"The voice came as a speaker profile of OuteTTS, which {model.family.name} cannot speak with.",
            hint="Lock it again from a recording.",
        )
    import mlx.core as mx
    import soxr

    samples = soxr.resample(prompt.waveform, 24_000, model.native_hz) if model.native_hz != 24_000 else prompt.waveform
    arguments: dict[str, Any] = {"ref_audio": mx.array(np.asarray(samples, np.float32))}
    if prompt.transcript and "ref_text" in model.arguments:
        arguments["ref_text"] = prompt.transcript
    return arguments


def language_arguments(model: LoadedModel, work: SpeechWork) -> dict[str, Any]:
    """The language as the model names it. Raises LanguageNotSpoken."""
    spoken = model.family.languages
    if work.language == AUTO:
        if model.family.name == "kokoro" and isinstance(work.voice, PresetVoice):
            return {"lang_code": work.voice.name[:1].casefold()}  # its voices' names begin with their language
        return {}
    if spoken and work.language not in spoken:
        raise LanguageNotSpoken(work.language, spoken=spoken)
    if "lang_code" not in model.arguments:
        return {}
    codes = model.family.language_codes
    code = codes[work.language] if codes else language_code(work.language)
    if code == "a" and isinstance(work.voice, PresetVoice) and work.voice.name.casefold().startswith("b"):
        code = "b"  # Kokoro's British voices
    return {"lang_code": code}


def sampling_arguments(model: LoadedModel, work: SpeechWork) -> tuple[dict[str, Any], list[str]]:
    """Arguments of the sampling, the seed and the instruction; and sentences on those that the model would swallow."""
    usable = model.arguments - set(model.family.ignored)
    arguments: dict[str, Any] = {name: value for name, value in work.sampling.items() if name in usable}
    if "top_k" in arguments:
        arguments["top_k"] = int(arguments["top_k"])
    warnings = []
    if ignored := sorted(work.sampling.keys() - arguments.keys()):
        warnings.append(f"{model.family.name} does not use {', '.join(ignored)}: left out.")
    if work.instruct:
        if "instruct" in usable:
            arguments["instruct"] = work.instruct
        else:
            warnings.append(TAKES_NO_INSTRUCTIONS.format(name=model.family.name))
    if "seed" in usable:
        arguments["seed"] = work.seed
    if "verbose" in usable:
        arguments["verbose"] = False
    return arguments, warnings


def longest_s(text: str, work: SpeechWork, *, share: float) -> float:
    """Seconds that a piece of a line may take: its share of `max_seconds`, else twice the slowest reading."""
    if work.max_seconds is not None:
        return work.max_seconds * share
    return 2 * spoken_time(text, work.language).high_s + 2


def cap_arguments(model: LoadedModel, seconds: float) -> dict[str, Any]:
    """Arguments that end a reading which never ends by itself, where tokens are seconds."""
    if "max_audio_length_ms" in model.arguments:
        return {"max_audio_length_ms": seconds * 1_000}
    rate = model.family.tokens_per_second
    if rate is None or "max_tokens" not in model.arguments:
        return {}
    return {"max_tokens": max(1, math.ceil(seconds * rate) + model.family.further_tokens)}
