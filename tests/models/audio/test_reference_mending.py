"""Recordings as people have them are mended first, then judged by what was measured."""

import io
import struct
import time

import numpy as np
import pytest
import soundfile

from models.audio.files import decode_audio, decode_in_blocks
from models.audio.reference_check import read_reference
from models.errors import InvalidReferenceAudio

RATE_HZ = 24_000
WORDS = "The quick brown fox jumps over the lazy dog, and runs back home through the rain."


def speech(duration_s=5.0, *, amplitude=0.3):
    """A voice-like sound `(S,)`: a pulse train that opens and closes four times a second, and ends quietly."""
    seconds = np.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    buzz = sum(np.sin(2 * np.pi * 140 * n * seconds) / n for n in range(1, 12))
    syllables = np.abs(np.sin(2 * np.pi * 2 * seconds)) ** 2
    end = np.clip((duration_s - 0.1 - seconds) * 20, 0, 1)
    return (amplitude * buzz * syllables * end / 2).astype(np.float32)


def a_file(folder, samples, *, subtype="PCM_16", rate_hz=RATE_HZ, name="a.wav"):
    path = folder / name
    soundfile.write(path, samples, rate_hz, subtype=subtype)
    return path


def read(path, transcript=WORDS):
    return read_reference(path, name=path.name, transcript=transcript)


def test_a_good_recording_is_taken_as_it_is(tmp_path):
    waveform, said = read(a_file(tmp_path, speech(), subtype="FLOAT"))
    assert np.array_equal(waveform, speech())
    assert said == ()


@pytest.mark.parametrize(
    ("channels", "said"),
    [
        (lambda voice, _: [voice, -voice], "2 had the voice upside down"),
        (lambda voice, none: [none, voice], "1 did not have the voice"),
        (lambda voice, none: [none, none, voice, none, none, none], "1, 2, 4, 5, 6 did not have"),
        (lambda voice, _: [voice, voice], None),
    ],
    ids=["antiphase", "one silent", "5.1", "stereo"],
)
def test_channels_are_brought_together_by_what_they_hold(tmp_path, channels, said):
    voice = speech()
    samples = np.stack(channels(voice, np.zeros_like(voice)), axis=1)
    waveform, warnings = read(a_file(tmp_path, samples, subtype="FLOAT"))
    assert np.abs(np.abs(waveform) - np.abs(voice)).max() < 1e-4
    assert (said or "") in " ".join(warnings)
    assert bool(warnings) == (said is not None)


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        (speech(amplitude=1.5), "above full scale"),
        (speech() + np.float32(0.2), r"offset of +0.20"),
        (np.concatenate([np.zeros(8 * RATE_HZ, np.float32), speech()]), "8.0 s of silence before"),
        (np.concatenate([speech(), np.zeros(70 * RATE_HZ, np.float32)]), "s of silence after"),
        (speech()[: -RATE_HZ * 3 // 8], "half a second of silence was added"),
    ],
    ids=["float above full scale", "offset", "late", "long after", "cut"],
)
def test_what_can_be_mended_is_mended_and_said(tmp_path, samples, said):
    waveform, warnings = read(a_file(tmp_path, samples, subtype="FLOAT"))
    assert said in " ".join(warnings)
    assert "clipped" not in " ".join(warnings)
    assert np.abs(waveform).max() <= 1.0
    assert 4 < waveform.size / RATE_HZ < 6.5
    assert abs(waveform.mean()) < 0.01


@pytest.mark.parametrize("announced", [0, 4088, 0x7FFF_FFFF, 0xFFFF_FFFF])
def test_a_length_that_was_never_filled_in_is_counted(tmp_path, announced):
    path = a_file(tmp_path, speech())
    content = bytearray(path.read_bytes())
    whole, _ = decode_audio(bytes(content))
    struct.pack_into("<I", content, 4, announced)
    struct.pack_into("<I", content, 40, announced)
    path.write_bytes(content)
    waveform, said = read(path)
    assert waveform.size == whole.size
    assert said == ()


def chunk(name, content, *, padded=True):
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2 if padded else 0)


