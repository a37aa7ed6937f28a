"""A take and its text → when each word is spoken, without a model: aligned with eSpeak NG's own reading of the text.

eSpeak says exactly when it speaks which word; both readings are compared by what is said in each hundredth of a second.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.audio.files import resample
from models.audio.silences import STEPS_PER_SECOND, heard_steps
from models.draft.engine import speakable
from models.draft.espeak import PLAIN_PITCH, PLAIN_RANGE, PLAIN_RATE_WPM, EspeakLibrary, Utterance, WordStarts
from models.draft.languages import VOICES, spoken_language
from models.listen.alignment import aligned
from models.listen.features import RATE_HZ, Matrix, cepstra, standardised
from models.listen.values import TimedWord
from models.listen.written_words import WrittenWord, places_in, written_words
from models.protocol import SAMPLE_RATE_HZ, Waveform

SLOWEST_WPM, QUICKEST_WPM = 80, 450
KEPT_PAUSE_STEPS = 2  # of a pause in eSpeak's reading: the take's own may be anywhere between two words
LEAST_PAUSE_STEPS = 16  # shorter silences are within words, as before a plosive
NEAR_STEPS = 5  # how far from the boundary of two words the take may wait
SNAP_STEPS = 8  # a boundary so near to a pause is the pause
SHORTEST_WORD_S = 0.03


@dataclass(frozen=True, kw_only=True)
class Reading:
    """eSpeak's reading of a text, without its pauses."""

    features: Matrix  # (U, F)
    may_wait: npt.NDArray[np.bool_]  # (U,)
    places: Sequence[int]  # characters of the text at which its words begin,
    steps: Sequence[float]  # and when; both begin with 0 and end with the whole


def word_times(
    waveform: Waveform, *, text: str, spoken: str = "", language: str, library: EspeakLibrary
) -> list[TimedWord]:
    """The words of `text` in the take `(S,)` at 24 kHz; `spoken` is how the text was read, if otherwise.

    Raises LanguageNotSpoken where eSpeak NG does not know the language.
    """
    words = written_words(text)
    spoken = speakable(spoken or text)
    heard = heard_steps(waveform)
    sounding = np.flatnonzero(heard)
    if not words or not sounding.size:
        return []
    first, last = int(sounding[0]), int(sounding[-1]) + 1
    sound = resample(waveform[first * 240 : last * 240], SAMPLE_RATE_HZ, RATE_HZ)
    take = cepstra(sound)
    sounds = heard[first : first + len(take)]
    spoken_s = float(sounds.sum()) / STEPS_PER_SECOND
    reading = reading_of(spoken, spoken_language(language, spoken), spoken_s, library)
    if len(take) < 3 or len(reading.features) < 3:
        return _in_proportion(words, first, last)
    sounds = with_short_silences(sounds)
    path = aligned(standardised(take, sounds), sounds, reading.features, reading.may_wait)
    places = places_in(spoken, words, text)
    wanted = np.interp(places, reading.places, reading.steps)
    starts = np.searchsorted(path, wanted)
    return _timed(words, starts, sounds, first=first)


def _timed(
    words: Sequence[WrittenWord], starts: npt.NDArray[np.intp], sounds: npt.NDArray[np.bool_], *, first: int
) -> list[TimedWord]:
    """Words from the first sound at or after their start to the last before the next one's."""
    steps = np.flatnonzero(sounds)
    limit = int(steps[-1]) + 1
    starts = _at_pauses(starts, sounds)
    begins = [int(steps[min(bisect.bisect_left(steps, start), len(steps) - 1)]) for start in starts]
    timed: list[TimedWord] = []
    for index, word in enumerate(words):
        begin = begins[index]
        until = begins[index + 1] if index + 1 < len(words) else limit
        before = bisect.bisect_left(steps, until)
        end = int(steps[before - 1]) + 1 if before else until
        start_s = (first + begin) / STEPS_PER_SECOND
        end_s = max(start_s + SHORTEST_WORD_S, (first + max(begin, end)) / STEPS_PER_SECOND)
        timed.append(_word(word, start_s, end_s))
    return timed


