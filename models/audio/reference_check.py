"""A recording and its transcript → what could be better about them for locking a voice, or why they are refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from models.audio.files import AudioFacts, read_audio
from models.audio.quality import CLIPPED_AT, SILENT_RMS, loudest_rms
from models.errors import InvalidReferenceAudio
from models.protocol import SAMPLE_RATE_HZ, Waveform
from models.text.spoken_time import spoken_time

SHORTEST_S, LONGEST_S = 1.0, 60.0
RECOMMENDED_S = (3.0, 30.0)
LOWEST_RATE_HZ, RECOMMENDED_RATE_HZ = 8_000, 16_000
MOST_CLIPPED, CLIPPED_WARNING = 0.02, 0.001  # share of the samples
# Expected over actual length: a transcript far off the recording's makes cloning repeat itself or collapse.
FASTEST, SLOWEST = 3.0, 0.2


def read_reference(path: Path, *, transcript: str) -> tuple[Waveform, tuple[str, ...]]:
    """A recording from a file, and what could be better about it. Raises InvalidReferenceAudio."""
    waveform, facts = read_audio(path)
    return waveform, reference_warnings(waveform, transcript=transcript, facts=facts)


def reference_warnings(waveform: Waveform, *, transcript: str, facts: AudioFacts | None = None) -> tuple[str, ...]:
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
    _check_transcript(transcript, duration_s)
    if facts is not None and facts.sample_rate_hz < LOWEST_RATE_HZ:
        raise InvalidReferenceAudio(f"A sample rate of {facts.sample_rate_hz} Hz is too low; 16 kHz or more is needed.")
    return tuple(_warnings(duration_s, clipped, facts))


def _check_transcript(transcript: str, duration_s: float) -> None:
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


def _warnings(duration_s: float, clipped: float, facts: AudioFacts | None) -> Iterator[str]:
    low_s, high_s = RECOMMENDED_S
    if not low_s <= duration_s <= high_s:
        yield f"The recording lasts {duration_s:.1f} s; {low_s:g} to {high_s:g} s are recommended."
    if clipped > CLIPPED_WARNING:
        yield f"{clipped:.1%} of the recording is clipped."
    if facts is not None and facts.sample_rate_hz < RECOMMENDED_RATE_HZ:
        yield f"The sample rate is {facts.sample_rate_hz} Hz; 16 kHz or more is recommended."
