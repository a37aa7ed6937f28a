"""An engine that speaks each line wrongly in its first takes, in the way that the line's `instruct` names."""

import numpy as np

from models.hibari.engine import open_engine as open_hibari
from models.protocol import SAMPLE_RATE_HZ, PresetVoice, SpeechDone, SpeechWork
from tests.engines.noop import NoopEngine

OTHER = "Nothing in the world could have prepared him for what happened next."


class BadSpeechEngine(NoopEngine):
    def __init__(self, choice):
        super().__init__(choice)
        self.voice = open_hibari(choice)
        self.takes = {}

    def speak(self, work, *, progress):  # noqa: ARG002
        for line in work:
            if line is not None:
                take = self.takes[line.id] = self.takes.get(line.id, 0) + 1
                waveform = self.said(line.text)
                if line.instruct is not None and (take == 1 or line.instruct.startswith("always ")):
                    waveform = FAULTS[line.instruct.removeprefix("always ")](self, line.text, waveform)
                yield SpeechDone(
                    id=line.id,
                    waveform=waveform,
                    frames=waveform.size // 1920,
                    finish_reason="eos",
                    seed=line.seed,
                    render_s=0.01,
                    batch=1,
                )

    def said(self, text):
        work = SpeechWork(id="x", text=text, voice=PresetVoice(name="heart"), seed=1, language="english")
        return next(iter(self.voice.speak([work], progress=lambda *_: True))).waveform


def words_left_out(engine, text, _waveform):
    words = text.split()
    return engine.said(" ".join([*words[:2], *words[7:]]))


def silent_inside(_engine, _text, waveform):
    half = waveform.size // 2
    return np.concatenate([waveform[:half], np.zeros(8 * SAMPLE_RATE_HZ, np.float32), waveform[half:]])


FAULTS = {
    "drop words": words_left_out,
    "repeat": lambda _engine, _text, waveform: np.concatenate([waveform, waveform]),
    "babble": lambda engine, _text, waveform: np.concatenate([waveform, engine.said(OTHER)[: 3 * SAMPLE_RATE_HZ]]),
    "add a sentence": lambda engine, _text, waveform: np.concatenate(
        [waveform, np.zeros(SAMPLE_RATE_HZ // 3, np.float32), engine.said("Thank you for watching.")]
    ),
    "go silent": silent_inside,
    "another text": lambda engine, _text, _waveform: engine.said(OTHER),
}


def open_engine(choice):
    return BadSpeechEngine(choice)
