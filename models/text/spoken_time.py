"""A text → how long it lasts when it is read aloud: the quickest, a calm, and the slowest reading. Pure functions.

The one ruler for deadlines, caps and gates. It counts what is spoken: letters by script and language, numbers as they
may be read, letters that are spelled; runs of marks count once. `benchmarks/bench_spoken_time.py` holds it against
voices; `docs/engines.md` has its error. It is an estimate: it may warn, and it bounds; it does not choose.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Mapping
from dataclasses import dataclass

from models.languages import AUTO


@dataclass(frozen=True, slots=True)
class SpokenTime:
    """How long a text lasts."""

    low_s: float
    expected_s: float
    high_s: float
    silent_s: float = 0.0  # of all three: pauses that were asked for

    @property
    def shortest_s(self) -> float:
        """No voice has said all of it in less."""
        return max(0.0, 0.5 * (self.low_s - self.silent_s) - 0.1) + self.silent_s

    @property
    def longest_s(self) -> float:
        """A voice that goes on for longer says something else."""
        return 1.5 * (self.high_s - self.silent_s) + 2.0 + self.silent_s

    def with_silence(self, silent_s: float) -> SpokenTime:
        """The same with pauses in the text, in all."""
        return SpokenTime(
            self.low_s + silent_s, self.expected_s + silent_s, self.high_s + silent_s, self.silent_s + silent_s
        )


# Seconds a letter of calm speech, by language; other languages have their script's.
LETTER_S: Mapping[str, float] = {
    "english": 0.063, "german": 0.061, "dutch": 0.061, "french": 0.053, "spanish": 0.067, "italian": 0.067,
    "portuguese": 0.069, "romanian": 0.067, "polish": 0.076, "czech": 0.069, "russian": 0.063, "ukrainian": 0.078,
    "turkish": 0.075, "finnish": 0.071, "swedish": 0.071, "hungarian": 0.070, "vietnamese": 0.070,
    "indonesian": 0.074, "swahili": 0.080,
}  # fmt: skip
LATIN_S, CYRILLIC_S = 0.066, 0.065
_SCRIPTS = (  # first character, seconds a letter from there on
    (0x0000, LATIN_S), (0x0370, 0.070), (0x0400, CYRILLIC_S), (0x0530, 0.090), (0x0590, 0.090), (0x0600, 0.100),
    (0x0900, 0.145), (0x0980, 0.140), (0x0B80, 0.120), (0x0C00, 0.140), (0x0E00, 0.130), (0x1000, 0.120),
    (0x10A0, 0.080), (0x1100, 0.080), (0x1200, 0.135), (0x13A0, 0.150), (0x1780, 0.130), (0x1E00, LATIN_S),
    (0x2E80, 0.250), (0x3040, 0.125), (0x3100, 0.250), (0xA000, 0.200), (0xA640, LATIN_S), (0xAC00, 0.180),
    (0xD7B0, 0.080), (0xF900, 0.250), (0xFB00, 0.100), (0xFF61, 0.125), (0x10000, 0.100), (0x1D400, LATIN_S),
    (0x20000, 0.250),
)  # fmt: skip
_STARTS = [start for start, _ in _SCRIPTS]

QUICK, SLOW = 0.5, 2.0  # of the calm pace
ONSET_S, SILENCE_AT_ENDS_S = 0.15, 1.0
SHORTEST_EXPECTED_S = 0.3
SENTENCE_S, CLAUSE_S, PARAGRAPH_S = (0.0, 0.30, 0.9), (0.0, 0.15, 0.6), (0.0, 0.50, 2.0)  # low, expected, high
SYMBOL_S = (0.0, 0.35, 0.7)
LETTER_NAME_S, W_NAME_S = 0.20, 0.45
DIGIT_S, SCALE_WORD_S, SEPARATOR_S = (0.18, 0.30, 0.55), 0.25, 0.35
MOST_REPEATED = 3  # of one letter: nobody counts them

_TOKEN = re.compile(
    r"(?P<number>\d+(?:[.,:/'’\-][\d]+)*)|(?P<word>[^\W\d_]+)|(?P<paragraph>\n\s*\n)"
    r"|(?P<sentence>[.!?…。！？।॥؟۔։።]+)|(?P<clause>[,;:、，；：،؛—–]+)|(?P<symbol>[%&@#$€£¥₹₽₩+=°§©®<>√×÷±→]+)|."
    , re.DOTALL
)  # fmt: skip
_PAUSES = {"sentence": SENTENCE_S, "clause": CLAUSE_S, "paragraph": PARAGRAPH_S}
_REPEATS = re.compile(r"(.)\1{3,}")
_VOWELS = re.compile(r"[aeiouyàáâãäåæèéêëìíîïòóôõöøùúûüýÿœăąēęěīįıōőůűū]", re.IGNORECASE)


class _Sum:
    """Low, expected and high, added up."""

    def __init__(self) -> None:
        self.low_s = self.expected_s = self.high_s = 0.0

    def add(self, low_s: float, expected_s: float, high_s: float) -> None:
        self.low_s += low_s
        self.expected_s += expected_s
        self.high_s += high_s


def spoken_time(text: str, language: str = AUTO) -> SpokenTime:
    """How long `text` lasts in a language by its canonical name."""
    total, pauses = _Sum(), _Sum()
    for match in _TOKEN.finditer(text):
        kind, found = match.lastgroup, match[0]
        if kind is None:
            continue
        if kind in _PAUSES:
            if total.high_s:  # a pause at the beginning is none
                pauses.add(*_PAUSES[kind])
            continue
        total.add(pauses.low_s, pauses.expected_s, pauses.high_s)  # nor is one at the end
        pauses = _Sum()
        if kind == "word":
            total.add(*_word_s(found, language))
        elif kind == "number":
            total.add(*_number_s(found))
        else:
            total.add(*(SYMBOL_S if len(set(found)) == len(found) <= MOST_REPEATED else (0.0, 0.0, SYMBOL_S[2])))
    if not total.high_s:
        return SpokenTime(0.0, SHORTEST_EXPECTED_S, SILENCE_AT_ENDS_S)
    expected_s = max(SHORTEST_EXPECTED_S, ONSET_S + total.expected_s)
    return SpokenTime(total.low_s, expected_s, total.high_s + SILENCE_AT_ENDS_S)


def _word_s(word: str, language: str) -> tuple[float, float, float]:
    if not word.isascii() and not word.isalpha():  # ½, Ⅷ and ② are letters to regular expressions
        word, count = "".join(filter(str.isalpha, word)), sum(not character.isalpha() for character in word)
        low_s, expected_s, high_s = _word_s(word, language) if word else (0.0, 0.0, 0.0)
        return low_s, expected_s + count * DIGIT_S[1], high_s + count * 3 * DIGIT_S[2]
    said = _REPEATS.sub(lambda match: match[1] * MOST_REPEATED, word)
    calm_s = _letters_s(said, language)
    held_s = _letters_s(word, language) if len(said) < len(word) else calm_s
    if len(word) > 1 and said < "\u0250" and (word.isupper() or not _VOWELS.search(word)):
        spelled_s = sum(W_NAME_S if letter in "wW" else LETTER_NAME_S for letter in said)
        is_likely = len(word) <= 3 or not _VOWELS.search(word)
        return QUICK * min(calm_s, spelled_s), spelled_s if is_likely else calm_s, SLOW * max(spelled_s, held_s)
    if len(word) == 1 and word < "\u0250":
        return QUICK * calm_s, max(calm_s, LETTER_NAME_S / 2), SLOW * W_NAME_S
    return QUICK * calm_s, calm_s, SLOW * held_s


def _letters_s(word: str, language: str) -> float:
    if word.isascii():
        return len(word) * LETTER_S.get(language, LATIN_S)
    return sum(_letter_s(ord(letter), language) for letter in word)


def _letter_s(point: int, language: str) -> float:
    script_s = _SCRIPTS[bisect.bisect_right(_STARTS, point) - 1][1]
    return LETTER_S.get(language, script_s) if script_s in (LATIN_S, CYRILLIC_S) else script_s


def _number_s(number: str) -> tuple[float, float, float]:
    """Read in one word and its scale at the quickest, digit by digit with every mark at the slowest."""
    groups = re.split(r"\D", number)
    low_s = expected_s = high_s = 0.0
    for digits in groups:
        told = digits.strip("0") or "0"
        is_long = digits[0] == "0" or len(digits) > 12  # a code or a telephone number
        low_s += DIGIT_S[0] * min(len(told), len(digits))
        expected_s += DIGIT_S[1] * (len(digits) if is_long else len(told)) + SCALE_WORD_S * (len(told) < len(digits))
        high_s += DIGIT_S[2] * len(digits) + SCALE_WORD_S
    marks = len(groups) - 1
    if marks and all(len(group) == 3 for group in groups[1:]) and "," in number:  # thousands, as English groups them
        zeros = sum(group == "000" for group in groups[1:])
        low_s = min(low_s, DIGIT_S[0] * max(1, len(groups[0].strip("0")) + 3 * (marks - zeros)))
        expected_s -= zeros * DIGIT_S[1] + (zeros > 0) * SCALE_WORD_S * (zeros - 1)
    return low_s, expected_s, high_s + SEPARATOR_S * marks
