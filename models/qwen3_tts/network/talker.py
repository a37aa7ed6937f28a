"""Prompt and past frames → the talker's hidden state and the logits of the next frame's first code.

Of the codec vocabulary only the codes and the end of speech can ever be drawn, so the head keeps their rows only:
logits have `K + 1` columns, the last one being the end of speech.
Mirrors Qwen3-TTS `modeling_qwen3_tts.py`, Qwen3TTSTalkerForConditionalGeneration.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx
import numpy as np

from models.qwen3_tts.checkpoint.config import SPECIAL_CODES, TalkerConfig
from models.qwen3_tts.checkpoint.weight_reader import Reader, materialize
from models.qwen3_tts.network.decoder_layer import DecoderLayer
from models.qwen3_tts.network.kv_cache import FixedView, PrefillView, SlotCache, StepView
from models.qwen3_tts.network.mlx_ops import Kernels
from models.qwen3_tts.prompt.prompt import PromptPlan

# codes (B, Q), text (B or 1, D), positions (B,), caches -> hidden states (B, D), caches
Step = Callable[[mx.array, mx.array, mx.array, list[mx.array]], tuple[mx.array, list[mx.array]]]


class TextProjection:
    """Text embedding → talker width: two layers with a SiLU between."""

    def __init__(self, config: TalkerConfig, reader: Reader) -> None:
        text, width = config.text_hidden_size, config.hidden_size
        self.linear_fc1 = reader.linear("talker.text_projection.linear_fc1", (text, text), bias=True)
        self.linear_fc2 = reader.linear("talker.text_projection.linear_fc2", (width, text), bias=True)

    def __call__(self, x: mx.array) -> mx.array:
        x = self.linear_fc1(x)
        return self.linear_fc2(x * mx.sigmoid(x))

    def arrays(self) -> list[mx.array]:
        return self.linear_fc1.arrays() + self.linear_fc2.arrays()


class Talker:
    """The large transformer. `codec_table` holds the embeddings of every codebook, the first one's whole vocabulary
    first, so that a frame's embedding is one gather and one sum; its last row is zero."""

    def __init__(self, config: TalkerConfig, reader: Reader, kernels: Kernels) -> None:
        self.config, self.kernels, self.dtype = config, kernels, reader.dtype
        self.codes = config.vocab_size - SPECIAL_CODES  # K
        width, groups = config.hidden_size, config.num_code_groups
        self.text_embedding = reader.rows_of_table(
            "talker.model.text_embedding.weight", (config.text_vocab_size, config.text_hidden_size)
        )
        self.text_projection = TextProjection(config, reader)
        size = config.code_predictor_config.vocab_size
        tables = {"talker.model.codec_embedding.weight": (config.vocab_size, width)}
        for group in range(groups - 1):
            tables[f"talker.code_predictor.model.codec_embedding.{group}.weight"] = (size, width)
        self.codec_table: Any = reader.tables(tables)  # NumPy's where only NumPy's network will use it
        starts = [0] + [config.vocab_size + size * group for group in range(groups - 1)]
        self.table_starts = mx.array(starts, dtype=mx.int32)  # (Q,)
        self.layers = [
            DecoderLayer(config, reader, f"talker.model.layers.{index}") for index in range(config.num_hidden_layers)
        ]
        self.norm = reader.tensor("talker.model.norm.weight", (width,))
        drawn = [*range(self.codes), config.codec_eos_token_id]
        self.codec_head = reader.linear("talker.codec_head", (config.vocab_size, width), rows=drawn)

    def materialize(self) -> None:
        """Read the weights, one layer at a time."""
        whole = [self.text_embedding] if isinstance(self.text_embedding, mx.array) else []
        materialize([*whole, *self.text_projection.arrays()])
        materialize([self.codec_table] if isinstance(self.codec_table, mx.array) else [])
        materialize([self.table_starts])
        for layer in self.layers:
            materialize(layer.arrays())
        materialize([self.norm, *self.codec_head.arrays()])

    def make_cache(self) -> SlotCache:
        return SlotCache(
            layers=len(self.layers),
            groups=self.config.num_key_value_heads,
            head_size=self.config.head_dim,
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
        """A prompt's input embeddings `(L, D)`: text everywhere, and beside it what the codec side says there."""
        zero_row = self.codec_table.shape[0] - 1
        indices = np.where(plan.codes < 0, zero_row, plan.codes + np.array(self.table_starts))
        embedded: mx.array = self.embed_text(mx.array(plan.text_ids)) + self.codec_table[mx.array(indices)].sum(axis=1)
        if plan.speaker_at is not None and plan.speaker_embedding is not None:
            embedded[plan.speaker_at] += mx.array(plan.speaker_embedding).astype(self.dtype)
        return embedded

    def prefill(
        self, prompts: Sequence[mx.array], *, cache: SlotCache, slots: Sequence[int], shared: int = 0
    ) -> mx.array:
        """Run prompts `(L_i, D)` into their `slots`, and return each row's last hidden state `(B, D)`, normalised.

        The first `shared` positions, equal in all prompts, are computed once.
        """
        if shared:
            self._run(prompts[0][None, :shared], cache=cache, slots=slots, start=0)
        longest = max(prompt.shape[0] for prompt in prompts) - shared
        # Padding stands behind a prompt, where causal attention cannot see it.
        padded = mx.stack(
            [mx.pad(prompt[shared:], [(0, longest - prompt.shape[0] + shared), (0, 0)]) for prompt in prompts]
        )
        hidden = self._run(padded, cache=cache, slots=slots, start=shared)  # (B, L, D)
        last = mx.array([prompt.shape[0] - shared - 1 for prompt in prompts])
        hidden = hidden[mx.arange(len(prompts)), last]
        return self.kernels.rms_norm(hidden, self.norm, self.config.rms_norm_eps)

    def _run(self, x: mx.array, *, cache: SlotCache, slots: Sequence[int], start: int) -> mx.array:
        length = x.shape[1]
        config = self.config
        turn = self.kernels.rotation(start, length, head_size=config.head_dim, theta=config.rope_theta)
        mask = causal_mask(length, start=start, dtype=x.dtype) if length > 1 else None
        for index, layer in enumerate(self.layers):
            view = PrefillView(cache=cache, layer=index, slots=slots, start=start)
            x = layer(x, cache=view, turn=turn, mask=mask, kernels=self.kernels)
        return x

    def step(self, codes: mx.array, text: mx.array, *, cache: SlotCache, positions: Sequence[int]) -> mx.array:
        """One more position for each of the first rows: the frame just made `(B, Q)` and the text beside it
        `(B or 1, D)` -> normalised hidden states `(B, D)`."""
        if self.kernels.fused:
            at = mx.array(list(positions), dtype=mx.uint32)  # as indices are wanted
            hidden, cache.layers = self._compiled_step(codes, text, at, cache.layers)
            return hidden
        return self._plain_step(self.embed_codes(codes) + text, cache=cache, positions=positions)

    @functools.cached_property
    def _compiled_step(self) -> Step:
        """Python builds the whole step's graph once for each number of rows and of columns, and not every frame."""
        return mx.compile(self._fixed_step)

    def _fixed_step(
        self, codes: mx.array, text: mx.array, at: mx.array, layers: list[mx.array]
    ) -> tuple[mx.array, list[mx.array]]:
        """A step over the caches' whole length, so that its shapes stay the same: positions `at` `(B,)` are data."""
        config, kernels = self.config, self.kernels
        turn = kernels.rotation(at, 1, head_size=config.head_dim, theta=config.rope_theta)
        x = self.embed_codes(codes) + text  # (B, D)
        columns = mx.arange(layers[0].shape[2], dtype=mx.uint32)
        mask = mx.where(columns <= at[:, None], 0.0, -mx.inf).astype(x.dtype)[:, None, None]
        heads = mx.arange(2 * config.num_key_value_heads, dtype=mx.uint32)
        places = (mx.arange(len(at), dtype=mx.uint32)[:, None], heads[None], at[:, None])
        written = []
        for layer, stored in zip(self.layers, layers, strict=True):
            view = FixedView(stored=stored, places=places)
            x = layer(x, cache=view, turn=turn, mask=mask, kernels=kernels)
            written.append(view.stored)
        return kernels.rms_norm(x, self.norm, config.rms_norm_eps), written

    def _plain_step(self, x: mx.array, *, cache: SlotCache, positions: Sequence[int]) -> mx.array:
        """A step over the columns that are needed now, its graph built anew."""
        config = self.config
        at = mx.array(list(positions), dtype=mx.int32)
        columns = max(positions) + 1
        rows = mx.arange(len(positions))
        turn = self.kernels.rotation(at, 1, head_size=config.head_dim, theta=config.rope_theta)
        mask = None
        aligned = min(positions) + 1 == columns
        if not aligned:
            mask = mx.where(mx.arange(columns) <= at[:, None], 0.0, -mx.inf).astype(x.dtype)[:, None, None]
        for index, layer in enumerate(self.layers):
            view = StepView(cache=cache, layer=index, rows=rows, positions=at, columns=columns, aligned=aligned)
            x = layer(x, cache=view, turn=turn, mask=mask, kernels=self.kernels)
        return self.kernels.rms_norm(x, self.norm, config.rms_norm_eps)

    def logits(self, hidden: mx.array) -> mx.array:
        """Normalised hidden states `(B, D)` -> `(B, K + 1)` float32, the end of speech last."""
        return self.codec_head(hidden).astype(mx.float32)


def causal_mask(length: int, *, start: int, dtype: mx.Dtype) -> mx.array:
    """Additive `(1, 1, L, start + L)`: a position sees those before it, and itself."""
    visible = mx.arange(start + length) <= mx.arange(start, start + length)[:, None]
    return mx.where(visible, 0.0, -mx.inf).astype(dtype)[None, None]
