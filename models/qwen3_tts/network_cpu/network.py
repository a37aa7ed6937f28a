"""The networks for CPUs, by NumPy: the same numbers as by MLX, many times faster there.

Why: the matrix products of MLX's Linux wheel run on a reference BLAS, and any library put in its place is asked for
`x W^T` with one row as a matrix product, which OpenBLAS computes at a fifth of the memory's speed. NumPy brings an
OpenBLAS of its own, asks it for a matrix-vector product there, and lets us compute `W x` for more rows, which that
library does twice as fast. Weights are MLX arrays, whose memory NumPy reads; nothing is copied. Where LLVM is
installed, weights that are stored in bfloat16 stay so, and are read by NumPy itself (`bf16_linear.py`); quantised ones
stay packed (`packed_linear.py`).

Rows of any length run as one list of positions, without padding: `(N, D)`, N being the positions of all rows.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence

import mlx.core as mx
import numpy as np
import numpy.typing as npt
from mlx import nn

from models.qwen3_tts.checkpoint.tensor_file import Bfloat16Table
from models.qwen3_tts.network.backend import FramePredictor
from models.qwen3_tts.network.code_predictor import CodePredictor, by_codebook
from models.qwen3_tts.network.linear import Bfloat16Linear, PackedLinear, QuantizedLinear
from models.qwen3_tts.network.talker import Talker
from models.qwen3_tts.network_cpu.decoder_layer import NumpyDecoder, NumpyKVCache, attend_rows, attend_together
from models.qwen3_tts.network_cpu.linear import linear_for, numpy_view
from models.qwen3_tts.network_cpu.sampler import NumpySampler
from models.qwen3_tts.numpy_ops import Floats
from models.qwen3_tts.prompt.prompt import PromptPlan
from models.qwen3_tts.prompt.sampling import Sampling, logit_sizes
from models.qwen3_tts.worker_threads import Workers

Codes = npt.NDArray[np.int64]
Table = Floats | Bfloat16Table  # rows to be looked up
Sample = Callable[[Floats, int], Codes]  # logits (B, K) of codebook g -> codes (B, 1)


class NumpyNetwork:
    """By NumPy."""

    runs_beside_python = False

    def __init__(self, talker: Talker, predictor: CodePredictor) -> None:
        self.name = "llvm" if keeps_stored(talker, predictor) else "numpy"
        self.talker, self.config, self.codes = talker, talker.config, talker.codes
        workers = Workers()
        self.model = NumpyDecoder(talker.model, theta=self.config.rope_theta, workers=workers)
        self.codec_head = linear_for(talker.codec_head, workers)
        self.linear_fc1 = linear_for(talker.text_projection.linear_fc1, workers)
        self.linear_fc2 = linear_for(talker.text_projection.linear_fc2, workers)
        table = talker.codec_table
        self.codec_table: Table = table if isinstance(table, Bfloat16Table) else numpy_view(table)
        self.table_starts = np.array(talker.table_starts).astype(np.int64)  # (Q,)
        self.predictor = NumpyCodePredictor(predictor, self.codec_table, workers)

    def make_cache(self) -> NumpyKVCache:
        return NumpyKVCache(self.config)

    def make_sampler(self, samplings: Sequence[Sampling], seeds: Sequence[int]) -> NumpySampler:
        return NumpySampler(samplings, seeds, logit_sizes(self.config))

    def embed_text(self, ids: npt.NDArray[np.int32]) -> Floats:
        # The table keeps its stored dtype, which NumPy may not know.
        x: Floats = np.asarray(self.talker.text_embedding[mx.array(ids)].astype(mx.float32))
        x = self.linear_fc1(x)
        silu: Floats = x / (1 + np.exp(-x))
        return self.linear_fc2(silu)

    def embed_prompt(self, plan: PromptPlan) -> Floats:
        indices = np.where(plan.codes < 0, len(self.codec_table) - 1, plan.codes + self.table_starts)
        embedded: Floats = self.embed_text(plan.text_ids) + self.codec_table[indices].sum(axis=1)
        if plan.speaker_at is not None and plan.speaker_embedding is not None:
            embedded[plan.speaker_at] += plan.speaker_embedding
        return embedded

    def prefill(self, plans: Sequence[PromptPlan], *, cache: NumpyKVCache, slots: Sequence[int], shared: int) -> Floats:
        prompts = [self.embed_prompt(plan) for plan in plans]
        if shared:
            self._run(prompts[0][:shared], cache=cache, rows=[(slots[0], 0, shared)])
            for slot in slots[1:]:
                cache.move(slots[0], slot, positions=shared)
        rows = [(slot, shared, len(prompt) - shared) for slot, prompt in zip(slots, prompts, strict=True)]
        hidden = self._run(np.concatenate([prompt[shared:] for prompt in prompts]), cache=cache, rows=rows)
        last: Floats = hidden[np.cumsum([count for _, _, count in rows]) - 1]
        return last

    def predict_frame(self, hidden: Floats, first: Codes, sample: Sample) -> Codes:
        return self.predictor.predict_frame(hidden, first, sample)

    def make_frame_predictor(self, sampler: NumpySampler) -> FramePredictor:
        def predict(hidden: Floats, first: Codes, noise: list[list[Floats]]) -> Codes:
            return self.predict_frame(hidden, first, lambda logits, group: sampler.sample_other(logits, noise, group))

        return predict

    def step(self, codes: Codes, text: Floats, *, cache: NumpyKVCache, positions: Sequence[int]) -> Floats:
        x = self.codec_table[codes + self.table_starts].sum(axis=1) + text
        rows = [(slot, position, 1) for slot, position in enumerate(positions)]
        return self._run(x, cache=cache, rows=rows)

    def _run(self, x: Floats, *, cache: NumpyKVCache, rows: Sequence[tuple[int, int, int]]) -> Floats:
        """All layers over rows of (slot, first position, positions), one after the other in `x`."""
        if len(x) == 1:
            slot, position, _ = rows[0]
            return self.model.of_one(x, position=position, kv=cache.layers, slot=slot)
        positions = np.concatenate([np.arange(start, start + count) for _, start, count in rows])
        return self.model(x, positions=positions, kv=cache.layers, attend=functools.partial(attend_rows, rows=rows))

    def logits(self, hidden: Floats) -> Floats:
        return self.codec_head(hidden)

    def initial_penalties(self, rows: int) -> Floats:
        return np.ones((rows, self.codes + 1), np.float32)

    def concat(self, parts: Sequence[Floats], order: Sequence[int] | None = None) -> Floats:
        joined = np.concatenate(parts)
        return joined if order is None else joined[list(order)]

    def async_eval(self, *arrays: Floats) -> None:
        """Everything has been computed already."""


class NumpyCodePredictor:
    """The code predictor: every row is at the same position."""

    def __init__(self, predictor: CodePredictor, codec_table: Table, workers: Workers) -> None:
        self.config = predictor.config
        projection = predictor.small_to_mtp_projection
        self.small_to_mtp_projection = None if projection is None else linear_for(projection, workers)
        self.code_inputs = self._code_inputs(codec_table, predictor.table_bounds)
        self.model = NumpyDecoder(predictor.model, theta=self.config.rope_theta, workers=workers)
        self.lm_head = [linear_for(head, workers) for head in predictor.lm_head]

    def _code_inputs(self, table: Table, bounds: Sequence[int]) -> Sequence[Table]:
        """By codebook, each code's input embedding: its projection is computed once."""
        if self.small_to_mtp_projection is not None:
            floats = table.floats() if isinstance(table, Bfloat16Table) else table
            return by_codebook(np.ascontiguousarray(self.small_to_mtp_projection(floats)), bounds)
        if isinstance(table, Bfloat16Table):
            return [table.part(start, stop) for start, stop in itertools.pairwise(bounds)]
        return by_codebook(table, bounds)

    def predict_frame(self, hidden: Floats, first: Codes, sample: Sample) -> Codes:
        config, rows = self.config, len(hidden)
        shape = (2, rows, config.num_key_value_heads, config.num_code_groups, config.head_dim)
        kv = np.empty((config.num_hidden_layers, *shape), np.float32)
        start = hidden if self.small_to_mtp_projection is None else self.small_to_mtp_projection(hidden)
        codes = [first]
        x = np.stack([start, self.code_inputs[0][first[:, 0]]], axis=1).reshape(2 * rows, -1)  # (B * 2, D)
        x = self._run(x, kv=kv, start=0, count=2)[1::2]
        for group, head in enumerate(self.lm_head):
            if group:
                x = self._run(self.code_inputs[group][codes[-1][:, 0]], kv=kv, start=group + 1, count=1)
            codes.append(sample(head(x), group))
        return np.concatenate(codes, axis=1)

    def _run(self, x: Floats, *, kv: Floats, start: int, count: int) -> Floats:
        """All layers over `count` positions of each row, from `start` on. `(B * count, D)`"""
        rows = kv.shape[2]
        if count == rows == 1 or (rows == 1 and self.model.has_row_layers):
            layers = list(kv)
            each = [self.model.of_one(x[n : n + 1], position=start + n, kv=layers, slot=0) for n in range(count)]
            return np.concatenate(each)

        def attend(queries: Floats, keys: Floats, values: Floats, layer_kv: Floats) -> Floats:
            queries, keys, values = (part.reshape(rows, count, *part.shape[1:]) for part in (queries, keys, values))
            return attend_together(queries, keys, values, layer_kv, start=start)

        positions = np.tile(np.arange(start, start + count), rows)
        return self.model(x, positions=positions, kv=kv, attend=attend)


def can_compute(talker: Talker, predictor: CodePredictor) -> bool:
    """NumPy computes in float32, with plain weights and those that LLVM's kernels know."""
    return talker.dtype == mx.float32 and not any(
        isinstance(module, QuantizedLinear) for module in _modules(talker, predictor)
    )


def keeps_stored(talker: Talker, predictor: CodePredictor) -> bool:
    """Whether any weight is kept in bfloat16, or packed."""
    return any(isinstance(module, Bfloat16Linear | PackedLinear) for module in _modules(talker, predictor))


def _modules(talker: Talker, predictor: CodePredictor) -> Iterator[nn.Module]:
    return itertools.chain(talker.modules(), predictor.modules())
