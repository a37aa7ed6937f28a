"""An instruction ("whispering, slowly") → a draft voice changed for one line."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from models.draft.voice import FASTEST_WPM, HIGHEST_HZ, LOWEST_HZ, SLOWEST_WPM, DraftVoice, says

UNDERSTOOD = "whisper, shout, soft, slow, fast, sad, happy, angry, scared, flat"
_FEMALE_FROM_HZ = 150.0


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One way of saying a line."""

    words: str
    rate: float = 1.0
    semitones: float = 0.0
    range: int = 0
    gain: float = 1.0
    whispers: bool = False


_DELIVERIES = (
    Delivery(words=r"whisper\w*|hushed|under (?:his|her|their|your) breath", gain=0.5, rate=0.95, whispers=True),
    Delivery(words=r"shout\w*|yell\w*|scream\w*|bellow\w*|loud\w*|roar\w*", gain=1.7, semitones=3, range=20, rate=1.05),
    Delivery(words=r"soft\w*|quiet\w*|gentl[ey]\w*|mutter\w*|murmur\w*|mumbl\w*|tender\w*", gain=0.55, range=-10),
    Delivery(words=r"slow\w*|unhurried|drawl\w*|deliberate\w*|hesita\w*|weary|wearily|tired\w*", rate=0.72),
    Delivery(words=r"fast\w*|quick\w*|rapid\w*|hurried\w*|rush\w*|brisk\w*|urgent\w*|breathless\w*", rate=1.35),
    Delivery(
        words=r"sad\w*|sorrow\w*|melanchol\w*|griev\w*|cry\w*|sob\w*|mourn\w*", rate=0.88, semitones=-1, range=-20
    ),
    Delivery(words=r"happy|happil\w*|cheer\w*|excit\w*|joy\w*|laugh\w*|giggl\w*", rate=1.08, semitones=1.5, range=25),
    Delivery(words=r"angr\w*|furious\w*|rage\w*|snarl\w*|mad", rate=1.1, semitones=1, range=20, gain=1.4),
    Delivery(words=r"scared|afraid|fear\w*|terrif\w*|panick\w*|nervous\w*|trembl\w*", rate=1.12, semitones=2, range=10),
    Delivery(words=r"flat\w*|monoton\w*|deadpan|cold\w*|bored\w*|emotionless\w*", range=-35),
)


def delivered(voice: DraftVoice, instruct: str | None) -> tuple[DraftVoice, float, str | None]:
    """The changed voice, a gain, and a warning when no word of the instruction is understood."""
    text = (instruct or "").strip().casefold()
    found = [delivery for delivery in _DELIVERIES if says(delivery.words, text)] if text else []
    if not found:
        return voice, 1.0, _ignored(text) if text else None
    gain = 1.0
    for delivery in found:
        gain *= delivery.gain
        voice = _changed(voice, delivery)
    return voice, gain, None


def _ignored(text: str) -> str:
    return f"The draft engine ignored the instruction {text[:80]!r}; it understands {UNDERSTOOD}."


def _changed(voice: DraftVoice, delivery: Delivery) -> DraftVoice:
    pitch_hz = voice.pitch_hz * 2 ** (delivery.semitones / 12)
    whispering = "whisperf" if voice.pitch_hz >= _FEMALE_FROM_HZ else "whisper"
    return dataclasses.replace(
        voice,
        variant=whispering if delivery.whispers else voice.variant,
        pitch_hz=min(max(pitch_hz, LOWEST_HZ), HIGHEST_HZ),
        range=min(max(voice.range + delivery.range, 0), 99),
        rate_wpm=min(max(round(voice.rate_wpm * delivery.rate), SLOWEST_WPM), FASTEST_WPM),
    )
