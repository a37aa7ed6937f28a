"""A checkpoint folder → a short name of its weights: equal fingerprints, equal weights.

It covers the configs and tokenizer files whole, every safetensors header, and from every tensor its first, middle and
last bytes. Training or quantising touches every tensor, so that tells checkpoints apart in milliseconds where hashing
gigabytes takes a minute; bytes damaged in between are the verification's affair, not this one's.
This module reads files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from models.qwen3_tts.checkpoint.checkpoint import file_header

SAMPLE_BYTES = 256
SMALL_FILES = ("*.json", "*.txt")
UNREAD_FILES = ("model.safetensors.index.json", "manifest.json")  # say how the same tensors are spread over files


def checkpoint_fingerprint(folder: Path) -> str:
    """64 hex digits. Raises UnsupportedCheckpoint when a weights file is broken."""
    digest = hashlib.sha256()
    for path in _small_files(folder):
        digest.update(
            f"{path.relative_to(folder).as_posix()}\n{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode()
        )
    for part in (folder, folder / "speech_tokenizer"):
        for line in sorted(line for path in part.glob("*.safetensors") for line in _tensor_lines(path)):
            digest.update(f"{part.relative_to(folder).as_posix()} {line}\n".encode())
    return digest.hexdigest()


def _small_files(folder: Path) -> list[Path]:
    found = {path for part in (folder, folder / "speech_tokenizer") for kind in SMALL_FILES for path in part.glob(kind)}
    return sorted(path for path in found if path.name not in UNREAD_FILES and not path.name.startswith("."))


def _tensor_lines(path: Path) -> Iterator[str]:
    """One line a tensor: its name, type and shape, and a digest of samples of its bytes."""
    header = file_header(path)
    with path.open("rb") as file:
        data_start = 8 + int.from_bytes(file.read(8), "little")
        for name, entry in header.items():
            if name != "__metadata__":
                first, stop = entry["data_offsets"]
                samples = hashlib.sha256(_samples(file, data_start + first, data_start + stop)).hexdigest()
                yield f"{name} {json.dumps([entry['dtype'], entry['shape']])} {samples}"


def _samples(file: BinaryIO, first: int, stop: int) -> bytes:
    last = max(first, stop - SAMPLE_BYTES)
    parts = []
    for start in (first, (first + last) // 2, last):
        file.seek(start)
        parts.append(file.read(min(SAMPLE_BYTES, stop - start)))
    return b"".join(parts)
