"""An engine that speaks at a pace, as a large model does: what it says is heard while it goes on.

VOICEJOBS_TEST_PIECE_S: seconds that each tenth of a second of speech takes. VOICEJOBS_TEST_GATE: a file without which
no line goes on after its first piece.
"""

import os
import time
from pathlib import Path

import numpy as np

from models.protocol import SAMPLE_RATE_HZ, SAMPLES_PER_FRAME, SpeechDone, SpeechPiece
from tests.engines.noop import NoopEngine, tone_for

PIECE_SAMPLES = SAMPLE_RATE_HZ // 10


class PacedEngine(NoopEngine):
    def speak(self, work, *, progress):
        for line in work:
            if line is not None:
                yield from self.pieces(line, progress)

    def pieces(self, line, progress):
        started_s = time.perf_counter()
        waveform, spoken, reason = tone_for(line), 0, "eos"
        while spoken < waveform.size and reason == "eos":
            time.sleep(float(os.environ.get("VOICEJOBS_TEST_PIECE_S", "0")))
            if line.live:
                yield SpeechPiece(id=line.id, waveform=waveform[spoken : spoken + PIECE_SAMPLES])
            spoken += PIECE_SAMPLES
            if not self.may_go_on(line, progress, spoken):
                reason = "cancelled"
        yield SpeechDone(
            id=line.id,
            waveform=np.zeros(0, np.float32) if line.live else waveform,
            frames=waveform.size // SAMPLES_PER_FRAME,
            finish_reason=reason,
            seed=line.seed,
            render_s=time.perf_counter() - started_s,
            batch=1,
        )

    def may_go_on(self, line, progress, spoken):
        gate = os.environ.get("VOICEJOBS_TEST_GATE")
        while progress(line.id, spoken // SAMPLES_PER_FRAME):
            if not gate or Path(gate).exists():
                return True
            time.sleep(0.005)
        return False


def open_engine(choice):
    return PacedEngine(choice)
