"""A recording → words with times, by any recogniser of mlx-audio from a folder of weights.

The recognisers give their words in several forms, or a text alone; what has no times is aligned with eSpeak NG's
reading of it.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.metadata
import inspect
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from models.audio.files import resample
from models.checkpoint_format.files import read_json
from models.draft.espeak import find_library
from models.errors import LanguageNotHeard, LanguageNotSpoken, UnknownLanguage, UnsupportedRequest
from models.languages import AUTO, canonical_language, language_code
from models.listen.pieces import pieces
from models.listen.recognisers import RATE_HZ
from models.listen.values import HeardWord, readable
from models.listen.word_times import word_times
from models.mlx_audio.load import PACKAGE, loaded_by, prepare_process, refuse_unsafe
from models.protocol import SAMPLE_RATE_HZ, Waveform

PIECE_S = 30.0
TAKES_NAMES = ("qwen3_asr", "mega_asr")  # families that want `English`, where others want `en`,
TAKES_LISTS = ("voxtral",)  # and those that want a list of sounds
TAKE_ENGLISH = ("canary", "voxtral")  # which take speech for English where no language is named; and the names that
LANGUAGE_NAMES = {"canary": ("source_lang", "target_lang")}  # one of them has for it
WAV2VEC2, WITH_LETTERS, MMS = "wav2vec2", "Wav2Vec2ForCTC", "mms"  # one network, of which mlx-audio knows the last name
MASK = "masked_spec_embed"
ENGLISH_ONLY = "eng"  # the alphabet that mlx-audio takes of a model with many
TOKENS_PER_SECOND, FURTHER_TOKENS = 20, 32  # that speech never takes; without a bound nonsense goes on for minutes
UNSAID = 1.0  # confidence of a word of which the model says nothing
_MARK = re.compile(r"<[^<>\s]*>")  # `<unk>`: a token of the model's own, which nobody said


class MlxAudioRecogniser:
    """One loaded recogniser of mlx-audio."""

    def __init__(self, network: Any, *, family: str, name: str, languages: tuple[str, ...] = ()) -> None:
        self._network, self._family, self.name, self.languages = network, family, name, languages
        self._arguments = inspect.signature(network.generate).parameters
        self.language = AUTO

    def hear(self, waveform: Waveform, language: str) -> list[HeardWord]:
        """Words in `(S,)` at 24 kHz, in order. Raises LanguageNotHeard."""
        import mlx.core as mx

        if self.languages and language not in (AUTO, *self.languages):
            raise LanguageNotHeard(language, recogniser=self.name, known=self.languages)
        words: list[HeardWord] = []
        for start_s, piece in pieces(waveform, PIECE_S):
            sound = mx.array(resample(piece, SAMPLE_RATE_HZ, RATE_HZ))
            told = self._told(language, seconds=piece.size / SAMPLE_RATE_HZ)
            try:
                result = self._network.generate([sound] if self._family in TAKES_LISTS else sound, **told)
            except (KeyError, ValueError) as error:
                if language != AUTO and str(error).find(language_code(language)) >= 0:
                    raise LanguageNotHeard(language, recogniser=self.name, known=()) from error
                raise
            self._notice_language(result)
            found = list(heard_words(result)) or _aligned(result, piece, self.language)
            words += [_later(word, start_s) for word in found]
        mx.clear_cache()
        return words

    def _told(self, language: str, *, seconds: float) -> dict[str, Any]:
        """Arguments of `generate`, those that the model heeds. Raises LanguageNotHeard where it needs a language."""
        told: dict[str, Any] = {"word_timestamps": True, "verbose": False}
        told["max_tokens"] = math.ceil(seconds * TOKENS_PER_SECOND) + FURTHER_TOKENS
        if self._family == "whisper":
            told["condition_on_previous_text"] = False
        names = LANGUAGE_NAMES.get(self._family, ("language",))
        if language != AUTO:
            told |= dict.fromkeys(names, self._name_of(language))
        elif self._family in TAKE_ENGLISH and names != ("language",):
            raise LanguageNotHeard(language, recogniser=self.name, known=())
        elif self._family in TAKE_ENGLISH:
            told["language"] = None  # have it find out
        return {name: value for name, value in told.items() if name in self._arguments}

    def _name_of(self, language: str) -> str:
        return language.title() if self._family in TAKES_NAMES else language_code(language)

    def _notice_language(self, result: Any) -> None:
        told = getattr(result, "language", None)
        if isinstance(told, str):
            with contextlib.suppress(UnknownLanguage):
                self.language = canonical_language(told)


def heard_words(result: Any) -> Iterator[HeardWord]:
    """Words of an answer that has times: segments with words, or sentences of tokens."""
    for segment in getattr(result, "segments", None) or ():
        for word in (segment.get("words") if isinstance(segment, dict) else None) or ():
            if text := readable(str(word["word"])):
                yield _word(text, word["start"], word["end"], word.get("probability", UNSAID))
    for sentence in getattr(result, "sentences", None) or ():
        yield from _joined(sentence.tokens)


def _joined(tokens: Iterable[Any]) -> Iterator[HeardWord]:
    """Words of tokens, each of which begins one where it begins with a space."""
    held: list[Any] = []
    for token in tokens:
        if held and str(token.text)[:1].isspace():
            yield _word_of(held)
            held = []
        held.append(token)
    if held:
        yield _word_of(held)


def _word_of(tokens: list[Any]) -> HeardWord:
    sure = min(float(getattr(token, "confidence", UNSAID)) for token in tokens)
    text = readable("".join(str(token.text) for token in tokens))
    return _word(text, tokens[0].start, tokens[-1].end, sure)


def _aligned(result: Any, piece: Waveform, language: str) -> list[HeardWord]:
    """Words of an answer that is a text alone. Raises UnsupportedRequest where eSpeak NG is missing."""
    text = readable(_MARK.sub("", str(getattr(result, "text", result))))
    if not text:
        return []
    try:
        times = word_times(piece, text=text, language=language, library=find_library())
    except LanguageNotSpoken:
        times = word_times(piece, text=text, language=AUTO, library=find_library())
    return [_word(word.text, word.start_s, word.end_s, UNSAID) for word in times]


def _word(text: str, start_s: float, end_s: float, confidence: float) -> HeardWord:
    return HeardWord(
        text=text,
        start_s=round(float(start_s), 3),
        end_s=round(float(end_s), 3),
        confidence=round(min(1.0, max(0.0, float(confidence))), 3),
    )


def _later(word: HeardWord, by_s: float) -> HeardWord:
    return _word(word.text, word.start_s + by_s, word.end_s + by_s, word.confidence)


def opened_ear(folder: Path, *, name: str) -> tuple[Any, str]:
    """A network of mlx-audio that listens, and its family. Raises as `load_model` does."""
    refuse_unsafe(folder)
    prepare_process(None)
    config = read_json(folder / "config.json")
    is_wav2vec2 = isinstance(config, dict) and config.get("model_type") == WAV2VEC2
    told = {}
    if is_wav2vec2 and WITH_LETTERS in (config.get("architectures") or ()):
        told = {"model_type": MMS}
        with contextlib.suppress(ImportError):  # loading says what is missing
            _leave_out_mask()
    network = loaded_by("stt", folder, name=name, **told)
    family = type(network).__module__.split(".")[3]
    if not hasattr(network, "generate"):
        raise UnsupportedRequest(f"{name} is a network of the family {family}, which writes no words.")
    return network, family


@functools.cache
def _leave_out_mask() -> None:
    """Have mlx-audio drop the tensor that training alone uses: by the name that published checkpoints give it, too."""
    network = importlib.import_module("mlx_audio.stt.models.mms.mms").Model
    sanitize = network.sanitize

    def without_mask(self: Any, weights: dict[str, Any]) -> Any:
        return sanitize(self, {name: value for name, value in weights.items() if not name.endswith(MASK)})

    network.sanitize = without_mask


def _has_alphabets(folder: Path) -> bool:
    """Whether a model has an alphabet for each of many languages, of which mlx-audio takes the English one."""
    path = folder / "vocab.json"
    alphabets = read_json(path) if path.is_file() else None
    return isinstance(alphabets, dict) and isinstance(alphabets.get(ENGLISH_ONLY), dict)


def open_recogniser(model: str) -> MlxAudioRecogniser:
    """The recogniser in a folder. Raises UnsupportedCheckpoint or UnsupportedRequest, naming the cause."""
    folder = Path(model)
    network, family = opened_ear(folder, name=model)
    if "text" in inspect.signature(network.generate).parameters:
        raise UnsupportedRequest(
            f"{model} hears no words: it says when those of a text are spoken.",
            hint="Name it as `aligner` in voicejobs.toml, and another one as `recogniser`.",
        )
    languages = ("english",) if family == MMS and _has_alphabets(folder) else ()
    name = f"{PACKAGE} {importlib.metadata.version(PACKAGE)} {folder.name}"
    return MlxAudioRecogniser(network, family=family, name=name, languages=languages)
