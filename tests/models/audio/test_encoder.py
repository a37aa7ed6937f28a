"""Waveforms become audio files, whole and piece by piece."""

from __future__ import annotations

import errno
import io
import os
import wave

import numpy as np
import pytest
import soundfile

from models.audio.encoder import encode_audio, write_audio_stream
from models.audio.file_format import MP3_HIGH_KBPS, MP3_MIDDLE_KBPS, FileFormat
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
    content = encode_audio(samples, FileFormat(format=format, encoding=encoding))
    read, _ = decode_audio(content)
    assert np.abs(read - samples).max() <= tolerance


@pytest.mark.parametrize("format", ["mp3", "ogg", "opus", "vorbis"])
def test_lossy_formats_keep_length_and_pitch(format):  # noqa: A002
    read, facts = decode_audio(encode_audio(tone(duration_s=6), FileFormat(format=format)))
    assert facts.duration_s == pytest.approx(6, abs=0.1)
    assert loudest_hz(read) == pytest.approx(440, abs=2)


@pytest.mark.parametrize(
    ("format", "encoding"),
    [
        ("wav", "pcm16"),
        ("wav", "pcm24"),
        ("wav", "float"),
        ("flac", "pcm24"),
        ("mp3", "pcm16"),
        ("ogg", "pcm16"),
        ("vorbis", "pcm16"),
    ],
)
def test_equal_samples_are_equal_bytes(format, encoding):  # noqa: A002
    samples = tone(duration_s=3)
    twice = [encode_audio(samples, FileFormat(format=format, encoding=encoding)) for _ in range(2)]
    assert twice[0] == twice[1]


def test_an_ogg_stream_has_one_serial_number_and_valid_checksums():
    content = encode_audio(tone(duration_s=3), FileFormat(format="ogg"))
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
        encode_audio(samples, FileFormat(**options))


PARTS = [np.sin(np.arange(size) / 20).astype(np.float32) / 2 for size in (24_000, 1, 70_001)]


def streamed(parts, **kind) -> bytes:
    file = io.BytesIO()
    write_audio_stream(file, parts, FileFormat(**kind), samples=sum(part.size for part in parts))
    return file.getvalue()


@pytest.mark.parametrize("encoding", ["pcm16", "pcm24", "float"])
def test_a_streamed_wav_has_the_bytes_of_one_encoded_at_once(encoding):
    expected = encode_audio(np.concatenate(PARTS), FileFormat(format="wav", encoding=encoding))
    assert streamed(PARTS, format="wav", encoding=encoding) == expected


@pytest.mark.parametrize("audio_format", ["flac", "mp3", "ogg", "vorbis"])
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


@pytest.mark.parametrize("audio_format", ["wav", "flac", "mp3", "ogg", "vorbis"])
def test_a_disk_that_was_full_for_a_moment_is_never_taken_for_a_whole_file(audio_format):
    with pytest.raises(OSError, match="No space"):
        write_audio_stream(Filling(), PARTS, FileFormat(format=audio_format), samples=94_002)


def test_a_wrong_total_is_refused():
    with pytest.raises(InvalidInput, match="announced"):
        write_audio_stream(io.BytesIO(), PARTS, samples=5)


@pytest.mark.parametrize("rate_hz", [8_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("format", ["wav", "flac", "mp3", "vorbis"])
def test_a_file_may_have_another_rate_and_keeps_length_and_pitch(format, rate_hz):  # noqa: A002
    content = streamed([tone(duration_s=2), tone(duration_s=1)], format=format, sample_rate_hz=rate_hz)
    with soundfile.SoundFile(io.BytesIO(content)) as file:
        assert file.samplerate == rate_hz
        if format != "mp3":
            assert file.frames == 3 * rate_hz
    assert loudest_hz(decode_audio(content)[0]) == pytest.approx(440, abs=2)


def test_opus_and_vorbis_are_told_apart_by_what_they_hold():
    assert b"OpusHead" in streamed(PARTS, format="opus")
    assert streamed(PARTS, format="opus") == streamed(PARTS, format="ogg")
    assert b"\x01vorbis" in streamed(PARTS, format="vorbis")
    assert [FileFormat(format=name).extension for name in ("opus", "ogg", "vorbis", "mp3")] == [
        "opus",
        "ogg",
        "ogg",
        "mp3",
    ]


@pytest.mark.parametrize(
    ("rate_hz", "kbps", "table"),
    [
        (24_000, 64, MP3_MIDDLE_KBPS),
        (24_000, 160, MP3_MIDDLE_KBPS),
        (44_100, 192, MP3_HIGH_KBPS),
        (48_000, 320, MP3_HIGH_KBPS),
    ],
)
def test_an_mp3_has_exactly_the_bit_rate_that_is_asked_for(rate_hz, kbps, table):
    content = streamed([tone(duration_s=6)], format="mp3", sample_rate_hz=rate_hz, bitrate_kbps=kbps)
    header = content.index(b"\xff", content.index(b"Info") if b"Info" in content[:200] else 0)
    while content[header + 1] & 0xE0 != 0xE0:
        header = content.index(b"\xff", header + 1)
    assert (content[header + 2] >> 4) - 1 == table.index(kbps)
    assert len(content) * 8 / 6 / 1000 == pytest.approx(kbps, rel=0.03)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"format": "mp3", "bitrate_kbps": 192}, "above 160, set sample_rate = 44100"),
        ({"format": "mp3", "sample_rate_hz": 44_100, "bitrate_kbps": 100}, "no bit rate of 100"),
        ({"format": "opus", "sample_rate_hz": 44_100}, "Choose 8000, 12000"),
        ({"format": "flac", "bitrate_kbps": 128}, "does not go with"),
        ({"sample_rate_hz": 12_345}, "no sample_rate of 12345 Hz"),
    ],
)
def test_rates_that_do_not_exist_are_refused_with_those_that_do(values, said):
    with pytest.raises(InvalidInput) as caught:
        FileFormat(**values).check()
    assert said in str(caught.value)
