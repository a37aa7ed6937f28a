"""A checkpoint folder → a short name of its weights: equal fingerprints, equal weights.

It covers the whole configs and tokenizer files, every safetensors header, and the first, middle and last bytes of every
tensor. Training or quantising changes every tensor, so this tells checkpoints apart in milliseconds, where hashing
gigabytes takes a minute. Damaged bytes in between are for verification to find.
This module reads files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from models.checkpoint_format.files import file_header
from registry.durable_files import open_regular, read_regular

SAMPLE_BYTES = 256
SMALL_FILES = ("*.json", "*.txt")
UNREAD_FILES = ("model.safetensors.index.json", "manifest.json")  # describe only how tensors are spread over files


def checkpoint_fingerprint(folder: Path) -> str:
    """Fingerprint of 64 hex digits. Raises UnsupportedCheckpoint when a weights file is broken."""
    digest = hashlib.sha256()
    for path in _small_files(folder):
        digest.update(
            f"{path.relative_to(folder).as_posix()}\n{hashlib.sha256(read_regular(path)).hexdigest()}\n".encode()
        )
    for part in (folder, folder / "speech_tokenizer"):
        for line in sorted(line for path in part.glob("*.safetensors") for line in _tensor_lines(path)):
            digest.update(f"{part.relative_to(folder).as_posix()} {line}\n".encode())
    return digest.hexdigest()


def _small_files(folder: Path) -> list[Path]:
    found = {path for part in (folder, folder / "speech_tokenizer") for kind in SMALL_FILES for path in part.glob(kind)}
    return sorted(path for path in found if path.name not in UNREAD_FILES and not path.name.startswith("."))


def _tensor_lines(path: Path) -> Iterator[str]:
    """One line for each tensor: its name, type and shape, and a digest of samples of its bytes."""
    header = file_header(path)
    with open_regular(path) as file:
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
