"""An engine that does what a line tells it to: `hang`, `abort`, `exit 0`, `nan`, … and speaks all other lines."""

import os
import re
import sys
import time

import numpy as np

from models.errors import InvalidReferenceAudio, ModelChanged
from models.protocol import SAMPLE_RATE_HZ, SAMPLES_PER_FRAME, SpeechDone, WorkFailed
from registry.errors import InvalidInput
from tests.engines.noop import NoopEngine

MEMORY_STEP_BYTES = 64 << 20
MOST_MEMORY_STEPS = 10


def done(line, waveform):
    frames = waveform.size // SAMPLES_PER_FRAME
    return SpeechDone(
        id=line.id, waveform=waveform, frames=frames, finish_reason="eos", seed=line.seed, render_s=0.01, batch=1
    )


def hang():
    while True:
        time.sleep(3600)


def hang_without_letting_go_of_the_interpreter():
    re.match(r"(a+)+$", "a" * 60 + "b")  # runs for years inside one C call that holds the interpreter lock


def eat_memory():
    eaten = []
    for _ in range(MOST_MEMORY_STEPS):  # however long nobody looks, the machine must not run short
        eaten.append(np.ones(MEMORY_STEP_BYTES // 8))
        time.sleep(0.01)
    hang()


class MisbehavingEngine(NoopEngine):
    def speak(self, work, *, progress):
        self.progress = progress
        for line in work:
            if line is not None:
                yield self.act(line)

    def lock(self, work):
        if work.transcript == "refuse":
            raise InvalidReferenceAudio("The clip is silent.", hint="Record it again.")
        if work.transcript == "raise":
            raise KeyError("a defect")
        if work.transcript == "hang":
            hang()
        return super().lock(work)

    def act(self, line):
        word = line.text
        if word in ENDLESS:
            ENDLESS[word]()
        if word == "run on until cancelled":
            return self.run_on(line)
        if word == "print":
            os.write(1, b"VJ01" * 100)
            print("stray output", flush=True)
            print("more of it", file=sys.stderr, flush=True)
        if word == "refuse":
            return WorkFailed(id=line.id, code="unsupported-request", message="No.", hint="Ask otherwise.")
        if word == "raise":
            raise RuntimeError("a defect")
        if word == "change":
            return WorkFailed(id=line.id, code=ModelChanged.code, message="Other weights.", retryable=True)
        if word == "raise ours":
            raise InvalidInput("Not this.", hint="But that.")
        if word in WAVEFORMS:
            return done(line, WAVEFORMS[word]())
        if word == "answer another":
            return done(line, np.zeros(9, np.float32)).__class__(
                id="nobody",
                waveform=np.zeros(9, np.float32),
                frames=0,
                finish_reason="eos",
                seed=0,
                render_s=0,
                batch=1,
            )
        return self.render(line, self.progress)

    def run_on(self, line):
        frames = 0
        while self.progress(line.id, frames):
            frames += 1
            time.sleep(0.01)
        nothing = np.zeros(frames * SAMPLES_PER_FRAME, np.float32)
        return SpeechDone(
            id=line.id,
            waveform=nothing,
            frames=frames,
            finish_reason="cancelled",
            seed=line.seed,
            render_s=0.01,
            batch=1,
        )


def noise(duration_s=120):
    second = np.random.default_rng(0).standard_normal(SAMPLE_RATE_HZ).astype(np.float32)
    return np.tile(second, duration_s)


ENDLESS = {
    "hang": hang,
    "hang in C": hang_without_letting_go_of_the_interpreter,
    "eat memory": eat_memory,
    "abort": os.abort,
    "exit 0": lambda: os._exit(0),
    "close the pipe": lambda: (os.close(pipe_to_write()), hang()),
    "write rubbish": lambda: os.write(pipe_to_write(), b"rubbish" * 9),
}
WAVEFORMS = {
    "nan": lambda: np.full(SAMPLE_RATE_HZ, np.nan, np.float32),
    "silence": lambda: np.zeros(SAMPLE_RATE_HZ, np.float32),
    "two minutes of noise": noise,
    "empty": lambda: np.zeros(0, np.float32),
    "clipped": lambda: np.sign(noise(1)),
    "a matrix": lambda: np.zeros((2, 100), np.float32),
    "doubles": lambda: np.zeros(100, np.float64),
    "too large": lambda: np.zeros(80 << 20, np.float32),
}


def pipe_to_write():
    return int(sys.argv[-1])


def open_engine(choice):
    wish = choice.folder
    if wish == "refuse":
        raise InvalidInput("The folder is no model.", hint="Choose another.")
    if wish == "raise":
        raise RuntimeError("a defect while loading")
    if wish is not None:
        ENDLESS[wish]()
    return MisbehavingEngine(choice)
