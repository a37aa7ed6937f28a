"""A take's audio → the file that is published of it, and its figures for ledger and receipt.

A published file comes from the stored take, never from the engine's own samples, so that publishing again after a
crash gives the same bytes.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from models.audio.encoder import BLOCK_SAMPLES, encode_audio, integers, write_audio_stream
from models.audio.file_format import FileFormat
from models.audio.files import decode_audio, stored_blocks
from models.audio.line_level import line_level
from models.audio.sound import Sound, blocks_of
from models.protocol import SAMPLE_RATE_HZ, EngineFacts, Waveform
from registry.durable_files import sha256_of_stream
from registry.errors import storage_error
from registry.jobs.values import Line, TakeFacts
from registry.voices.values import ModelFacts
from runner.outbox.outbox import sha256_hex
from runner.version import VERSION

TAKE_FORMAT, TAKE_BITS = FileFormat(format="flac", encoding="pcm24"), 24
TOLD_DETAILS = ("formulation", "codec", "blas", "family", "native_sample_rate_hz")  # of how an engine computes
LEAST_WARNED_DB = 0.5
KEPT_BYTES = 3_000_000  # of recent takes
LONG_SAMPLES = 60 * SAMPLE_RATE_HZ  # a take above this is never in memory as a whole; its file is made on the disk


def take_content(waveform: Waveform) -> bytes:
    """A waveform as the take store keeps it."""
    return encode_audio(waveform, TAKE_FORMAT)


def take_waveform(content: bytes) -> Waveform:
    """A stored take as samples `(S,)`."""
    waveform, _ = decode_audio(content, name="a stored take")
    return waveform


def as_stored(waveform: Waveform) -> Waveform:
    """`take_waveform(take_content(waveform))` in a tenth of the time: a take keeps whole numbers."""
    stored = np.empty(waveform.size, np.float32)
    for start in range(0, waveform.size, BLOCK_SAMPLES):
        block = slice(start, start + BLOCK_SAMPLES)
        stored[block] = integers(np.clip(waveform[block], -1.0, 1.0), bits=TAKE_BITS)
    stored *= np.float32(2.0 ** (1 - TAKE_BITS))
    return stored


class LongContent:
    """Content in a file without a name in `folder`; it is gone when nobody holds this. May raise OSError."""

    def __init__(self, folder: Path, write: Callable[[BinaryIO], None]) -> None:
        self._file: BinaryIO = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - it outlives this call
        weakref.finalize(self, self._file.close)
        write(self._file)
        self._file.seek(0)
        self.sha256 = sha256_of_stream(self._file)

    def copy_to(self, file: BinaryIO) -> None:
        """Write it all into another file."""
        self._file.seek(0)
        shutil.copyfileobj(self._file, file)


@dataclass(frozen=True, kw_only=True)
class PublishedLine:
    """A line's file, ready to appear."""

    content: bytes
    sha256: str
    samples: int
    waveform: Waveform | None  # its take's sound, (S,), as long as a track may be made of it
    long_content: LongContent | None = None  # instead of `content`, of a long take
    warning: str = ""  # about the file alone

    @property
    def held_bytes(self) -> int:
        return len(self.content) + (self.waveform.nbytes if self.waveform is not None else 0)


@dataclass(frozen=True, kw_only=True)
class NewTake:
    """A take as it is to be stored, and the file that is published of it."""

    content: bytes  # b"" of a long take, which is in the store already
    sha256: str
    file: PublishedLine


def sound_blocks(sound: Sound) -> Iterator[Waveform]:
    """Samples of a long take as its encoder wants them."""
    return (block.astype(np.float32, copy=False) for block in blocks_of(sound, BLOCK_SAMPLES))


def long_line(
    blocks: Callable[[], Iterable[Waveform]], samples: int, wanted: FileFormat, *, folder: Path
) -> PublishedLine:
    """`published` for a stored take that is not in memory; its file is in `folder` meanwhile. Raises StorageError."""

    def write(file: BinaryIO) -> None:
        sound = blocks() if gain == 1.0 else (block * np.float32(gain) for block in blocks())
        write_audio_stream(file, sound, wanted, samples=samples)

    gain, warning = level_of(blocks(), wanted)
    try:
        content = LongContent(folder, write)
    except OSError as error:
        raise storage_error(error, f"writing to {folder}") from error
    return PublishedLine(
        content=b"", sha256=content.sha256, samples=samples, waveform=None, long_content=content, warning=warning
    )


