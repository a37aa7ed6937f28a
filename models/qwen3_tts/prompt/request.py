"""A request → its prompt, sampling, seed and limits for this checkpoint, or an error that says why not."""

from __future__ import annotations

import math
import numbers
import secrets
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.checkpoint_format.config import ModelConfig, TalkerConfig
from models.errors import LanguageNotSpoken, UnknownLanguage, UnknownSpeaker, UnsupportedRequest
from models.languages import AUTO, resolve_language
from models.protocol import Waveform
from models.qwen3_tts.prompt.prompt import PromptPlan, Reference, Tokenize, plan_prompt, tokenize_prompt
from models.qwen3_tts.prompt.sampling import Sampling
from models.text.spoken_time import spoken_time
from models.voices.clone_prompt import ClonePrompt
from registry.errors import InvalidInput

DIALECT = "dialect"  # the official test for names that are not languages
SPEAKER_ALIASES = {"anna": "ono_anna"}
SEED_BITS = 63


@dataclass(frozen=True)
class SpeechRequest:
    """One text and the voice that speaks it. None is the model's own default.

    `interleave_text` None is the official default: text and speech side by side for clones, all text first otherwise.
    `max_frames` stops without drawing again, so an end of speech on the next draw is reported as "length".
    """

    text: str
    language: str | None = AUTO
    speaker: str | None = None
    instruct: str | None = None
    clone_prompt: ClonePrompt | None = None
    interleave_text: bool | None = None
    sampling: Sampling | None = None
    seed: int | None = None
    max_frames: int | None = None

    def __post_init__(self) -> None:
        for name, kind in _KINDS.items():
            value = getattr(self, name)
            if not isinstance(value, kind) and (value is not None or name == "text"):
                what = f"The {name} of a request must be of type {kind.__name__}, not {type(value).__name__}"
                raise InvalidInput(f"{what}: {str(value)[:80]!r}.")
        if self.max_frames is not None and self.max_frames < 1:
            raise InvalidInput(f"max_frames is {self.max_frames}; at least one frame is made.")


_KINDS: dict[str, type] = {
    "text": str, "language": str, "speaker": str, "instruct": str, "clone_prompt": ClonePrompt, "sampling": Sampling,
    "seed": numbers.Integral, "max_frames": numbers.Integral,
}  # fmt: skip