def _at_pauses(starts: npt.NDArray[np.intp], sounds: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
    """The starts of words, of which those next to a pause are its end."""
    edges = np.flatnonzero(np.diff(np.concatenate([[True], sounds, [True]]).astype(np.int8)))
    pauses, ends = edges[::2], edges[1::2]
    moved: npt.NDArray[np.intp] = starts.copy()
    for pause, end in zip(pauses, ends, strict=True):
        moved[(starts > pause - SNAP_STEPS) & (starts < end + SNAP_STEPS)] = end
    return moved


def _in_proportion(words: Sequence[WrittenWord], first: int, last: int) -> list[TimedWord]:
    """Words by their letters, where there is too little sound to compare."""
    total = max(1, words[-1].end)
    scale = (last - first) / total / STEPS_PER_SECOND
    first_s = first / STEPS_PER_SECOND
    return [_word(word, first_s + word.start * scale, first_s + word.end * scale) for word in words]


def _word(word: WrittenWord, start_s: float, end_s: float) -> TimedWord:
    return TimedWord(text=word.text, place=word.start, start_s=round(start_s, 3), end_s=round(end_s, 3))


def with_short_silences(sounds: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Where something is said, silences within words included."""
    edges = np.flatnonzero(np.diff(np.concatenate([[True], sounds, [True]]).astype(np.int8)))
    filled: npt.NDArray[np.bool_] = sounds.copy()
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        if end - start < LEAST_PAUSE_STEPS:
            filled[start:end] = True
    return filled


def reading_of(text: str, language: str, spoken_s: float, library: EspeakLibrary) -> Reading:
    """The text as eSpeak reads it, about as fast as the take."""
    sound, words = _read(text, language, PLAIN_RATE_WPM, library)
    pace = float(heard_steps(sound).sum()) / STEPS_PER_SECOND / max(0.1, spoken_s)
    rate_wpm = round(min(QUICKEST_WPM, max(SLOWEST_WPM, PLAIN_RATE_WPM * pace)))
    if abs(rate_wpm - PLAIN_RATE_WPM) > PLAIN_RATE_WPM / 10:
        sound, words = _read(text, language, rate_wpm, library)
    features = cepstra(resample(sound, SAMPLE_RATE_HZ, RATE_HZ))
    heard = np.pad(heard_steps(sound), (0, len(features)))[: len(features)]
    kept = _without_pauses(heard)
    new_steps = np.concatenate([[0], np.cumsum(kept)])  # of each old one
    starts = [min(len(features), round(at_ms / 1000 * STEPS_PER_SECOND)) for _, at_ms in words]
    steps = [float(new_steps[start]) for start in starts]
    may_wait = np.zeros(int(new_steps[-1]), bool)
    for step in (*steps, 0.0, float(len(may_wait))):
        may_wait[max(0, int(step) - NEAR_STEPS) : int(step) + NEAR_STEPS] = True
    may_wait |= ~heard[kept]
    places = [place for place, _ in words]
    return Reading(
        features=standardised(features, heard)[kept],
        may_wait=may_wait,
        places=[0, *places, len(text)],
        steps=[0.0, *steps, float(new_steps[-1])],
    )


def _read(text: str, language: str, rate_wpm: int, library: EspeakLibrary) -> tuple[Waveform, WordStarts]:
    """The sound at 24 kHz, and the words in the order of the text, each once."""
    utterance = Utterance(text=text, voice=VOICES[language], pitch=PLAIN_PITCH, range=PLAIN_RANGE, rate_wpm=rate_wpm)
    words: WordStarts = []
    samples, rate_hz = library.speak(utterance, on_samples=lambda _: True, words=words)
    waveform = resample(samples.astype(np.float32) / np.float32(32768), rate_hz, SAMPLE_RATE_HZ)
    kept: WordStarts = []
    for place, at_ms in words:
        if not kept or place > kept[-1][0]:
            kept.append((place, at_ms))
    return waveform, kept


def _without_pauses(heard: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The steps that stay: of each silence only the first few."""
    silent = np.where(heard, 0, 1)
    since = np.cumsum(silent)
    since -= np.maximum.accumulate(np.where(heard, since, 0))
    kept: npt.NDArray[np.bool_] = since <= KEPT_PAUSE_STEPS + LEAST_PAUSE_STEPS
    return kept
