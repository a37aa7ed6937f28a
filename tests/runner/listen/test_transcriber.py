"""A long recording on its way to a recogniser: decoded into a file, of which a piece at a time is in memory."""

import threading
import tracemalloc

import numpy as np
import pytest
import soundfile

from models.protocol import SAMPLE_RATE_HZ
from runner.listen.listen_process import ListenProcess
from runner.listen.transcriber import PIECE_S, SAMPLE_BYTES, Transcriber
from runner.listen.weights import Weights

MINUTES = 10
NOBODY = ""  # hears nothing


@pytest.fixture
def transcriber(instance):
    instance.spool_dir.mkdir(exist_ok=True)
    listen = ListenProcess(
        log_path=instance.logs_dir / "listen.log",
        unload_after_s=None,
        weights=Weights(instance),
        wake=lambda: None,
    )
    yield Transcriber(listen=listen, folder=instance.spool_dir)
    listen.close()


def test_a_long_recording_is_heard_by_the_minute_and_never_held_as_a_whole(transcriber, tmp_path):
    path, told = tmp_path / "memo.wav", [(0.0, 0.0)]
    minute = np.random.default_rng(1).normal(0, 0.1, 60 * SAMPLE_RATE_HZ)
    with soundfile.SoundFile(path, "w", SAMPLE_RATE_HZ, 1, "PCM_16") as file:
        for _ in range(MINUTES):
            file.write(minute)
    tracemalloc.start()
    try:
        found = transcriber.heard(
            path,
            recogniser=NOBODY,
            language="english",
            stopped=threading.Event(),
            on_progress=lambda heard_s, total_s: told.append((heard_s, total_s)),
        )
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.heard.duration_s == 60 * MINUTES
    assert told[-1] == (60 * MINUTES, 60 * MINUTES)
    assert max(np.diff([heard_s for heard_s, _ in told])) <= PIECE_S
    whole_bytes = 60 * MINUTES * SAMPLE_RATE_HZ * SAMPLE_BYTES
    assert peak_bytes < 1.5 * whole_bytes  # a minute takes 30 MB on its way; the whole would take 58 MB as floats
    assert list(transcriber.folder.iterdir()) == []
