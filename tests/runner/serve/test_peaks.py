"""Waveforms of recordings, read block by block."""

import numpy as np
import pytest
import soundfile

from models.audio.files import BLOCK_FRAMES, stored_blocks
from runner.serve.page.peaks import BARS, picture_of


@pytest.fixture
def recording(tmp_path):
    def made(waveform, *, rate_hz=24_000):
        soundfile.write(tmp_path / "made.flac", waveform, rate_hz)
        return tmp_path / "made.flac"

    return made


def test_the_picture_of_a_recording_of_several_blocks_has_each_part_at_its_place(recording):
    waveform = np.full(3 * BLOCK_FRAMES, 0.1, np.float32)
    waveform[waveform.size // 2 :] = 0.5
    picture = picture_of(recording(waveform))
    assert picture.peaks == (20,) * (BARS // 2) + (100,) * (BARS // 2)
    assert picture.duration_s == waveform.size / 24_000


def test_a_silent_a_short_and_a_faster_recording_have_pictures(recording):
    silent = picture_of(recording(np.zeros(24_000)))
    assert (set(silent.peaks), silent.loudness_lufs) == ({0}, None)
    assert len(picture_of(recording(np.full(5, 0.5))).peaks) == 5
    assert picture_of(recording(np.full(48_000, 0.5), rate_hz=48_000)).duration_s == 1.0


def test_a_stored_take_is_read_on_from_where_a_listener_is(recording):
    waveform = np.linspace(-0.5, 0.5, 30_000)
    _, blocks = stored_blocks(recording(waveform), start=10_000, block_frames=6_000)
    read = list(blocks)
    assert [block.size for block in read] == [6_000, 6_000, 6_000, 2_000]
    assert np.allclose(np.concatenate(read), waveform[10_000:], atol=1e-4)