@pytest.mark.parametrize(
    "order",
    [("data", "fmt "), ("note", "fmt ", "data"), ("fmt ", "note", "data"), ("note", "data", "fmt ")],
    ids="+".join,
)
def test_a_wave_file_is_read_whatever_the_order_and_padding_of_its_chunks(tmp_path, order):
    content = a_file(tmp_path, speech()).read_bytes()
    chunks = {
        "fmt ": content[12:36],
        "data": content[36:],
        "note": chunk(b"LIST", b"INFOICMT\x03\0\0\0abc", padded=False),
    }
    body = b"WAVE" + b"".join(chunks[name] for name in order)
    mended, _ = decode_audio(chunk(b"RIFF", body))
    assert np.array_equal(mended, decode_audio(content)[0])


def form(*, channels=1, rate_hz=RATE_HZ, frame_bytes=2, bits=16):
    return struct.pack("<HHIIHH", 1, channels, rate_hz, rate_hz * frame_bytes, frame_bytes, bits)


ODD_CHUNKS = {
    "an empty data chunk first": (lambda d: [(b"fmt ", form()), (b"data", b""), (b"data", d)], None),
    "an empty data chunk last": (lambda d: [(b"fmt ", form()), (b"data", d), (b"data", b"")], None),
    "the same format twice": (lambda d: [(b"fmt ", form()), (b"fmt ", form()), (b"data", d)], None),
    "no frame size": (lambda d: [(b"fmt ", form(frame_bytes=0)), (b"data", d)], None),
    "two sounds": (lambda d: [(b"fmt ", form()), (b"data", d), (b"data", d)], "2 data chunks with sound"),
    "sound around the format": (lambda d: [(b"data", d), (b"fmt ", form()), (b"data", d)], "2 data chunks with sound"),
    "two formats": (
        lambda d: [(b"fmt ", form()), (b"data", d), (b"fmt ", form(rate_hz=8_000))], "2 fmt chunks that contradict"),
    "no channels": (lambda d: [(b"fmt ", form(channels=0)), (b"data", d)], "0 channels"),
    "frames of another size": (
        lambda d: [(b"fmt ", form(channels=2)), (b"data", d)], "2 bytes a frame, for 2 channels of 16 bits"),
    "a short format": (lambda d: [(b"fmt ", form()[:14]), (b"data", d)], "fmt chunk of 14 bytes, where 16"),
    "no format": (lambda d: [(b"data", d)], "no fmt chunk"),
    "no sound": (lambda _: [(b"fmt ", form())], "no data chunk"),
}  # fmt: skip


@pytest.mark.parametrize("case", ODD_CHUNKS)
def test_a_wave_file_of_odd_chunks_is_read_as_it_is_meant_or_refused_by_its_fault(tmp_path, case):
    content = a_file(tmp_path, speech()).read_bytes()
    chunks, fault = ODD_CHUNKS[case]
    odd = chunk(b"RIFF", b"WAVE" + b"".join(chunk(name, body) for name, body in chunks(content[44:])))
    if fault is None:
        assert np.array_equal(decode_audio(odd)[0], decode_audio(content)[0])
        return
    for read in (decode_audio, lambda odd: decode_in_blocks(odd, list, name="a.wav", max_duration_s=60)):
        with pytest.raises(InvalidReferenceAudio, match=f"WAV file that .*{fault}"):
            read(odd)


@pytest.mark.parametrize("length", [1, 3, 4, 8, 11, 12, 20, 30, 36, 40])
def test_a_wave_file_that_ends_within_its_header_is_said_to(tmp_path, length):
    content = a_file(tmp_path, speech()).read_bytes()[:length]
    with pytest.raises(InvalidReferenceAudio, match=r"ends within its|no data chunk"):
        decode_audio(content)


def test_a_flac_stream_without_a_length_is_read_to_its_end(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, speech(), RATE_HZ)
    content = bytearray(path.read_bytes())
    whole, _ = decode_audio(bytes(content))
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    assert np.array_equal(decode_audio(bytes(content))[0], whole)


