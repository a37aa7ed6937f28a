"""A take and its text → when each word is spoken, by the Qwen3 forced aligner of mlx-audio from a folder of weights.

The model times the letters of a text, in parts of its own; here each word, as it is written, gets the time of its
letters.
"""

from __future__ import annotations

import inspect
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.audio.files import resample
from models.errors import EngineFailure, LanguageNotHeard, UnsupportedRequest
from models.extras import command_for
from models.languages import AUTO
from models.listen.recognisers import RATE_HZ
from models.listen.values import TimedWord
from models.listen.written_words import WrittenWord, written_words
from models.mlx_audio.recogniser import opened_ear
from models.protocol import SAMPLE_RATE_HZ, Waveform

LONGEST_S = 300.0  # of a take: its authors promise five minutes
ASSUMED = "english"  # where no language is named: it only chooses how a text is cut into parts


@dataclass(frozen=True)
class TimedPart:
    """A part of a text as the aligner cuts it: letters and digits alone."""

    text: str
    start_s: float
    end_s: float


class MlxAudioAligner:
    """One loaded forced aligner."""

    def __init__(self, model: str) -> None:
        self.name = Path(model).name
        self._network, _ = opened_ear(Path(model), name=model)
        if "text" not in inspect.signature(self._network.generate).parameters:
            raise UnsupportedRequest(
                f"{model} hears words, and times none of a given text.",
                hint="Name it as `recogniser`, and a Qwen3-ForcedAligner as `aligner`.",
            )

    def word_times(self, waveform: Waveform, *, text: str, language: str) -> list[TimedWord]:
        """The words of a text in the take `(S,)` at 24 kHz. Raises LanguageNotHeard, UnsupportedRequest."""
        import mlx.core as mx

        if not (words := written_words(text)):
            return []
        if waveform.size > LONGEST_S * SAMPLE_RATE_HZ:
            raise UnsupportedRequest(f"{self.name} times the words of takes of up to {LONGEST_S:.0f} s.")
        spoken = ASSUMED if language == AUTO else language
        known = [str(name).casefold() for name in self._network.get_supported_languages() or ()]
        if known and spoken not in known:
            raise LanguageNotHeard(language, recogniser=self.name, known=known)
        try:
            result = self._network.generate(
                mx.array(resample(waveform, SAMPLE_RATE_HZ, RATE_HZ)), text, language=spoken.title()
            )
        except ImportError as error:
            raise UnsupportedRequest(
                f"{self.name} needs the package {error.name} for {spoken}, which is not installed.",
                hint=f"Install it: `{command_for([str(error.name)])}`.",
            ) from error
        longest_s = waveform.size / SAMPLE_RATE_HZ
        parts = [
            TimedPart(str(item.text), min(item.start_time, longest_s), min(item.end_time, longest_s)) for item in result
        ]
        return list(timed(words, parts))


def timed(words: Sequence[WrittenWord], parts: Sequence[TimedPart]) -> Iterator[TimedWord]:
    """Words with the times of their letters. Raises EngineFailure where the parts are of another text."""
    letters = [(letter, *_times_of(part, index)) for part in parts for index, letter in enumerate(part.text)]
    at = 0
    for word in words:
        size = sum(map(is_timed, word.text))
        own = letters[at : at + size]
        if "".join(letter for letter, _, _ in own) != "".join(filter(is_timed, word.text)):
            raise EngineFailure(f"The aligner timed another text than it was given, from {word.text!r} on.")
        at += size
        if own:
            yield TimedWord(text=word.text, place=word.start, start_s=round(own[0][1], 3), end_s=round(own[-1][2], 3))


def _times_of(part: TimedPart, index: int) -> tuple[float, float]:
    """Begin and end of a letter: its share of its part."""
    step_s = (part.end_s - part.start_s) / len(part.text)
    return part.start_s + index * step_s, part.start_s + (index + 1) * step_s


def is_timed(character: str) -> bool:
    """Whether the aligner keeps a character of a text, as its authors have it."""
    return character == "'" or unicodedata.category(character)[0] in "LN"


def open_aligner(model: str) -> MlxAudioAligner:
    """The aligner in a folder. Raises UnsupportedCheckpoint or UnsupportedRequest, naming the cause."""
    return MlxAudioAligner(model)
