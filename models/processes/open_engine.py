"""A model choice → the engine that opens it.

Engines are imported when they are chosen, so that one can be missing (eSpeak NG, MLX) without the others noticing.
"""

from __future__ import annotations

import importlib
from pathlib import Path

from models.engine_kinds import engine_names, kind_named
from models.errors import UnsupportedRequest
from models.protocol import Engine, ModelChoice
from registry.errors import nearest


def open_engine(choice: ModelChoice) -> Engine:
    """Open the model that `choice` names. Raises an error of the project's tree when it cannot be."""
    kind = kind_named(choice.engine)
    if kind is None:
        near = nearest(choice.engine, engine_names()) or engine_names()
        raise UnsupportedRequest(f"There is no engine {choice.engine!r}.", hint=f"Did you mean {', '.join(near)}?")
    module_name, _, function_name = kind.opener.partition(":")
    engine: Engine = getattr(importlib.import_module(module_name), function_name)(choice)
    return engine


def open_qwen3_tts(choice: ModelChoice) -> Engine:
    """A Qwen3-TTS model, opened after the BLAS that MLX binds while it is imported."""
    if choice.folder is None:
        raise UnsupportedRequest(f"The model {choice.model!r} needs the folder of its weights.")
    from models.hardware.blas import AUTO, load_blas

    load_blas(choice.blas or AUTO)
    from models.qwen3_tts import engine

    return engine.open_qwen3_tts(
        Path(choice.folder),
        model=choice.model,
        dtype=choice.dtype,
        batch=choice.batch,
        memory_limit_bytes=choice.memory_limit_bytes,
        backend=choice.formulation,
        memory_factor=choice.memory_factor,
        memory_check=choice.memory_check,
    )
