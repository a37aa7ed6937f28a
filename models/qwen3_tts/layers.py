"""Hidden states → hidden states: the Qwen3 decoder layer that the talker and the code predictor share, and its cache.

Queries and keys are normalised per head; head size and hidden size are independent.
Mirrors Qwen3-TTS `modeling_qwen3_tts.py`, Qwen3TTSDecoderLayer and Qwen3TTSTalkerDecoderLayer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import mlx.core as mx

from models.qwen3_tts.config import PredictorConfig, TalkerConfig
from models.qwen3_tts.kernels import HeadNorms, Kernels, Turn
from models.qwen3_tts.reading import Projection, Reader


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
        self.norms = HeadNorms(
            heads=heads,
            groups=groups,
            eps=self.eps,
            unit=mx.ones((self.head_size,), dtype=reader.dtype),
            weights=mx.concatenate(
                [
                    mx.repeat(norm[None, None], count, axis=0)
                    for norm, count in ((query_norm, heads), (key_norm, groups), (mx.zeros_like(key_norm), groups))
                ]
            ),
            is_value=(mx.arange(heads + 2 * groups) >= heads + groups).astype(reader.dtype)[:, None, None, None],
        )
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
        """`(B, L, D)` -> `(B, L, D)`, for positions that follow those in `cache`."""
        return run_parts(self.parts(kernels), x, cache=cache, turn=turn, mask=mask, kernels=kernels)

    def parts(self, kernels: Kernels) -> Parts:
        """What comes before and after attention, which alone looks at the past."""

        def before(x: mx.array, turn: Turn) -> tuple[mx.array, mx.array]:
            return self._heads(x, turn, kernels)

        def after(x: mx.array, mixed: mx.array) -> mx.array:
            return self._rest(x, mixed, kernels)

        return before, after

    def _heads(self, x: mx.array, turn: Turn, kernels: Kernels) -> tuple[mx.array, mx.array]:
        batch, length, _ = x.shape
        joint = self.queries_keys_values(kernels.rms_norm(x, self.input_norm, self.eps))
        joint = joint.reshape(batch, length, self.heads + 2 * self.groups, self.head_size).swapaxes(1, 2)
        return kernels.rotate(joint, self.norms, turn)

    def _rest(self, x: mx.array, mixed: mx.array, kernels: Kernels) -> mx.array:
        batch, length, _ = x.shape
        mixed = mixed.swapaxes(1, 2).reshape(batch, length, -1)
        x = x + self.output(mixed) if self.output_has_bias else self.output.plus(x, mixed)
        gate_up = self.gate_up(kernels.rms_norm(x, self.feed_norm, self.eps))
        return self.down.plus(x, kernels.gated(gate_up))


Parts = tuple[Callable[[mx.array, Turn], tuple[mx.array, mx.array]], Callable[[mx.array, mx.array], mx.array]]


def run_parts(
    parts: Parts, x: mx.array, *, cache: LayerCache, turn: Turn, mask: mx.array | None, kernels: Kernels
) -> mx.array:
    """One layer, by its parts: `(B, L, D)` -> `(B, L, D)`."""
    before, after = parts
    queries, keys_values = before(x, turn)
    keys, values = cache.extend(keys_values)
    return after(x, kernels.attention(queries, keys, values, mask))  # attention gives (B, H, L, E)
