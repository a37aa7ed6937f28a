"""An engine that makes a tone at once: the runner's own speed and behaviour, without speech.

The sound depends on the request alone, so that a test knows what every line must be.
"""

import hashlib
import os
import time
from pathlib import Path

import numpy as np

from models.protocol import (
    SAMPLE_RATE_HZ,
    SAMPLES_PER_FRAME,
    EngineFacts,
    LockDone,
    SpeechDone,
)

SECONDS_PER_CHARACTER = 0.06
LINES_BEFORE_GATE = 3


def tone_for(work):
    """The waveform of a line: its length from the text, its pitch and phase from everything asked for."""
    source = repr((work.text, work.voice, work.seed, work.language, work.instruct, sorted(work.sampling.items())))
    digest = hashlib.sha256(source.encode("utf-8", "surrogatepass")).digest()
    frequency_hz = 100 + int.from_bytes(digest[:2], "big") / 256
    frames = max(4, round(len(work.text) * SECONDS_PER_CHARACTER * SAMPLE_RATE_HZ / SAMPLES_PER_FRAME))
    time_s = np.arange(frames * SAMPLES_PER_FRAME) / SAMPLE_RATE_HZ
    turns = frequency_hz * time_s + digest[2] / (2 * np.pi)
    angle = (2 * np.pi * (turns - np.floor(turns))).astype(np.float32)  # whose sine takes a tenth of a double's
    return np.float32(0.3) * np.sin(angle)


class NoopEngine:
    def __init__(self, choice):
        self.choice = choice

    def facts(self):
        return EngineFacts(
            engine="noop",
            engine_version="1",
            render_version="noop-1",
            model=self.choice.model or "noop",
            model_fingerprint=f"noop:{self.choice.model}",
            abilities=("design", "clone", "presets", "instruct"),
            presets=("ryan", "anna", "ono_anna"),
        )

    def lock(self, work):
        source = work.design_state if work.waveform is None else work.waveform.tobytes()
        prompt = hashlib.sha256(source + work.transcript.encode("utf-8")).digest()
        embedding = np.frombuffer(prompt, np.uint8).astype(np.float32) / 255
        return LockDone(id=work.id, prompt=prompt, facts={"embedding_size": 32}, speaker_embedding=embedding)

    def speak(self, work, *, progress):
        for line in work:
            if line is not None:
                yield self.render(line, progress)

    def render(self, line, progress):
        started_s = time.perf_counter()
        waveform = tone_for(line)
        frames = waveform.size // SAMPLES_PER_FRAME
        progress(line.id, frames)
        return SpeechDone(
            id=line.id,
            waveform=waveform,
            frames=frames,
            finish_reason="eos",
            seed=line.seed,
            render_s=time.perf_counter() - started_s,
            batch=1,
            design_state=b"noop" if hasattr(line.voice, "description") else None,
        )

    def close(self):
        pass


def open_engine(choice):
    return NoopEngine(choice)


class SlowEngine(NoopEngine):
    """Takes its time for a line, so that a test can do something in the middle of the work.

    VOICEJOBS_TEST_LINE_S: seconds for each line. VOICEJOBS_TEST_BEGUN: a file that gets the text of each line begun.
    VOICEJOBS_TEST_GATE: a file without which no line is spoken after the first LINES_BEFORE_GATE.
    """

    spoken = 0

    def render(self, line, progress):
        if begun := os.environ.get("VOICEJOBS_TEST_BEGUN"):
            with Path(begun).open("a", encoding="utf-8") as file:
                file.write(f"{line.text}\n")
        gate = os.environ.get("VOICEJOBS_TEST_GATE")
        while gate and self.spoken >= LINES_BEFORE_GATE and not Path(gate).exists():
            time.sleep(0.01)
        time.sleep(float(os.environ.get("VOICEJOBS_TEST_LINE_S", "0")))
        self.spoken += 1
        return super().render(line, progress)


def open_slow_engine(choice):
    return SlowEngine(choice)
