"""A take and its text → whether more is said after the text, without a model: by eSpeak NG's own reading of the text.

A text that is spoken in the whole take fits the whole take best. Where more was said after it, it fits the part before
some pause better. `benchmarks/bench_gates.py` counts what that tells.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from models.audio.files import resample
from models.audio.silences import STEP_SAMPLES, STEPS_PER_SECOND, heard_steps
from models.draft.engine import speakable
from models.draft.espeak import EspeakLibrary
from models.draft.languages import spoken_language
from models.listen.alignment import distance
from models.listen.features import RATE_HZ, cepstra, standardised
from models.listen.word_times import reading_of, with_short_silences
from models.protocol import SAMPLE_RATE_HZ, Waveform
from models.text.spoken_time import spoken_time

BETTER, BETTER_IF_LONG = 0.95, 0.97  # of the distance of the whole take, if the text ends at a pause
LONG = 1.4  # times the expected time
LEAST_PAUSE_S, LEAST_EXTRA_S = 0.2, 0.3
MOST_PAUSES = 3


def text_end_s(waveform: Waveform, *, text: str, language: str, library: EspeakLibrary) -> float | None:
    """Second of a take `(S,)` at 24 kHz at which its text has ended and more is said; None where nothing is.

    Raises LanguageNotSpoken where eSpeak NG does not know the language.
    """
    text = speakable(text)
    heard = heard_steps(waveform)
    sounding = np.flatnonzero(heard)
    if not text or not sounding.size:
        return None
    first, last = int(sounding[0]), int(sounding[-1]) + 1
    sounds = with_short_silences(heard[first:last])
    expected = spoken_time(text, language)
    ends = _possible_ends(sounds, least_s=expected.low_s)
    if not ends:
        return None
    sound = waveform[first * STEP_SAMPLES : last * STEP_SAMPLES]
    spoken = spoken_language(language, text)
    whole = _distance(sound, sounds, text, spoken, library)
    distances = {end: _distance(sound[: end * STEP_SAMPLES], sounds[:end], text, spoken, library) for end in ends}
    best = min(ends, key=distances.__getitem__)
    is_long = last - first > LONG * expected.expected_s * STEPS_PER_SECOND
    is_over = distances[best] < (BETTER_IF_LONG if is_long else BETTER) * whole
    return (first + best) / STEPS_PER_SECOND if is_over else None


def _possible_ends(sounds: npt.NDArray[np.bool_], *, least_s: float) -> Sequence[int]:
    """Steps at which the longest pauses begin by which a text may have been read, and after which more is said."""
    edges = np.flatnonzero(np.diff(np.concatenate([[True], sounds, [True]]).astype(np.int8)))
    pauses = [
        (int(end - begin), int(begin))
        for begin, end in zip(edges[::2], edges[1::2], strict=True)
        if end - begin >= LEAST_PAUSE_S * STEPS_PER_SECOND
        and begin >= least_s * STEPS_PER_SECOND
        and sounds[end:].sum() >= LEAST_EXTRA_S * STEPS_PER_SECOND
    ]
    return [begin for _, begin in sorted(pauses, reverse=True)[:MOST_PAUSES]]


def _distance(
    sound: Waveform, sounds: npt.NDArray[np.bool_], text: str, language: str, library: EspeakLibrary
) -> float:
    """Distance of a sound from eSpeak's reading of a text, a sounding step."""
    take = cepstra(resample(sound, SAMPLE_RATE_HZ, RATE_HZ))
    sounds = sounds[: len(take)]
    reading = reading_of(text, language, float(sounds.sum()) / STEPS_PER_SECOND, library)
    if len(take) < 3 or len(reading.features) < 3:
        return float("inf")
    take = standardised(take[: len(sounds)], sounds)
    return distance(take, sounds, reading.features, reading.may_wait) / max(1, int(sounds.sum()))
