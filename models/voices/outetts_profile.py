"""A recording, its words' times and its codes → the speaker profile of OuteTTS; profiles from elsewhere, checked.

A profile is JSON: `text`, `words` with their codes and features, and `global_features`. Features are whole numbers from
0 to 100 of the recording as it is: energy, spectral centroid and pitch.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from models.errors import InvalidClonePrompt
from models.protocol import SAMPLE_RATE_HZ, Waveform

CODES_PER_SECOND = 75
EXTENSION_CODES = 20  # that the first word may begin early, and the last end late
FEATURES = ("energy", "spectral_centroid", "pitch")
LOWEST_HZ, HIGHEST_HZ = 75.0, 600.0
FRAME_SAMPLES, HOP_SAMPLES = 400, 160
LEAST_VOICED = 0.3  # of the energy of a frame, at its period
MOST_WORDS = 2_000
MOST_CODE = 1_024

WordSpan = tuple[str, float, float]  # its text, and when it begins and ends, in seconds


def make_profile(
    waveform: Waveform, words: Sequence[WordSpan], codes: npt.NDArray[np.integer[Any]], *, transcript: str
) -> dict[str, Any]:
    """The profile of a recording `(S,)` at 24 kHz with codes `(2, T)`: each word takes on where the one before ends."""
    length = codes.shape[1]
    found = []
    start = 0
    for index, (text, start_s, end_s) in enumerate(words):
        if index == 0:
            start = max(0, int(start_s * CODES_PER_SECOND) - EXTENSION_CODES)
        end = int(end_s * CODES_PER_SECOND)
        if index == len(words) - 1:
            end = min(length, end + EXTENSION_CODES)
        part = codes[:, start:end]
        found.append(
            {
                "word": text.strip(),
                "duration": round(part.shape[1] / CODES_PER_SECOND, 2),
                "c1": part[0].tolist(),
                "c2": part[1].tolist(),
                "features": features_of(waveform[int(start_s * SAMPLE_RATE_HZ) : int(end_s * SAMPLE_RATE_HZ)]),
            }
        )
        start = end
    return {"text": plain_text(transcript), "words": found, "global_features": features_of(waveform)}


def features_of(waveform: Waveform) -> dict[str, int]:
    """Features of a sound, all 0 for one without samples or with numbers that are none."""
    if not waveform.size or not np.isfinite(waveform).all():
        return dict.fromkeys(FEATURES, 0)
    spectrum = np.abs(np.fft.rfft(waveform))
    places = np.linspace(0, 1, spectrum.size)  # of Nyquist's frequency
    shares = {
        "energy": float(np.sqrt(np.mean(waveform**2))),
        "spectral_centroid": float(np.sum(places * spectrum) / (np.sum(spectrum) + 1e-10)),
        "pitch": _mean_pitch(waveform),
    }
    return {name: round(100 * share) for name, share in shares.items()}


def _mean_pitch(waveform: Waveform) -> float:
    """Mean pitch of the frames from the lowest, 0, to the highest, 1; a frame without a voice counts as the lowest."""
    missing = (FRAME_SAMPLES - waveform.size % HOP_SAMPLES) % HOP_SAMPLES
    padded = np.pad(waveform.astype(np.float64), (0, missing))
    if padded.size < FRAME_SAMPLES:
        return 0.0
    frames = np.lib.stride_tricks.sliding_window_view(padded, FRAME_SAMPLES)[::HOP_SAMPLES]
    transformed = np.fft.rfft(frames * np.hanning(FRAME_SAMPLES), n=2 * FRAME_SAMPLES)
    likeness = np.fft.irfft(transformed.real**2 + transformed.imag**2)[:, :FRAME_SAMPLES]
    shortest, longest = int(SAMPLE_RATE_HZ / HIGHEST_HZ), int(SAMPLE_RATE_HZ / LOWEST_HZ)
    lags = np.argmax(likeness[:, shortest:longest], axis=1) + shortest
    rows = np.arange(len(frames))
    before, at, after = (likeness[rows, lags + step] for step in (-1, 0, 1))
    periods_s = (lags + 0.5 * (before - after) / (before - 2 * at + after + 1e-8)) / SAMPLE_RATE_HZ
    is_voiced = at / (likeness[:, 0] + 1e-8) > LEAST_VOICED
    pitches = np.clip(np.where(is_voiced, 1 / periods_s, 0.0), LOWEST_HZ, HIGHEST_HZ).astype(np.float32)
    return min(1.0, max(0.0, (float(np.mean(pitches)) - LOWEST_HZ) / (HIGHEST_HZ - LOWEST_HZ)))


def plain_text(text: str) -> str:
    """A transcript with single spaces and the marks of ASCII, as OuteTTS was trained on."""
    text = re.sub(r"\s+", " ", text).replace("…", "...").strip()
    text = re.sub("[“”]", '"', text)
    text = re.sub("[‘’]", "'", text)
    text = re.sub("[–—]", "-", text)
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", "", text)


def profile_in(content: bytes) -> dict[str, Any]:
    """The profile in the bytes of a file. Raises InvalidClonePrompt."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _broken(f"it is no JSON ({type(error).__name__})") from None
    return checked_profile(value)


def checked_profile(value: object) -> dict[str, Any]:
    """A profile from elsewhere, with nothing but what belongs in it. Raises InvalidClonePrompt, naming the part."""
    if not isinstance(value, dict) or not isinstance(value.get("text"), str):
        raise _broken("it has no `text`")
    words = value.get("words")
    if not isinstance(words, list) or not 0 < len(words) <= MOST_WORDS:
        raise _broken(f"`words` is no list of 1 to {MOST_WORDS} words")
    return {
        "text": value["text"],
        "words": [_checked_word(word, number) for number, word in enumerate(words, start=1)],
        "global_features": _checked_features(value.get("global_features"), "global_features"),
    }


def _checked_word(word: object, number: int) -> dict[str, Any]:
    where = f"word {number}"
    if not isinstance(word, dict) or not isinstance(word.get("word"), str):
        raise _broken(f"{where} has no text")
    c1: Any = word.get("c1")
    c2: Any = word.get("c2")
    if not _are_codes(c1) or not _are_codes(c2) or len(c1) != len(c2):
        raise _broken(f"{where} has no codes `c1` and `c2` of one length, each 0 to {MOST_CODE}")
    duration = word.get("duration")
    if isinstance(duration, bool) or not isinstance(duration, int | float) or not 0 <= duration < 3_600:
        raise _broken(f"{where} has no duration")
    features = _checked_features(word.get("features"), where)
    return {"word": word["word"], "duration": duration, "c1": c1, "c2": c2, "features": features}


def _are_codes(codes: Any) -> bool:
    return isinstance(codes, list) and all(type(code) is int and 0 <= code <= MOST_CODE for code in codes)


def _checked_features(features: Any, where: str) -> dict[str, int]:
    is_whole = isinstance(features, Mapping) and all(
        type(features.get(name)) is int and 0 <= features[name] <= 100 for name in FEATURES
    )
    if not is_whole:
        raise _broken(f"{where} lacks one of {', '.join(FEATURES)}, each a whole number from 0 to 100")
    return {name: features[name] for name in FEATURES}


def _broken(reason: str) -> InvalidClonePrompt:
    return InvalidClonePrompt(
        f"This is no speaker profile of OuteTTS: {reason}.", hint="Version 3 profiles, as OuteTTS 1.0 makes them, fit."
    )