def level_of(sound: Iterable[Waveform], wanted: FileFormat) -> tuple[float, str]:
    """Factor that brings a line to the loudness that is wanted, and a warning where its peak does not allow that."""
    if wanted.loudness_lufs is None:
        return 1.0, ""
    found = line_level(sound, target_lufs=wanted.loudness_lufs)
    short_by = f"{found.short_by_db:.1f} dB below loudness = {wanted.loudness_lufs:g}: its peak allows no more."
    return found.gain, short_by if found.short_by_db >= LEAST_WARNED_DB else ""


def levelled(waveform: Waveform, wanted: FileFormat) -> Waveform:
    """A line's samples `(S,)` as its file has them."""
    gain, _ = level_of([waveform], wanted)
    return waveform if gain == 1.0 else waveform * np.float32(gain)


def long_take_line(path: Path, wanted: FileFormat, *, folder: Path) -> PublishedLine:
    """`long_line` of a take in the store. Raises StorageError."""
    samples, _ = stored_blocks(path)
    return long_line(lambda: stored_blocks(path)[1], samples, wanted, folder=folder)


def new_take(waveform: Waveform, wanted: FileFormat) -> NewTake:
    """The engine's samples `(S,)` of a line, ready for the store and the outbox."""
    content = take_content(waveform)
    return NewTake(content=content, sha256=sha256_hex(content), file=published(as_stored(waveform), wanted))


def published(waveform: Waveform, wanted: FileFormat) -> PublishedLine:
    """A stored take's samples as the file a job asked for."""
    gain, warning = level_of([waveform], wanted)
    content = encode_audio(waveform if gain == 1.0 else waveform * np.float32(gain), wanted)
    return PublishedLine(
        content=content, sha256=sha256_hex(content), samples=waveform.size, waveform=waveform, warning=warning
    )


class RecentTakes:
    """The files made last of takes, up to a few megabytes, for the tracks that are made of them a moment later."""

    def __init__(self) -> None:
        self._files: OrderedDict[str, PublishedLine] = OrderedDict()
        self._bytes = 0

    def keep(self, audio_sha256: str, file: PublishedLine) -> None:
        if file.long_content is not None:
            return
        if (known := self._files.pop(audio_sha256, None)) is not None:
            self._bytes -= known.held_bytes
        self._files[audio_sha256] = file
        self._bytes += file.held_bytes
        while self._bytes > KEPT_BYTES:
            _, oldest = self._files.popitem(last=False)
            self._bytes -= oldest.held_bytes

    def get(self, audio_sha256: str) -> PublishedLine | None:
        return self._files.get(audio_sha256)


def engine_entry(facts: EngineFacts) -> dict[str, Any]:
    """The engine as receipts and takes name it."""
    return {
        "name": facts.engine,
        "version": facts.engine_version,
        "render_version": facts.render_version,
        "model": facts.model,
        "revision": facts.model_revision,
        "fingerprint": facts.model_fingerprint,
        "quantization": facts.quantization,
        "backend": facts.backend,
        "dtype": facts.dtype,
        "batch": facts.batch,
        **{name: facts.details[name] for name in TOLD_DETAILS if name in facts.details},
        "model_facts": asdict(model_facts(facts)),
    }


def model_facts(facts: EngineFacts) -> ModelFacts:
    """The engine as the registry names it."""
    return ModelFacts(
        engine=facts.engine,
        engine_version=facts.engine_version,
        render_version=facts.render_version,
        model=facts.model,
        model_fingerprint=facts.model_fingerprint,
        model_revision=facts.model_revision,
        quantization=facts.quantization,
        software={**facts.versions, "voicejobs": VERSION},
    )


def line_result(line: Line, *, take: TakeFacts, audio_sha256: str, file: PublishedLine, reused: bool) -> dict[str, Any]:
    """Facts about an accepted line that the ledger keeps for the receipt."""
    quality: Mapping[str, Any] = take.quality
    figures = {key: value for key, value in quality.items() if key not in ("batch", "warnings")}
    return {
        "file": line.file,
        "audio_sha256": audio_sha256,
        "file_sha256": file.sha256,
        "samples": file.samples,
        "duration_s": round(file.samples / SAMPLE_RATE_HZ, 4),
        "model": take.engine.get("model"),
        "revision": take.engine.get("revision"),
        "seed": take.accepted_seed,
        "finish_reason": take.finish_reason,
        "frames": take.frames,
        "attempts": take.attempts,
        "render_s": take.render_s,
        "reused": reused,
        "batch": quality.get("batch"),
        "warnings": [*quality.get("warnings", ()), *([file.warning] if file.warning else [])],
        "quality": {"passed": not take.failed_gates, "failed_gates": list(take.failed_gates), **figures},
    }
