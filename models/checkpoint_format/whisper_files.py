"""A folder of a Whisper model as CTranslate2 converts it → what is missing or broken in it.

Reads headers, never weights. `model.bin` is no pickle: a version, the name of the network, then each tensor with its
name, shape and bytes.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from registry.durable_files import open_regular

WEIGHTS = "model.bin"
TOKENIZER = "tokenizer.json"
VOCABULARIES = ("vocabulary.json", "vocabulary.txt")
CONFIG_KEYS = ("suppress_ids", "suppress_ids_begin")  # of `config.json`, which names no type of model
NETWORK = "WhisperSpec"
KNOWN_FORMATS = range(4, 7)  # later ones are left for the library to judge
MOST_AXES = 8


def is_whisper_config(config: Any) -> bool:
    """Whether a parsed `config.json` is that of a Whisper model for CTranslate2."""
    return isinstance(config, dict) and all(key in config for key in CONFIG_KEYS)


def whisper_problems(folder: Path, *, check_structure: bool) -> Iterator[tuple[str, str]]:
    """Each file that faster-whisper needs and cannot use, and what is wrong with it."""
    for name in (WEIGHTS, TOKENIZER):
        if not (folder / name).is_file():
            yield name, "is missing"
    if not any((folder / name).is_file() for name in VOCABULARIES):
        yield VOCABULARIES[0], "is missing"
    if check_structure and (folder / WEIGHTS).is_file() and (problem := weights_problem(folder / WEIGHTS)):
        yield WEIGHTS, problem


def weights_problem(path: Path) -> str | None:
    """Problem that makes a file unusable as the weights of a Whisper model; None when its structure is whole."""
    try:
        with open_regular(path) as file:
            return _problem_in(file, os.fstat(file.fileno()).st_size)
    except (struct.error, UnicodeDecodeError):
        return "is cut off, or is no model of CTranslate2"


def _problem_in(file: BinaryIO, size_bytes: int) -> str | None:
    (version,) = _numbers(file, "<I")
    if version < KNOWN_FORMATS.start or (network := _text(file)) is None:
        return "is no model of CTranslate2"
    if network != NETWORK:
        return f"holds a {network!r}, and no Whisper model"
    if version not in KNOWN_FORMATS:
        return None
    _, tensors = _numbers(file, "<II")
    for _ in range(tensors):
        name = _text(file)
        (axes,) = _numbers(file, "<B")
        if name is None or axes > MOST_AXES:
            return "is damaged"
        file.seek(4 * axes + 1, os.SEEK_CUR)  # its shape and the type of its numbers
        (tensor_bytes,) = _numbers(file, "<I")
        if file.seek(tensor_bytes, os.SEEK_CUR) > size_bytes:
            return f"is cut off within {name}"
    return None


def _text(file: BinaryIO) -> str | None:
    """A name, which ends with a zero; None where there is none."""
    (length,) = _numbers(file, "<H")
    raw = file.read(length)
    return raw[:-1].decode() if length > 1 and raw[-1:] == b"\0" and len(raw) == length else None


def _numbers(file: BinaryIO, form: str) -> tuple[int, ...]:
    """Numbers in this form. Raises struct.error at the end of the file."""
    return struct.unpack(form, file.read(struct.calcsize(form)))
