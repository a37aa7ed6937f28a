"""A model choice → the engine that opens it.

Engines are imported when they are chosen, so that one can be missing (eSpeak NG, MLX) without the others noticing.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path

from models.errors import UnsupportedRequest
from models.protocol import Engine, ModelChoice
from registry.errors import nearest

DRAFT = "draft"
QWEN3_TTS = "qwen3-tts"
ENGINE_NAMES = (DRAFT, QWEN3_TTS)


def open_engine(choice: ModelChoice) -> Engine:
    """Open the model that `choice` names. Raises an error of the project's tree when it cannot be."""
    if choice.engine == DRAFT:
        return _open_draft(choice)
    if choice.engine == QWEN3_TTS:
        return _open_qwen3_tts(choice)
    if ":" in choice.engine and os.environ.get("VOICEJOBS_TEST_ENGINES"):
        return _open_test_engine(choice)
    near = nearest(choice.engine, ENGINE_NAMES) or ENGINE_NAMES
    raise UnsupportedRequest(f"There is no engine {choice.engine!r}.", hint=f"Did you mean {', '.join(near)}?")


def _open_draft(choice: ModelChoice) -> Engine:
    from models.draft.engine import open_draft

    return open_draft(model=choice.model or DRAFT)


def _open_qwen3_tts(choice: ModelChoice) -> Engine:
    if choice.folder is None:
        raise UnsupportedRequest(f"The model {choice.model!r} needs the folder of its weights.")
    from models.hardware.blas import AUTO, load_blas

    load_blas(choice.blas or AUTO)  # before mlx is imported: it binds its BLAS as it loads
    from models.qwen3_tts.engine import open_qwen3_tts

    return open_qwen3_tts(
        Path(choice.folder),
        model=choice.model,
        dtype=choice.dtype,
        batch=choice.batch,
        memory_limit_bytes=choice.memory_limit_bytes,
        backend=choice.formulation,
        memory_factor=choice.memory_factor,
        memory_check=choice.memory_check,
    )


def _open_test_engine(choice: ModelChoice) -> Engine:
    module_name, _, function_name = choice.engine.partition(":")
    engine: Engine = getattr(importlib.import_module(module_name), function_name)(choice)
    return engine
