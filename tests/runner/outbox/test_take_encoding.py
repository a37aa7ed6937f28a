"""A take as it is stored and published."""

import numpy as np

from runner.outbox.take_encoding import as_stored, take_content, take_waveform
from tests.runner.worker.bench import speak


def test_what_is_published_of_a_new_take_is_what_the_store_gives_back():
    waveform = np.random.default_rng(7).normal(0, 0.5, 5_000).astype(np.float32)  # some of it beyond full scale
    assert np.abs(waveform).max() > 1
    assert np.array_equal(as_stored(waveform), take_waveform(take_content(waveform)))


def test_the_track_of_a_single_line_is_that_lines_file(bench):
    bench.drop("one.toml", speak("All of it.", format="flac"))
    bench.drop("two.toml", speak("All of it.", "And more."))
    bench.run()
    folder = bench.instance.outbox / "one"
    assert (folder / "track.flac").read_bytes() == (folder / "line-1.flac").read_bytes()
    assert bench.receipt("one")["track"]["sha256"] == bench.receipt("one")["lines"][0]["sha256"]
    assert len(bench.audio("two", "track.wav")) > len(bench.audio("two", "line-1.wav"))
