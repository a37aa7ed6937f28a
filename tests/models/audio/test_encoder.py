"""Audio files written piece by piece."""

from __future__ import annotations

import errno
import io
import os

import numpy as np
import pytest

from models.audio.encoder import encode_audio, write_audio_stream
from models.audio.files import decode_audio
from registry.errors import InvalidInput

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
