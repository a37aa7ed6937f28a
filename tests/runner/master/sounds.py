"""Sounds for the tests of mastering: syllables with pauses, files of several kinds."""

import struct
import zlib

import numpy as np
import soundfile


def speech(seconds, *, rate_hz=24_000, level=0.1, seed=0):
    """Something with syllables and pauses, `(S,)` float32."""
    at = np.arange(round(seconds * rate_hz)) / rate_hz
    random = np.random.default_rng(seed)
    voice = sum(np.sin(2 * np.pi * 120 * k * at * (1 + 0.002 * seed)) / k for k in range(1, 16))
    syllables = np.clip(np.sin(2 * np.pi * 2.3 * at), 0, 1) ** 0.5
    phrases = (np.sin(2 * np.pi * 0.21 * at + 0.5) > -0.7).astype(float)
    return (level * voice * syllables * phrases * (0.7 + 0.3 * random.random())).astype(np.float32)


def silence(seconds, *, rate_hz=24_000):
    return np.zeros(round(seconds * rate_hz), np.float32)


def write_mp3(path, sound, *, rate_hz=44_100, constant=True):
    kind = {"bitrate_mode": "CONSTANT", "compression_level": 0.4} if constant else {}
    soundfile.write(path, sound, rate_hz, format="MP3", subtype="MPEG_LAYER_III", **kind)


def write_take(path, sound):
    """As the take store keeps it."""
    soundfile.write(path, sound, 24_000, format="FLAC", subtype="PCM_24")
    return path


def png_bytes(width=48, height=48):
    """A picture."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    rows = b"".join(b"\0" + bytes((x * 5 % 256, y * 5 % 256, 90)[c] for x in range(width) for c in range(3))
                    for y in range(height))  # fmt: skip
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
