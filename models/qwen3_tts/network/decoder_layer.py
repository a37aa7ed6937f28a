"""Hidden states → hidden states: the Qwen3 decoder layer that the talker and the code predictor share, and its cache.

Queries and keys are normalised per head; head size and hidden size are independent.
Mirrors Qwen3-TTS `modeling_qwen3_tts.py`, Qwen3TTSDecoderLayer and Qwen3TTSTalkerDecoderLayer.
"""

from __future__ import annotations

from typing import Protocol

import mlx.core as mx

from models.qwen3_tts.checkpoint.config import PredictorConfig, TalkerConfig
from models.qwen3_tts.checkpoint.weight_reader import Projection, Reader
from models.qwen3_tts.network.mlx_ops import HeadNorms, Kernels, Turn


class LayerCache(Protocol):
    """Where one layer keeps the keys and values of a batch."""

    def extend(self, keys_values: mx.array) -> tuple[mx.array, mx.array]:
        """Add new keys and values `(B, 2 G, L, E)`; returns all that the new queries may see, each `(B, G, K, E)`."""
        ...


class DecoderLayer:
    """Attention and gated feed-forward, each normalised before and added to its input."""

    def __init__(self, config: TalkerConfig | PredictorConfig, reader: Reader, path: str) -> None:
        width, heads, groups = config.hidden_size, config.num_attention_heads, config.num_key_value_heads
        self.eps, self.head_size, self.heads, self.groups = config.rms_norm_eps, config.head_dim, heads, groups
        attention, feed = f"{path}.self_attn", f"{path}.mlp"
        self.input_norm = reader.tensor(f"{path}.input_layernorm.weight", (width,))
        outputs = [count * self.head_size for count in (heads, groups, groups)]
        self.queries_keys_values: Projection = reader.fused(
            [f"{attention}.{name}_proj" for name in "qkv"], outputs, width, bias=config.attention_bias
        )
        query_norm = reader.tensor(f"{attention}.q_norm.weight", (self.head_size,))
        key_norm = reader.tensor(f"{attention}.k_norm.weight", (self.head_size,))
        self.norms = HeadNorms.of(query_norm, key_norm, heads=heads, groups=groups, eps=self.eps)
        self.output: Projection = reader.linear(
            f"{attention}.o_proj", (width, heads * self.head_size), bias=config.attention_bias
        )
        self.output_has_bias = config.attention_bias
        self.feed_norm = reader.tensor(f"{path}.post_attention_layernorm.weight", (width,))
        inner = config.intermediate_size
        self.gate_up: Projection = reader.fused([f"{feed}.gate_proj", f"{feed}.up_proj"], [inner, inner], width)
        self.down: Projection = reader.linear(f"{feed}.down_proj", (width, inner))

    def arrays(self) -> list[mx.array]:
        norms = [self.input_norm, *self.norms.arrays(), self.feed_norm]
        parts = (self.queries_keys_values, self.output, self.gate_up, self.down)
        return norms + [array for part in parts for array in part.arrays()]

    def __call__(
        self, x: mx.array, *, cache: LayerCache, turn: Turn, mask: mx.array | None, kernels: Kernels
    ) -> mx.array:
        """`(B, L, D)` -> `(B, L, D)`, or `(B, D)` -> `(B, D)`, for positions that follow those in `cache`."""
        queries, keys_values = self._heads(x, turn, kernels)
        keys, values = cache.extend(keys_values)
        return self._rest(x, kernels.attention(queries, keys, values, mask), kernels)  # attention gives (B, H, L, E)

    def _heads(self, x: mx.array, turn: Turn, kernels: Kernels) -> tuple[mx.array, mx.array]:
        joint = self.queries_keys_values(kernels.rms_norm(x, self.input_norm, self.eps))
        count = self.heads + 2 * self.groups
        if x.ndim == 2:  # single positions: fewer views to make
            joint = joint.reshape(-1, count, 1, self.head_size)
        else:
            joint = joint.reshape(*x.shape[:2], count, self.head_size).swapaxes(1, 2)
        return kernels.rotate(joint, self.norms, turn)

    def _rest(self, x: mx.array, mixed: mx.array, kernels: Kernels) -> mx.array:
        mixed = (mixed if x.ndim == 2 else mixed.swapaxes(1, 2)).reshape(*x.shape[:-1], -1)
        x = x + self.output(mixed) if self.output_has_bias else self.output.plus(x, mixed)
        gate_up = self.gate_up(kernels.rms_norm(x, self.feed_norm, self.eps))
        return self.down.plus(x, kernels.gated(gate_up))