@dataclass(frozen=True)
class Speech:
    """Codes `(T, Q)` int32 of one request, and their sound `(S,)` float32 at 24 kHz, S = T * 1920."""

    codes: npt.NDArray[np.int32]
    waveform: Waveform
    finish_reason: str  # "eos" | "length" | "cancelled"
    seed: int
    batch: int = 1  # most rows it was rendered with: bit-identical only for the same
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A request that this checkpoint can speak."""

    plan: PromptPlan
    sampling: Sampling
    seed: int
    max_frames: int
    reference_codes: npt.NDArray[np.int32] | None = None  # (T, Q) that the decoder starts after
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Preparer:
    """Requests → prepared ones, for one checkpoint."""

    config: ModelConfig
    tokenize: Tokenize
    codebook_size: int
    frames_per_second: float
    max_frames: int

    def __call__(self, request: SpeechRequest, *, sampling: Sampling) -> Prepared:
        """The prepared request. Raises UnknownSpeaker, LanguageNotSpoken, UnsupportedRequest or PromptModelMismatch."""
        config = self.config
        refuse_other_variant(request, config.tts_model_type)
        language = language_of(request.language, languages_of(config.talker_config))
        speaker = None if request.speaker is None else speaker_of(request.speaker, config.talker_config)
        instruct, warnings = self._instruct(request)
        reference = None if request.clone_prompt is None else self._reference(request.clone_prompt)
        transcript = None if reference is None or reference.codes is None else reference.transcript
        interleave = request.interleave_text
        plan = plan_prompt(
            config,
            tokenize_prompt(self.tokenize, text=request.text, instruct=instruct, transcript=transcript),
            language_id=language_id_of(language, speaker, config.talker_config),
            speaker_id=None if speaker is None else config.talker_config.spk_id[speaker],
            reference=reference,
            interleave_text=reference is not None if interleave is None else interleave,
        )
        return Prepared(
            plan=plan,
            sampling=request.sampling or sampling,
            seed=secrets.randbits(SEED_BITS) if request.seed is None else int(request.seed),
            max_frames=self._cap(request, language),
            reference_codes=None if reference is None else reference.codes,
            warnings=warnings,
        )

    def _instruct(self, request: SpeechRequest) -> tuple[str | None, tuple[str, ...]]:
        if not request.instruct or not self.config.ignores_instruct:
            return request.instruct, ()
        size = self.config.tts_model_size
        return None, (f"The instruct was dropped: preset voices of size {size} take none, as in the official package.",)

    def _reference(self, prompt: ClonePrompt) -> Reference:
        config = self.config
        prompt.refuse_other_model(
            embedding_size=config.talker_config.hidden_size,
            codebooks=config.talker_config.num_code_groups,
            codebook_size=self.codebook_size,
            model=f"this {config.tts_model_size} model",
        )
        return Reference(
            speaker_embedding=prompt.speaker_embedding,
            codes=prompt.reference_codes,
            transcript=prompt.transcript or "",
        )

    def _cap(self, request: SpeechRequest, language: str) -> int:
        if request.max_frames is not None:
            return min(request.max_frames, self.max_frames)
        longest_s = spoken_time(request.text, language.lower()).longest_s
        return min(math.ceil(longest_s * self.frames_per_second), self.max_frames)


def refuse_other_variant(request: SpeechRequest, variant: str) -> None:
    """Raise UnsupportedRequest when the request asks for a kind of voice that this model does not have."""
    if request.clone_prompt is not None and variant != "base":
        hint = "Use a base model for cloned voices."
        raise UnsupportedRequest(f"A {variant} model cannot speak with a clone prompt.", hint=hint)
    if request.speaker is not None and variant != "custom_voice":
        hint = "Use a custom_voice model for preset voices."
        raise UnsupportedRequest(f"A {variant} model has no preset voices such as {request.speaker!r}.", hint=hint)
    if request.speaker is None and variant == "custom_voice":
        raise UnsupportedRequest("A custom_voice model needs the name of a speaker.", hint="`speakers` lists them.")


def languages_of(talker: TalkerConfig) -> tuple[str, ...]:
    """The model's own language names, without dialects."""
    return tuple(name for name in talker.codec_language_id if DIALECT not in name.lower())


def language_of(wanted: str | None, spoken: Sequence[str]) -> str:
    """The model's own name of a language, or `auto`. Raises LanguageNotSpoken, which lists what it speaks."""
    folded = (AUTO if wanted is None else wanted).strip().lower()
    own = {name.lower(): name for name in spoken}
    if folded == AUTO or folded in own:
        return own.get(folded, AUTO)
    try:
        return own[resolve_language(folded, list(own))]
    except (UnknownLanguage, LanguageNotSpoken):
        raise LanguageNotSpoken(str(wanted), spoken=spoken) from None


def speaker_of(wanted: str, talker: TalkerConfig) -> str:
    """The key of a preset voice in the config. Raises UnknownSpeaker."""
    own = {_folded(name): name for name in talker.spk_id}
    folded = _folded(wanted)
    name = own.get(folded) or own.get(SPEAKER_ALIASES.get(folded, ""))
    if name is None:
        raise UnknownSpeaker(wanted, known=talker.spk_id)
    return name


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).strip().casefold())


def language_id_of(language: str, speaker: str | None, talker: TalkerConfig) -> int | None:
    """The codec id of a language; a preset voice with a dialect speaks it instead of Chinese."""
    dialects: Mapping[str, str | bool] = talker.spk_is_dialect
    dialect = dialects.get(speaker, False) if speaker is not None else False
    if isinstance(dialect, str) and dialect and language.lower() in (AUTO, "chinese"):
        return talker.codec_language_id[dialect]
    return None if language == AUTO else talker.codec_language_id[language]
