"""The talker's hidden state and a frame's first code → the frame's other codes, one pass each.

Mirrors Qwen3-TTS `modeling_qwen3_tts.py`, Qwen3TTSTalkerCodePredictorModelForConditionalGeneration.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx
from mlx import nn

from models.checkpoint_format.config import TalkerConfig
from models.qwen3_tts.network.decoder_layer import Decoder, Projection
from models.qwen3_tts.network.kv_cache import GrowingKVCache
from models.qwen3_tts.network.linear import Linear
from models.qwen3_tts.network.mlx_ops import Ops, causal_mask
from models.qwen3_tts.network.talker import table_bounds

Sample = Callable[[mx.array, int], mx.array]  # logits (B, K) of codebook g -> codes (B, 1)


class CodePredictor(nn.Module):
    """The small transformer. It starts afresh with every frame, so its cache holds one position a codebook."""

    def __init__(self, config: TalkerConfig, ops: Ops, *, dtype: mx.Dtype) -> None:
        super().__init__()
        own = config.code_predictor_config
        self.config, self.ops, self.table_bounds = own, ops, tuple(table_bounds(config))
        self.small_to_mtp_projection: Projection | None = None
        if config.hidden_size != own.hidden_size:
            self.small_to_mtp_projection = Linear(config.hidden_size, own.hidden_size, bias=True)
        self.model = Decoder(own)
        self.lm_head: list[Projection] = [
            Linear(own.hidden_size, own.vocab_size) for _ in range(own.num_code_groups - 1)
        ]
        # The same angles in every frame: positions 0 and 1 together, then one at a time.
        self.ropes = tuple(
            tuple(ops.rope(first, length, head_dim=own.head_dim, theta=own.rope_theta))
            for first, length in [(0, 2)] + [(position, 1) for position in range(2, own.num_code_groups)]
        )
        self.mask = causal_mask(2, start=0, dtype=dtype)
        self.code_inputs: tuple[mx.array, ...] = ()  # by codebook, `(K, D')`

    def take_codes(self, codec_table: mx.array) -> None:
        """Compute each code's input embedding, once: its projection never changes."""
        self.code_inputs = tuple(by_codebook(self.project(codec_table), self.table_bounds))
        mx.eval(self.code_inputs)

    def project(self, x: mx.array) -> mx.array:
        """Talker width -> this network's."""
        return x if self.small_to_mtp_projection is None else self.small_to_mtp_projection(x)

    def predict_frame(self, hidden: mx.array, first: mx.array, sample: Sample) -> mx.array:
        """The talker's hidden states `(B, D)` and first codes `(B, 1)` -> whole frames `(B, Q)`."""
        caches = [GrowingKVCache() for _ in self.model.layers]
        codes = [first]
        for group, (rope, head) in enumerate(zip(self.ropes, self.lm_head, strict=True)):
            x = self.code_inputs[group][codes[-1]]  # (B, 1, D)
            if group == 0:
                x = mx.concatenate([self.project(hidden)[:, None], x], axis=1)  # (B, 2, D)
                x = self.model(x, caches=caches, rope=rope, mask=self.mask, ops=self.ops)[:, -1]
            else:
                x = self.model(mx.squeeze(x, 1), caches=caches, rope=rope, mask=None, ops=self.ops)  # (B, D)
            codes.append(sample(head(x), group))
        return mx.concatenate(codes, axis=-1)


def by_codebook(table: Any, bounds: Sequence[int]) -> list[Any]:
    """The rows of each codebook, as parts of an array of MLX or NumPy."""
    return [table[start:stop] for start, stop in itertools.pairwise(bounds)]
