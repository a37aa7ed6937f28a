"""A recording and its transcript → what could be better about them for locking a voice, or why they are refused."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from models.audio.files import AudioFacts, decode_audio, read_bytes
from models.audio.foreign_formats import converted, foreign_format
from models.audio.level_change import CLEAR_CHANGE_DB, LEAST_CHANGE_DB, level_change_db
from models.audio.mending import (
    with_silent_end,
    within_full_scale,
    without_long_silence,
    without_offset,
)
from models.audio.quality import CLIPPED_AT, SILENT_RMS, loudest_rms
from models.audio.speech_detector import find_detector
from models.errors import InvalidReferenceAudio
from models.protocol import SAMPLE_RATE_HZ, Waveform
from models.text.spoken_time import spoken_time

SHORTEST_S, LONGEST_S = 1.0, 60.0
RECOMMENDED_S = (3.0, 30.0)
LOWEST_RATE_HZ, RECOMMENDED_RATE_HZ = 8_000, 16_000
MOST_CLIPPED, CLIPPED_WARNING = 0.02, 0.001  # share of the samples
# Expected over actual length: a transcript far off the recording's makes cloning repeat itself or collapse.
FASTEST, SLOWEST = 2.5, 0.2
FASTEST_WARNING, SLOWEST_WARNING = 1.7, 0.5
MAX_REFERENCE_BYTES = 256 << 20
LONGEST_DECODED_S = 2 * LONGEST_S  # before silence at its ends is cut off


def read_reference(
    source: Path | bytes, *, name: str, transcript: str | None, must_speak: bool = True
) -> tuple[Waveform, tuple[str, ...]]:
    """A recording from a file or its bytes, mended, and what could be better about it. Raises InvalidReferenceAudio.

    `transcript` is None for a voice that is locked from its sound alone. Without `must_speak`, a sound that is no
    speech is only warned of.
    """
    content = read_bytes(source, at_most=MAX_REFERENCE_BYTES) if isinstance(source, Path) else source
    if (foreign := foreign_format(content)) is not None:
        content = converted(source, foreign, name=name, longest_s=LONGEST_DECODED_S)
    waveform, facts = decode_audio(content, name=name, max_duration_s=LONGEST_DECODED_S, mends=True)
    waveform, offset = without_offset(waveform)
    waveform, scaled = within_full_scale(waveform)
    is_long_enough = waveform.size >= SHORTEST_S * SAMPLE_RATE_HZ  # else its length is what is said of it
    no_speech = _no_speech(waveform, offset) if is_long_enough else None
    if no_speech is not None and must_speak:
        raise no_speech
    waveform, trimmed = without_long_silence(waveform)
    try:
        warnings = reference_warnings(waveform, transcript=transcript, facts=facts)
    except InvalidReferenceAudio as error:
        why = " ".join((error.message, *facts.said))  # as that the file was cut short
        raise InvalidReferenceAudio(why, hint=error.hint) from error
    waveform, added = with_silent_end(waveform)
    removed = (f"A constant offset of {offset:+.2f} was taken off.",) if offset else ()
    doubts = (no_speech.message,) if no_speech is not None else _doubts(waveform)
    return waveform, (*facts.said, *removed, *scaled, *trimmed, *added, *doubts, *warnings)


def _no_speech(waveform: Waveform, offset: float) -> InvalidReferenceAudio | None:
    """The error for what is measured to be no speech: nothing, or a sound whose level never changes."""
    loudest = loudest_rms(waveform)
    aside = f"But for a constant offset of {offset:+.2f}, the" if offset else "The"
    if loudest < SILENT_RMS:
        level = f"no tenth of a second is above {20 * math.log10(max(loudest, 1e-6)):.0f} dB"
        hint = "Was the microphone muted? Check it, or the file."
        return InvalidReferenceAudio(f"{aside} recording is silent: {level}.", hint=hint)
    change_db = level_change_db(waveform)
    if change_db < LEAST_CHANGE_DB:
        return InvalidReferenceAudio(
            f"{aside} recording holds no speech: its level hardly changes ({change_db:.1f} dB), as of hum or noise.",
            hint="Listen to it; record somebody who speaks.",
        )
    return None


def _doubts(waveform: Waveform) -> Iterator[str]:
    """A sentence on a sound that may be no speech, where the detector is installed and hears nobody speak."""
    detector = find_detector()
    if detector is not None and level_change_db(waveform) < CLEAR_CHANGE_DB and not detector(waveform):
        yield "Nobody was heard to speak in the recording: is it applause, music or a machine? Listen to it."


def reference_warnings(
    waveform: Waveform, *, transcript: str | None, facts: AudioFacts | None = None
) -> tuple[str, ...]:
    """Sentences on what could be better about a recording `(S,)` at 24 kHz.

    Raises InvalidReferenceAudio when it cannot be used.
    """
    duration_s = waveform.size / SAMPLE_RATE_HZ
    if not SHORTEST_S <= duration_s <= LONGEST_S:
        raise InvalidReferenceAudio(
            f"The recording lasts {duration_s:.1f} s; {SHORTEST_S:g} to {LONGEST_S:g} s can be used.",
            hint=f"{RECOMMENDED_S[0]:g} to {RECOMMENDED_S[1]:g} s of clear speech work best.",
        )
    if loudest_rms(waveform) < SILENT_RMS:
        raise InvalidReferenceAudio("The recording is silent.", hint="Check the microphone, or the file.")
    clipped = float((np.abs(waveform) >= CLIPPED_AT).mean())
    if clipped > MOST_CLIPPED:
        raise InvalidReferenceAudio(f"{clipped:.0%} of the recording is clipped.", hint="Record it less loudly.")
    about_words = () if transcript is None else _transcript_warnings(transcript, duration_s)
    if facts is not None and facts.sample_rate_hz < LOWEST_RATE_HZ:
        raise InvalidReferenceAudio(f"A sample rate of {facts.sample_rate_hz} Hz is too low; 16 kHz or more is needed.")
    return (*about_words, *_warnings(duration_s, clipped, facts))


def _transcript_warnings(transcript: str, duration_s: float) -> tuple[str, ...]:
    """A sentence on a transcript that hardly fits. Raises InvalidReferenceAudio for one that cannot."""
    expected_s = spoken_time(transcript).expected_s
    if expected_s > duration_s * FASTEST:
        raise InvalidReferenceAudio(
            f"The transcript takes about {expected_s:.0f} s to say, and the recording lasts {duration_s:.1f} s.",
            hint="The transcript must hold exactly the words spoken in the recording.",
        )
    if expected_s < duration_s * SLOWEST:
        raise InvalidReferenceAudio(
            f"The transcript takes about {expected_s:.1f} s to say, and the recording lasts {duration_s:.0f} s.",
            hint="Write down every word that is spoken in it, or cut the recording.",
        )
    about = f"The transcript takes about {expected_s:.1f} s to say, and the recording lasts {duration_s:.1f} s"
    if expected_s > duration_s * FASTEST_WARNING:
        return (f"{about}: does it hold words that are not spoken?",)
    if expected_s < duration_s * SLOWEST_WARNING:
        return (f"{about}: does it lack words that are spoken?",)
    return ()


def _warnings(duration_s: float, clipped: float, facts: AudioFacts | None) -> Iterator[str]:
    low_s, high_s = RECOMMENDED_S
    if not low_s <= duration_s <= high_s:
        yield f"The recording lasts {duration_s:.1f} s; {low_s:g} to {high_s:g} s are recommended."
    if clipped > CLIPPED_WARNING:
        yield f"{clipped:.1%} of the recording is clipped."
    if facts is not None and facts.sample_rate_hz < RECOMMENDED_RATE_HZ:
        yield f"The sample rate is {facts.sample_rate_hz} Hz; 16 kHz or more is recommended."