@pytest.mark.parametrize("at_and_value", [(24, 0), (24, 4_000_000_000)], ids=["0 Hz", "4 GHz"])
def test_a_header_with_an_impossible_rate_is_named(tmp_path, at_and_value):
    content = bytearray(a_file(tmp_path, speech()).read_bytes())
    struct.pack_into("<I", content, *at_and_value)
    with pytest.raises(InvalidReferenceAudio, match="its header has an impossible sample rate"):
        decode_audio(bytes(content))


def test_one_sample_is_called_too_short_and_not_silent(tmp_path):
    with pytest.raises(InvalidReferenceAudio, match=r"lasts 0\.0 s; 1 to 60 s can be used"):
        read(a_file(tmp_path, np.full(1, 0.5)))


def test_a_file_that_was_cut_short_is_named_as_such(tmp_path):
    path = a_file(tmp_path, speech(6))
    path.write_bytes(path.read_bytes()[: 44 + 2 * RATE_HZ * 3 // 2])
    with pytest.raises(InvalidReferenceAudio, match=r"lasts 1\.5 s\. 75 % of what its header announces is missing"):
        read(path)


@pytest.mark.parametrize(
    ("content", "fact"),
    [
        (b"<!DOCTYPE html><html><body>404</body></html>", "HTML"),
        (b"\0\0\0\x20ftypM4A \0\0\0\0" + bytes(200), "MPEG-4"),
        (b"\x1aE\xdf\xa3" + bytes(200), "WebM"),
        (b'{"error": "not found"}', "text file"),
        (b"", "empty file"),
        (bytes(4096), "zero bytes"),
        ("What was said, in a text.\n".encode("utf-16"), "text file"),
    ],
)
def test_what_is_no_audio_is_named(tmp_path, content, fact):
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(InvalidReferenceAudio, match=fact):
        read(tmp_path / "a.wav")


SECONDS = np.arange(5 * RATE_HZ) / RATE_HZ
NOISE = np.random.default_rng(1).normal(size=SECONDS.size)


@pytest.mark.parametrize(
    ("samples", "fact"),
    [
        (0.1 + 0.0001 * NOISE, r"constant offset of \+0\.10, the recording is silent"),
        (0.2 * np.sin(2 * np.pi * 50 * SECONDS), "no speech"),
        (0.2 * np.sin(2 * np.pi * 440 * SECONDS), "no speech"),
        (0.1 * NOISE, "no speech"),
        (0.2 * np.sin(2 * np.pi * 440 * SECONDS) * (np.sin(2 * np.pi * SECONDS) > 0), "no speech"),
    ],
    ids=["muted with offset", "hum", "tone", "white noise", "beeps"],
)
def test_a_recording_without_speech_is_refused(tmp_path, samples, fact):
    with pytest.raises(InvalidReferenceAudio, match=fact):
        read(a_file(tmp_path, samples.astype(np.float32), subtype="FLOAT"))


def test_a_voice_above_noise_is_speech(tmp_path):
    noisy = speech() + (0.01 * NOISE).astype(np.float32)
    read(a_file(tmp_path, noisy, subtype="FLOAT"))


@pytest.mark.parametrize(("transcript", "doubt"), [("The quick brown fox", "lack words"), (WORDS * 2, "not spoken")])
def test_a_transcript_that_hardly_fits_is_doubted(tmp_path, transcript, doubt):
    _, warnings = read(a_file(tmp_path, speech()), transcript)
    assert doubt in " ".join(warnings)


def test_a_small_file_of_hours_costs_neither_time_nor_memory(tmp_path):
    content = io.BytesIO()
    with soundfile.SoundFile(content, "w", 8_000, 1, "PCM_16", format="FLAC") as file:
        for _ in range(60):
            file.write(np.zeros(8_000 * 60, np.int16))
    flac = bytearray(content.getvalue())
    begun_s = time.process_time()
    for lies in (False, True):
        if lies:  # the header does not say how many samples there are
            flac[21] &= 0xF0
            flac[22:26] = bytes(4)
        (tmp_path / "a.flac").write_bytes(flac)
        with pytest.raises(InvalidReferenceAudio, match="lasts"):
            read(tmp_path / "a.flac")
    assert time.process_time() - begun_s < 1
