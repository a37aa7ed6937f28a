"""Audio files in every form become waveforms."""

import io
import os
import struct
import tracemalloc

import numpy as np
import pytest
import soundfile

from models.audio.files import decode_audio, decode_in_blocks, read_audio, resample
from models.errors import InvalidReferenceAudio
from tests.models.audio.tones import RATE_HZ, loudest_hz, tone


@pytest.mark.parametrize(
    ("format_and_encoding", "rate_hz"),
    [
        (("WAV", "PCM_16"), 44_100),
        (("WAV", "PCM_24"), 48_000),
        (("WAV", "FLOAT"), 16_000),
        (("WAV", "PCM_U8"), 8_000),
        (("AIFF", "PCM_16"), 22_050),
        (("FLAC", "PCM_24"), 96_000),
        (("OGG", "VORBIS"), 44_100),
        (("MP3", "MPEG_LAYER_III"), 44_100),
    ],
)
def test_any_common_file_becomes_mono_at_24_khz(tmp_path, format_and_encoding, rate_hz):
    path = tmp_path / "clip.anything"
    left = tone(rate_hz=rate_hz)
    major, subtype = format_and_encoding
    soundfile.write(path, np.stack([left, left], axis=1), rate_hz, format=major, subtype=subtype)
    waveform, facts = read_audio(path)
    assert waveform.dtype == np.float32
    assert waveform.ndim == 1
    assert loudest_hz(waveform) == pytest.approx(440, abs=4)
    assert (facts.sample_rate_hz, facts.channels, facts.format) == (rate_hz, 2, major)
    assert facts.duration_s == pytest.approx(0.5, abs=0.06)


def test_stereo_is_averaged_not_cut_to_one_channel(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.stack([tone(), -tone()], axis=1), RATE_HZ, subtype="FLOAT")
    assert np.abs(read_audio(tmp_path / "a.wav")[0]).max() < 1e-6


@pytest.mark.parametrize("content", [b"", b"RIFF", b"not audio at all" * 100, b"\0" * 4096, b"version https://git-lfs"])
def test_what_is_no_audio_is_refused_with_a_reason(content):
    with pytest.raises(InvalidReferenceAudio, match=r"clip\.wav"):
        decode_audio(content, name="clip.wav")


def test_audio_without_samples_or_with_nan_is_refused():
    for samples, reason in ((np.zeros(0, np.float32), "no samples"), (np.full(9, np.nan, np.float32), "not finite")):
        content = io.BytesIO()
        soundfile.write(content, samples, RATE_HZ, format="WAV", subtype="FLOAT")
        with pytest.raises(InvalidReferenceAudio, match=reason):
            decode_audio(content.getvalue())


def test_a_recording_that_is_too_long_is_refused_before_it_is_decoded(tmp_path):
    path, rate_hz = tmp_path / "long.wav", 8_000
    samples = 3_601 * rate_hz
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate_hz, rate_hz, 1, 8)
    with path.open("wb") as file:
        file.write(b"RIFF" + struct.pack("<I", 36 + samples) + b"WAVE" + form + b"data" + struct.pack("<I", samples))
        file.truncate(44 + samples)
    with pytest.raises(InvalidReferenceAudio, match=r"3601\.0 s; at most 3600 s"):
        read_audio(path)


def test_an_enormous_file_a_fifo_and_a_missing_file_are_refused(tmp_path):
    with (tmp_path / "huge.wav").open("wb") as file:
        file.truncate(2 << 30)
    os.mkfifo(tmp_path / "fifo.wav")
    for name, reason in (("huge.wav", "at most"), ("fifo.wav", "regular"), ("missing.wav", "cannot be read")):
        with pytest.raises(InvalidReferenceAudio, match=reason):
            read_audio(tmp_path / name)


def test_resampling_keeps_the_duration_and_the_pitch():
    resampled = resample(tone(rate_hz=22_050, duration_s=2), 22_050, RATE_HZ)
    assert resampled.size == pytest.approx(2 * RATE_HZ, abs=2)
    assert loudest_hz(resampled) == pytest.approx(440, abs=1)


@pytest.mark.parametrize("form", ["WAV", "FLAC"])
def test_a_long_recording_is_handed_on_in_pieces_and_never_held_as_a_whole(form):
    minutes, content, minute = 6, io.BytesIO(), tone(rate_hz=16_000, duration_s=60)
    with soundfile.SoundFile(content, "w", 16_000, 1, "PCM_16", format=form) as file:
        for _ in range(minutes):
            file.write(minute)
    sizes = []
    tracemalloc.start()
    try:
        decode_in_blocks(content.getvalue(), lambda block: sizes.append(block.size), name="memo", max_duration_s=3_600)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sum(sizes) == pytest.approx(minutes * 60 * RATE_HZ, abs=2)
    assert max(sizes) < 10 * RATE_HZ
    assert peak_bytes < content.tell() + (8 << 20)  # beside the file; all of its samples take 35 MB
