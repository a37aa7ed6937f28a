"""The talker's hidden state and a frame's first code → the frame's other codes, one pass each.

Mirrors Qwen3-TTS `modeling_qwen3_tts.py`, Qwen3TTSTalkerCodePredictorModelForConditionalGeneration.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx

from models.qwen3_tts.checkpoint.config import TalkerConfig
from models.qwen3_tts.checkpoint.weight_reader import Linear, QuantizedLinear, Reader, StoredLinear, materialize
from models.qwen3_tts.network.decoder_layer import DecoderLayer
from models.qwen3_tts.network.kv_cache import GrowingCache
from models.qwen3_tts.network.mlx_ops import Kernels
from models.qwen3_tts.network.talker import causal_mask

Draw = Callable[[mx.array, int], mx.array]  # logits (B, K) of codebook g -> codes (B, 1)


class CodePredictor:
    """The small transformer. It starts every frame anew, so its cache holds one position a codebook."""

    def __init__(self, config: TalkerConfig, reader: Reader, kernels: Kernels, *, codec_table: Any) -> None:
        own = config.code_predictor_config
        self.config, self.kernels = own, kernels
        path = "talker.code_predictor"
        self.projection: Linear | QuantizedLinear | StoredLinear | None = None
        if config.hidden_size != own.hidden_size:
            shape = (own.hidden_size, config.hidden_size)
            self.projection = reader.linear(f"{path}.small_to_mtp_projection", shape, bias=True)
        starts = [0] + [config.vocab_size + own.vocab_size * group for group in range(own.num_code_groups - 1)]
        self.codec_table, self.bounds = codec_table, [*starts, starts[-1] + own.vocab_size]
        self.inputs = self._inputs() if isinstance(codec_table, mx.array) else None  # else NumPy's network makes them
        self.code_inputs = [] if self.inputs is None else by_codebook(self.inputs, self.bounds)
        self.layers = [
            DecoderLayer(own, reader, f"{path}.model.layers.{index}") for index in range(own.num_hidden_layers)
        ]
        self.norm = reader.tensor(f"{path}.model.norm.weight", (own.hidden_size,))
        self.heads = [
            reader.linear(f"{path}.lm_head.{group}", (own.vocab_size, own.hidden_size))
            for group in range(own.num_code_groups - 1)
        ]
        # Every frame rotates by the same angles: positions 0 and 1 together, then one at a time.
        self.rotations = [
            kernels.rotation(first, length, head_size=own.head_dim, theta=own.rope_theta)
            for first, length in [(0, 2)] + [(position, 1) for position in range(2, own.num_code_groups)]
        ]
        self.mask = causal_mask(2, start=0, dtype=reader.dtype)

    def _inputs(self) -> mx.array:
        """What a code looks like to this network does not change, so its projection is computed once, for all codes."""
        table: mx.array = self.codec_table
        return table if self.projection is None else self.projection(table)

    def materialize(self) -> None:
        """Read the weights, one layer at a time."""
        if self.projection is not None:
            materialize(self.projection.arrays())
        materialize([] if self.inputs is None else [self.inputs])
        materialize([*self.code_inputs, self.mask])
        for layer in self.layers:
            materialize(layer.arrays())
        materialize([self.norm, *(array for head in self.heads for array in head.arrays())])

    def fill(self, hidden: mx.array, first: mx.array, draw: Draw) -> mx.array:
        """The talker's hidden states `(B, D)` and first codes `(B, 1)` -> whole frames `(B, Q)`."""
        caches = [GrowingCache() for _ in self.layers]
        start = hidden if self.projection is None else self.projection(hidden)
        code = first
        x = mx.concatenate([start[:, None], self.code_inputs[0][code]], axis=1)  # (B, 2, D)
        codes = [first]
        for group, turn in enumerate(self.rotations):
            if group:
                x = mx.squeeze(self.code_inputs[group][code], 1)  # (B, D)
            for layer, cache in zip(self.layers, caches, strict=True):
                mask = None if group else self.mask
                x = layer(x, cache=cache, turn=turn, mask=mask, kernels=self.kernels)
            last = self.kernels.rms_norm(x if group else x[:, -1], self.norm, self.config.rms_norm_eps)
            code = draw(self.heads[group](last), group)
            codes.append(code)
        return mx.concatenate(codes, axis=-1)


def by_codebook(inputs: Any, bounds: Sequence[int]) -> list[Any]:
    """The rows of each codebook, as parts of an array of MLX or NumPy."""
    return [inputs[start:stop] for start, stop in itertools.pairwise(bounds)]
