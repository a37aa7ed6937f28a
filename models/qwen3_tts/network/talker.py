"""Prompt and past frames → the talker's hidden state and the logits of the next frame's first code.

Of the codec vocabulary only the codes and the end of speech can ever be drawn, so the head keeps their rows only:
logits have `K + 1` columns, the last one being the end of speech.
Mirrors Qwen3-TTS `modeling_qwen3_tts.py`, Qwen3TTSTalkerForConditionalGeneration.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
import numpy as np
from mlx import nn

from models.checkpoint_format.config import SPECIAL_CODES, TalkerConfig
from models.qwen3_tts.network.decoder_layer import Decoder, LayerCache, Projection
from models.qwen3_tts.network.kv_cache import SlottedKVCache
from models.qwen3_tts.network.linear import Linear
from models.qwen3_tts.network.mlx_ops import Ops
from models.qwen3_tts.prompt.prompt import PromptPlan


class TextProjection(nn.Module):
    """Text embedding → talker width: two layers with a SiLU between."""

    def __init__(self, config: TalkerConfig) -> None:
        super().__init__()
        text, width = config.text_hidden_size, config.hidden_size
        self.linear_fc1: Projection = Linear(text, text, bias=True)
        self.linear_fc2: Projection = Linear(text, width, bias=True)

    def __call__(self, x: mx.array) -> mx.array:
        x = self.linear_fc1(x)
        return self.linear_fc2(x * mx.sigmoid(x))


class Talker(nn.Module):
    """The large transformer. Its embedding tables are set when weights are loaded.

    `codec_table` holds the embeddings of every codebook, the first one's whole vocabulary first, so that a frame's
    embedding is one gather and one sum; its last row is zero.
    """

    text_embedding: Any  # rows of it; NumPy's tables where only NumPy's network uses them
    codec_table: Any

    def __init__(self, config: TalkerConfig, ops: Ops, *, dtype: mx.Dtype) -> None:
        super().__init__()
        self.config, self.ops, self.dtype = config, ops, dtype
        self.codes = config.vocab_size - SPECIAL_CODES  # K
        self.table_starts = mx.array(table_bounds(config)[:-1], dtype=mx.int32)  # (Q,)
        self.text_projection = TextProjection(config)
        self.model = Decoder(config)
        drawn = [*range(self.codes), config.codec_eos_token_id]
        self.codec_head: Projection = Linear(config.hidden_size, config.vocab_size, rows=drawn)

    def make_cache(self) -> SlottedKVCache:
        config = self.config
        return SlottedKVCache(
            layers=config.num_hidden_layers,
            kv_heads=config.num_key_value_heads,
            head_dim=config.head_dim,
            dtype=self.dtype,
        )

    def embed_text(self, ids: mx.array) -> mx.array:
        """Token ids `(N,)` -> `(N, D)`."""
        return self.text_projection(self.text_embedding[ids].astype(self.dtype))

    def embed_codes(self, codes: mx.array) -> mx.array:
        """One input a codec frame: the sum of its codebooks' embeddings. `(..., Q)` -> `(..., D)`."""
        embedded: mx.array = self.codec_table[codes + self.table_starts].sum(axis=-2)
        return embedded

    def embed_prompt(self, plan: PromptPlan) -> mx.array:
        """A prompt's input embeddings `(L, D)`: at each position the text's and the codec's, added."""
        zero_row = self.codec_table.shape[0] - 1
        indices = np.where(plan.codes < 0, zero_row, plan.codes + np.array(self.table_starts))
        embedded: mx.array = self.embed_text(mx.array(plan.text_ids)) + self.codec_table[mx.array(indices)].sum(axis=1)
        if plan.speaker_at is not None and plan.speaker_embedding is not None:
            embedded[plan.speaker_at] += mx.array(plan.speaker_embedding).astype(self.dtype)
        return embedded

    def __call__(
        self, x: mx.array, *, caches: Sequence[LayerCache], first: mx.array | int, mask: mx.array | None
    ) -> mx.array:
        """Input embeddings `(B, L, D)`, or `(B, D)` of one position each -> normalised hidden states of that shape.

        `first` is the first one's position: one number, or one a row `(B,)`.
        """
        length = 1 if x.ndim == 2 else x.shape[1]
        rope = self.ops.rope(first, length, head_dim=self.config.head_dim, theta=self.config.rope_theta)
        return self.model(x, caches=caches, rope=rope, mask=mask, ops=self.ops)

    def logits(self, hidden: mx.array) -> mx.array:
        """Normalised hidden states `(B, D)` -> `(B, K + 1)` float32, the end of speech last."""
        return self.codec_head(hidden).astype(mx.float32)


def table_bounds(config: TalkerConfig) -> list[int]:
    """Where each codebook's rows of `codec_table` start, and where the last one's end."""
    own = config.code_predictor_config
    return [0, *(config.vocab_size + own.vocab_size * group for group in range(config.num_code_groups))]
