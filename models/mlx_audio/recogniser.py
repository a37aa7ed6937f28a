"""A recording → words with times, by any recogniser of mlx-audio from a folder of weights.

The recognisers give their words in several forms, or a text alone; what has no times is aligned with eSpeak NG's
reading of it.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import inspect
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from models.audio.files import resample
from models.draft.espeak import find_library
from models.errors import LanguageNotHeard, LanguageNotSpoken, UnknownLanguage
from models.languages import AUTO, canonical_language, language_code
from models.listen.pieces import pieces
from models.listen.recognisers import RATE_HZ
from models.listen.values import HeardWord
from models.listen.word_times import word_times
from models.mlx_audio.load import PACKAGE, loaded_by, prepare_process, refuse_unsafe
from models.protocol import SAMPLE_RATE_HZ, Waveform

PIECE_S = 30.0
TAKES_NAMES = ("qwen3_asr", "mega_asr")  # families that want `English`, where others want `en`
UNSAID = 1.0  # confidence of a word of which the model says nothing


class MlxAudioRecogniser:
    """One loaded recogniser of mlx-audio."""

    languages: tuple[str, ...] = ()  # nobody says which it knows

    def __init__(self, model: str) -> None:
        folder = Path(model)
        refuse_unsafe(folder)
        prepare_process(None)
        self._network = loaded_by("stt", folder, name=model)
        self._family = type(self._network).__module__.split(".")[3]
        self._arguments = inspect.signature(self._network.generate).parameters
        self.language = AUTO
        self.name = f"{PACKAGE} {importlib.metadata.version(PACKAGE)} {folder.name}"

    def hear(self, waveform: Waveform, language: str) -> list[HeardWord]:
        """Words in `(S,)` at 24 kHz, in order. Raises LanguageNotHeard."""
        import mlx.core as mx

        words: list[HeardWord] = []
        for start_s, piece in pieces(waveform, PIECE_S):
            sound = mx.array(resample(piece, SAMPLE_RATE_HZ, RATE_HZ))
            try:
                result = self._network.generate(sound, **self._told(language))
            except (KeyError, ValueError) as error:
                if language != AUTO and str(error).find(language_code(language)) >= 0:
                    raise LanguageNotHeard(language, recogniser=self.name, known=()) from error
                raise
            self._notice_language(result)
            found = list(heard_words(result)) or _aligned(result, piece, self.language)
            words += [_later(word, start_s) for word in found]
        mx.clear_cache()
        return words

    def _told(self, language: str) -> dict[str, Any]:
        """Arguments of `generate`, those that the model heeds."""
        told: dict[str, Any] = {"word_timestamps": True, "verbose": False}
        if self._family == "whisper":
            told["condition_on_previous_text"] = False
        if language != AUTO:
            told["language"] = language.title() if self._family in TAKES_NAMES else language_code(language)
        return {name: value for name, value in told.items() if name in self._arguments}

    def _notice_language(self, result: Any) -> None:
        told = getattr(result, "language", None)
        if isinstance(told, str):
            with contextlib.suppress(UnknownLanguage):
                self.language = canonical_language(told)


def heard_words(result: Any) -> Iterator[HeardWord]:
    """Words of an answer that has times: segments with words, or sentences of tokens."""
    for segment in getattr(result, "segments", None) or ():
        for word in (segment.get("words") if isinstance(segment, dict) else None) or ():
            if text := str(word["word"]).strip():
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
    text = "".join(str(token.text) for token in tokens).strip()
    return _word(text, tokens[0].start, tokens[-1].end, sure)


def _aligned(result: Any, piece: Waveform, language: str) -> list[HeardWord]:
    """Words of an answer that is a text alone. Raises UnsupportedRequest where eSpeak NG is missing."""
    text = str(getattr(result, "text", result)).strip()
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


def open_recogniser(model: str) -> MlxAudioRecogniser:
    """The recogniser in a folder. Raises UnsupportedCheckpoint or UnsupportedRequest, naming the cause."""
    return MlxAudioRecogniser(model)
