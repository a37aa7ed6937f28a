"""A whole Qwen3-TTS model → faults that show only when all of it is read: its tokenizer, numbers that are not finite.

A model of gigabytes takes seconds, so verdicts are remembered until its files change; a listing shows those that are
known. This module reads the disk.
"""

from __future__ import annotations

import functools
from pathlib import Path

from models.checkpoint_format.config import model_config
from models.checkpoint_format.files import read_json
from models.errors import UnsupportedCheckpoint
from models.store.availability import Availability, Available, Partial, is_qwen3_tts, weight_files
from models.store.safetensors_check import VerdictCache

DEEP_HINT = "A conversion went wrong, or the file is damaged: fetch it again, or use another copy of the model."
TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json", "config.json")


def deeply_checked(
    folder: Path, state: Availability, *, cache: VerdictCache, reads: bool, reads_tokenizer: bool = False
) -> Availability:
    """The state of a model after its tokenizer and its numbers were looked at; with `reads` false, as remembered.

    With `reads_tokenizer` alone, which takes some 100 ms, the tokenizer is looked at all the same.
    """
    if not isinstance(state, Available) or not is_qwen3_tts(folder):
        return state
    tokenizer = cache.verdict(
        f"{folder}#tokenizer",
        [folder / name for name in TOKENIZER_FILES],
        judge=(lambda: _tokenizer_problem(folder)) if reads or reads_tokenizer else None,
    )
    problems = {"tokenizer": tokenizer} if tokenizer else {}
    for path in weight_files(folder):
        name = path.relative_to(folder).as_posix()
        judge = functools.partial(_numbers, path) if reads else None
        found = cache.verdict(f"{path}#numbers", [path], judge=judge)
        problems |= {name: f"{name} {found}"} if found else {}
    return Partial(tuple(problems), tuple(problems.values()), DEEP_HINT) if problems else state


def _tokenizer_problem(folder: Path) -> str | None:
    from models.checkpoint_format.tokenizer_files import read_tokenizer  # loads a library that no listing needs

    try:
        read_tokenizer(folder, model_config(read_json(folder / "config.json"), where=str(folder / "config.json")))
    except UnsupportedCheckpoint as error:
        return error.message.removesuffix(".")
    return None


def _numbers(path: Path) -> str | None:
    from models.checkpoint_format.finite import numbers_problem  # loads NumPy

    try:
        return numbers_problem(path)
    except (UnsupportedCheckpoint, OSError) as error:
        return f"cannot be read: {error}".removesuffix(".")
