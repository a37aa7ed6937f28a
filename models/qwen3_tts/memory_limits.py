"""A loaded model and a memory limit → rows of a batch, and limits of MLX's own.

Metal and CUDA are untested here.
"""

from __future__ import annotations

import mlx.core as mx

from models.qwen3_tts.speech_model import SpeechModel

TYPICAL_POSITIONS = 512  # prompt and frames of a long line
ROW_OVERHEAD_BYTES = 48 << 20  # one row's share of prefill, sampling and decoding
FIXED_OVERHEAD_BYTES = 512 << 20  # the process itself, and a decode
CACHE_BYTES = 512 << 20  # freed buffers that MLX may keep for the next frame


def row_bytes(model: SpeechModel) -> int:
    """Bytes that one more row of a batch needs."""
    config = model.config.talker_config
    per_position = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim
    number_bytes = 4 if model.dtype == "float32" else 2
    return per_position * number_bytes * TYPICAL_POSITIONS + ROW_OVERHEAD_BYTES


def rows_that_fit(model: SpeechModel, memory_limit_bytes: int, *, at_most: int) -> int:
    """Rows for which the memory left beside the weights is enough, at least one."""
    left_bytes = memory_limit_bytes - mx.get_active_memory() - model.host_bytes - FIXED_OVERHEAD_BYTES
    return max(1, min(at_most, left_bytes // row_bytes(model)))


def set_memory_limits(memory_limit_bytes: int | None) -> None:
    """Limit the memory that MLX keeps."""
    mx.set_cache_limit(CACHE_BYTES)
    if memory_limit_bytes is not None:
        mx.set_memory_limit(memory_limit_bytes)


def wired_bytes(model: SpeechModel, *, rows: int) -> int:
    """Bytes that macOS should not page out while `rows` rows are generated: the weights and their caches."""
    return int(mx.get_active_memory()) + rows * row_bytes(model)
