"""A recogniser's words and the text that should be spoken → how far they are apart, and whether it is that text."""

from __future__ import annotations

import re
from collections.abc import Sequence

from models.draft.engine import speakable
from models.draft.espeak import EspeakLibrary
from models.draft.languages import VOICES, spoken_language
from models.listen.comparison import FEWEST_WORDS, Comparison, compared
from models.listen.recognisers import is_coarse
from models.listen.values import HeardWord
from models.listen.written_words import written_words

_NO_PHONEMES = re.compile(r"\([^)]*\)|[\sˈˌːˑ.|‖_\-\u0300-\u036f'͜͡]")  # (en): another language's; stress and length


def judged(
    heard: Sequence[HeardWord],
    *,
    expected: str,
    language: str,
    recogniser: str,
    duration_s: float,
    library: EspeakLibrary,
) -> tuple[Comparison, bool]:
    """The comparison, and whether the take passes; a line of one or two words always does."""
    text = speakable(expected)
    words = [word.text for word in written_words(text)]
    voice = VOICES[spoken_language(language, text)]
    said = library.phonemes([*words, *(word.text for word in heard)], voice=voice)
    symbols = [_NO_PHONEMES.sub("", phonemes) for phonemes in said]
    found = compared(
        list(zip(words, symbols, strict=False)),
        list(zip(heard, symbols[len(words) :], strict=True)),
        duration_s=duration_s,
    )
    return found, len(words) < FEWEST_WORDS or found.passes(coarse=is_coarse(recogniser))
