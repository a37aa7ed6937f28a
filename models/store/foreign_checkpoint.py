"""A model folder that another library loads → why it is never loaded here: pickled weights, or code of its own.

This module reads the disk and changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from registry.durable_files import read_regular

PICKLES = (".bin", ".pt", ".pth", ".ckpt")
SAFE_WEIGHTS = (".safetensors", ".npz")
CONFIGS = ("config.json", "tokenizer_config.json", "processor_config.json", "preprocessor_config.json")
MAX_CONFIG_BYTES = 4_000_000


def pickled_weights(folder: Path) -> str | None:
    """The name of a pickle in a folder that has no weights of another kind."""
    try:
        names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    except OSError:
        return None
    if any(name.endswith(SAFE_WEIGHTS) for name in names):
        return None
    return next((name for name in names if name.endswith(PICKLES)), None)


def loading_problems(folder: Path, *, needs_weights: bool = True) -> Iterator[tuple[str, str]]:
    """(file, what is wrong with it) for everything that forbids to load the folder."""
    if needs_weights:
        if pickle := pickled_weights(folder):
            yield pickle, "is a pickle, which can run any code when it is read, and is never loaded"
        elif not any(path.suffix in SAFE_WEIGHTS for path in folder.glob("*.*")):
            yield "model.safetensors", "is missing"
    for name in CONFIGS:
        if code := _own_code(folder / name):
            yield name, f"asks to run code of the repository ({code}), as trust_remote_code would; it is never run"


def _own_code(path: Path) -> str:
    """The classes that a config wants loaded from Python files beside it."""
    try:
        config: Any = json.loads(read_regular(path, at_most=MAX_CONFIG_BYTES))
    except (OSError, ValueError, RecursionError):
        return ""  # whoever needs the file says what is wrong with it
    if not isinstance(config, dict):
        return ""
    if config.get("model_file"):  # mlx-lm's key
        return str(config["model_file"])
    wanted = config.get("auto_map")
    if isinstance(wanted, dict):
        return ", ".join(sorted(str(name) for name in wanted)) or "auto_map"
    return "auto_map" if wanted else ""
