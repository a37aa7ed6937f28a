"""Waveforms become audio files, whole and piece by piece."""

from __future__ import annotations

import errno
import io
import os
import wave

import numpy as np
import pytest

from models.audio.encoder import encode_audio, write_audio_stream
from models.audio.files import decode_audio
from registry.errors import InvalidInput
from tests.models.audio.tones import RATE_HZ, loudest_hz, tone


def test_a_wav_is_16_bit_mono_with_a_44_byte_header_by_default():
    content = encode_audio(tone())
    assert len(content) == 44 + 2 * tone().size
    assert content[36:40] == b"data"
    with wave.open(io.BytesIO(content)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, RATE_HZ)


@pytest.mark.parametrize(
    ("format", "encoding", "tolerance"),
    [
        ("wav", "pcm16", 2**-15),
        ("wav", "pcm24", 2**-22),
        ("wav", "float", 0),
        ("flac", "pcm16", 2**-15),
        ("flac", "pcm24", 2**-22),
    ],
)
def test_what_is_encoded_without_loss_comes_back(format, encoding, tolerance):  # noqa: A002
    samples = np.concatenate([tone(duration_s=6), np.array([1, -1, 0], np.float32)])
    content = encode_audio(samples, format=format, encoding=encoding)
    read, _ = decode_audio(content)
    assert np.abs(read - samples).max() <= tolerance


@pytest.mark.parametrize("format", ["mp3", "ogg"])
def test_lossy_formats_keep_length_and_pitch(format):  # noqa: A002
    read, facts = decode_audio(encode_audio(tone(duration_s=6), format=format))
    assert facts.duration_s == pytest.approx(6, abs=0.1)
    assert loudest_hz(read) == pytest.approx(440, abs=2)


@pytest.mark.parametrize(
    ("format", "encoding"),
    [("wav", "pcm16"), ("wav", "pcm24"), ("wav", "float"), ("flac", "pcm24"), ("mp3", "pcm16"), ("ogg", "pcm16")],
)
def test_equal_samples_are_equal_bytes(format, encoding):  # noqa: A002
    samples = tone(duration_s=3)
    twice = [encode_audio(samples, format=format, encoding=encoding) for _ in range(2)]
    assert twice[0] == twice[1]


def test_an_ogg_stream_has_one_serial_number_and_valid_checksums():
    content = encode_audio(tone(duration_s=3), format="ogg")
    assert content.count(b"OggS") == content.count(b"vjob") >= 3
    assert decode_audio(content)[1].encoding == "OPUS"  # libogg drops pages whose checksum is wrong


def test_samples_beyond_one_are_clamped():
    read, _ = decode_audio(encode_audio(np.array([3.0, -3.0, 0.25], np.float32)))
    assert np.allclose(read, [32767 / 32768, -32767 / 32768, 0.25], atol=2**-15)


@pytest.mark.parametrize(
    ("samples", "options"),
    [
        (np.array([np.nan], np.float32), {}),
        (np.array([np.inf], np.float32), {}),
        (np.zeros(0, np.float32), {}),
        (np.zeros((2, 2), np.float32), {}),
        (np.zeros(9, np.float32), {"format": "aac"}),
        (np.zeros(9, np.float32), {"encoding": "pcm12"}),
        (np.zeros(9, np.float32), {"format": "flac", "encoding": "float"}),
        (np.zeros(9, np.float32), {"format": "mp3", "encoding": "pcm24"}),
    ],
)
def test_what_cannot_be_written_is_refused(samples, options):
    with pytest.raises(InvalidInput):
        encode_audio(samples, **options)


PARTS = [np.sin(np.arange(size) / 20).astype(np.float32) / 2 for size in (24_000, 1, 70_001)]


def streamed(parts, **kind) -> bytes:
    file = io.BytesIO()
    write_audio_stream(file, parts, samples=sum(part.size for part in parts), **kind)
    return file.getvalue()


@pytest.mark.parametrize("encoding", ["pcm16", "pcm24", "float"])
def test_a_streamed_wav_has_the_bytes_of_one_encoded_at_once(encoding):
    expected = encode_audio(np.concatenate(PARTS), format="wav", encoding=encoding)
    assert streamed(PARTS, format="wav", encoding=encoding) == expected


@pytest.mark.parametrize("audio_format", ["flac", "mp3", "ogg"])
def test_other_formats_hold_every_part_and_repeat_byte_for_byte(audio_format):
    content = streamed(PARTS, format=audio_format)
    waveform, _ = decode_audio(content)
    assert waveform.size == pytest.approx(94_002, abs=2_500)
    assert streamed(PARTS, format=audio_format) == content


class Filling(io.BytesIO):
    """Has room for so many bytes, and for more once it has refused some."""

    room = 1_000

    def write(self, content):
        if self.tell() + len(content) > self.room:
            self.room = 1 << 30
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(content)


@pytest.mark.parametrize("audio_format", ["wav", "flac", "mp3", "ogg"])
def test_a_disk_that_was_full_for_a_moment_is_never_taken_for_a_whole_file(audio_format):
    with pytest.raises(OSError, match="No space"):
        write_audio_stream(Filling(), PARTS, samples=94_002, format=audio_format)


def test_a_wrong_total_is_refused():
    with pytest.raises(InvalidInput, match="announced"):
        write_audio_stream(io.BytesIO(), PARTS, samples=5, format="wav")
