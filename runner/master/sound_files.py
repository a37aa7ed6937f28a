"""Sound in blocks, tags and a cover → a WAV, FLAC or MP3 file, by libsndfile. Touches the disk."""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from models.audio.encoder import WatchedFile
from models.audio.sound import Samples
from registry.errors import InvalidInput
from runner.master.cover import Cover
from runner.master.file_tags import Chapter, FileTags
from runner.master.flac_tags import write_tagged
from runner.master.id3 import id3_tag
from runner.master.levelling import OutputForm

WAV_LIMIT_BYTES = (1 << 32) - (1 << 20)
MP3_RATES_HZ = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
# What libsndfile makes of its `compression_level`, for LAME.
CONSTANT: dict[str, Any] = {"bitrate_mode": "CONSTANT", "compression_level": 0.4}  # 192 kbit/s at 32 kHz and above
VARIABLE: dict[str, Any] = {"bitrate_mode": "VARIABLE", "compression_level": 0.3}
PROBE_S = 2


def coded_form(form: OutputForm) -> OutputForm:
    """The form nearest to this one that MP3 and AAC have."""
    rate_hz = next((rate for rate in MP3_RATES_HZ if rate >= form.sample_rate_hz), MP3_RATES_HZ[-1])
    return OutputForm(sample_rate_hz=rate_hz, channels=form.channels)


def write_wav(path: Path, blocks: Iterable[Samples], form: OutputForm, tags: FileTags, *, duration_s: float) -> None:
    """Write a WAV file of 16 bits. Raises InvalidInput when it would be too large, or OSError."""
    size_bytes = 2 * form.channels * form.sample_rate_hz * duration_s
    if size_bytes > WAV_LIMIT_BYTES:
        hint = 'Choose flac, or `split = "chapters"`.'
        raise InvalidInput(f"{path.name} would be longer than a WAV file can be.", hint=hint)
    with path.open("w+b") as file:
        _encode(file, blocks, form, tags=tags, format="WAV", subtype="PCM_16")


def write_flac(path: Path, blocks: Iterable[Samples], form: OutputForm, tags: FileTags, *, cover: Cover | None) -> None:
    """Write a FLAC file of 16 bits. Raises OSError."""
    plain = path.with_suffix(".plain")
    with plain.open("w+b") as file:
        _encode(file, blocks, form, format="FLAC", subtype="PCM_16")
    write_tagged(plain, path, tags, cover=cover)
    plain.unlink()


def write_mp3(
    path: Path,
    blocks: Iterable[Samples],
    form: OutputForm,
    tags: FileTags,
    *,
    cover: Cover | None,
    chapters: Sequence[Chapter],
    constant_rate: bool,
) -> None:
    """Write an MP3 file. Raises OSError."""
    options = CONSTANT if constant_rate else VARIABLE
    gain = np.float32(10 ** (-mp3_level_db(form, constant_rate=constant_rate) / 20))
    with path.open("w+b") as file:
        file.write(id3_tag(tags, cover=cover, chapters=chapters))
        louder = (block * gain for block in blocks)
        _encode(file, louder, form, format="MP3", subtype="MPEG_LAYER_III", **options)


def _encode(
    file: Any, blocks: Iterable[Samples], form: OutputForm, *, tags: FileTags | None = None, **how: Any
) -> None:
    watched = WatchedFile(file)
    try:
        with soundfile.SoundFile(watched, "w", form.sample_rate_hz, form.channels, **how) as encoder:
            if tags is not None:
                _set_texts(encoder, tags)
            for block in blocks:
                if watched.error is not None:
                    break
                encoder.write(np.clip(block, -1.0, 1.0))
    except (soundfile.SoundFileError, AssertionError) as error:  # the latter, when not all samples were written
        raise watched.error or InvalidInput(f"libsndfile cannot write this as {how['format']}: {error}.") from error
    if watched.error is not None:
        raise watched.error


def _set_texts(encoder: Any, tags: FileTags) -> None:
    """The tags that a WAV file has a place for."""
    texts = {
        "title": tags.title,
        "artist": tags.author,
        "album": tags.album,
        "genre": tags.genre,
        "date": tags.year,
        "comment": tags.description,
        "tracknumber": str(tags.track) if tags.tracks > 1 else "",
    }
    for name, text in texts.items():
        if text:
            setattr(encoder, name, text)


@functools.cache
def mp3_level_db(form: OutputForm, *, constant_rate: bool) -> float:
    """By how much the encoder changes the level: LAME turns sound down where the bit rate is constant."""
    random = np.random.default_rng(0)
    shape = (PROBE_S * form.sample_rate_hz, form.channels)
    slow = np.repeat(0.05 * random.standard_normal((shape[0] // 8 + 1, form.channels), np.float32), 8, axis=0)
    probe = slow[: shape[0]]
    encoded = io.BytesIO()
    options = CONSTANT if constant_rate else VARIABLE
    _encode(encoded, [probe], form, format="MP3", subtype="MPEG_LAYER_III", **options)
    encoded.seek(0)
    decoded, _ = soundfile.read(encoded, dtype="float32", always_2d=True)
    return round(10 * math.log10(float(np.square(decoded).mean()) / float(np.square(probe).mean())), 2)
