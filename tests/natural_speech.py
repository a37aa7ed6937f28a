"""Real English speech for tests: a text spoken by hibari, once."""

import functools

import numpy as np

from models.hibari.engine import open_engine
from models.protocol import SAMPLE_RATE_HZ, ModelChoice, PresetVoice, SpeechWork

BREEZE = "A gentle breeze moved the curtains while the children slept in the garden."
WORLD = "Nothing in the world could have prepared him for what happened next."


@functools.cache
def _voice():
    return open_engine(ModelChoice(engine="hibari", model="hibari"))


@functools.cache
def spoken(text, voice="heart"):
    """The samples of a text, at 24 kHz."""
    work = SpeechWork(id="x", text=text, voice=PresetVoice(name=voice), seed=1, language="english")
    return next(iter(_voice().speak([work], progress=lambda *_: True))).waveform


def silence(seconds):
    return np.zeros(round(seconds * SAMPLE_RATE_HZ), np.float32)


def memo():
    """Two sentences, the second after a pause that begins at about 4.3 s."""
    return np.concatenate([spoken(BREEZE), silence(1.5), spoken(WORLD)])
