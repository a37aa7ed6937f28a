"""The networks for CPUs, by NumPy: the same numbers as by MLX, many times faster there.

Why: the matrix products of MLX's Linux wheel run on a reference BLAS, and any library put in its place is asked for
`x W^T` with one row as a matrix product, which OpenBLAS computes at a fifth of the memory's speed. NumPy brings an
OpenBLAS of its own, asks it for a matrix-vector product there, and lets us say `W x` for more rows, which that
library computes twice as fast. Weights are MLX arrays, whose memory NumPy sees; nothing is copied. Where LLVM is
installed, weights that are stored in bfloat16 stay so, and are read by NumPy itself (`stored_products.py`).

Rows of any length run as one list of positions, without padding: `(N, D)`, N being the positions of all rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from models.qwen3_tts.checkpoint.config import PredictorConfig, TalkerConfig
from models.qwen3_tts.checkpoint.tensor_file import HalfTable
from models.qwen3_tts.checkpoint.weight_reader import Linear, StoredLinear
from models.qwen3_tts.network.backend import Filler
from models.qwen3_tts.network.code_predictor import CodePredictor, by_codebook
from models.qwen3_tts.network.decoder_layer import DecoderLayer
from models.qwen3_tts.network.talker import Talker
from models.qwen3_tts.network_cpu.linear import product_of, seen
from models.qwen3_tts.network_cpu.sampler import NumpySampler
from models.qwen3_tts.prompt.prompt import PromptPlan
from models.qwen3_tts.prompt.sampling import Sampling
from models.qwen3_tts.worker_threads import Workers

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int64]


def table_of(table: mx.array | HalfTable) -> Floats | HalfTable:
    """Rows to be looked up."""
    return table if isinstance(table, HalfTable) else seen(table)


def rms_norm(x: Floats, eps: float) -> Floats:
    """Over the last axis, without a weight."""
    mean = np.einsum("...i,...i->...", x, x)[..., None] * np.float32(1 / x.shape[-1])
    normed: Floats = x * (np.float32(1) / np.sqrt(mean + np.float32(eps)))
    return normed


def gated(gate_up: Floats) -> Floats:
    """`silu(gate) * up`, `(N, 2 I)` -> `(N, I)`."""
    half = gate_up.shape[-1] // 2
    gate = gate_up[:, :half]
    result: Floats = gate * gate_up[:, half:]
    result /= 1 + np.exp(-gate)
    return result


def softmax(scores: Floats) -> Floats:
    """Over the last axis, in place."""
    scores -= scores.max(axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=-1, keepdims=True)
    return scores


class Rotations:
    """Cosines and signed sines of every position, made once."""

    def __init__(self, *, head_size: int, theta: float) -> None:
        self._frequencies = np.float32(theta) ** (-np.arange(0, head_size, 2, dtype=np.float32) / np.float32(head_size))
        self._half = head_size // 2
        self._make(512)

    def _make(self, count: int) -> None:
        angles = np.arange(count, dtype=np.float32)[:, None] * self._frequencies  # (P, E/2)
        self._cosines = np.concatenate([np.cos(angles)] * 2, axis=-1)[:, None]  # (P, 1, E)
        self._sines = np.concatenate([-np.sin(angles), np.sin(angles)], axis=-1)[:, None]

    def at(self, positions: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
        """For heads `(N, H, E)` at these positions `(N,)`."""
        if positions[-1] >= len(self._cosines) or positions.max() >= len(self._cosines):
            self._make(2 * int(positions.max() + 1))
        return self._cosines[positions], self._sines[positions]

    def __call__(self, x: Floats, turn: tuple[Floats, Floats]) -> Floats:
        cosines, sines = turn
        swapped = np.concatenate([x[..., self._half :], x[..., : self._half]], axis=-1)
        swapped *= sines
        x = x * cosines
        x += swapped
        return x


class NumpyLayer:
    """One decoder layer. Attention is the caller's: it knows where keys and values lie."""

    def __init__(self, layer: DecoderLayer, workers: Workers) -> None:
        self.eps, self.heads, self.groups, self.head_size = layer.eps, layer.heads, layer.groups, layer.head_size
        self.input_norm, self.feed_norm = seen(layer.input_norm), seen(layer.feed_norm)
        self.head_norms = seen(layer.norms.weights)[: self.heads + self.groups, 0].copy()  # (H + G, E)
        self.head_norms[: self.heads] *= np.float32(self.head_size**-0.5)  # the attention's scale
        self.queries_keys_values = product_of(layer.queries_keys_values, workers)
        self.output = product_of(layer.output, workers)
        self.gate_up, self.down = product_of(layer.gate_up, workers), product_of(layer.down, workers)

    def __call__(
        self,
        x: Floats,
        *,
        rotations: Rotations,
        turn: tuple[Floats, Floats],
        attend: Callable[[Floats, Floats, Floats], Floats],
    ) -> Floats:
        """`(N, D)` -> `(N, D)`. `attend` takes scaled queries `(N, H, E)`, keys and values `(N, G, E)`."""
        count, heads, both = len(x), self.heads, self.heads + self.groups
        joint = self.queries_keys_values(rms_norm(x, self.eps) * self.input_norm)
        joint = joint.reshape(count, both + self.groups, self.head_size)
        turned = rotations(rms_norm(joint[:, :both], self.eps) * self.head_norms, turn)
        x = x + self.output(attend(turned[:, :heads], turned[:, heads:], joint[:, both:]).reshape(count, -1))
        gate_up = self.gate_up(rms_norm(x, self.eps) * self.feed_norm)
        x += self.down(gated(gate_up))
        return x


class NumpyCache:
    """For each layer, keys and values `(slots, G, columns, E)`; see `cache.SlotCache`."""

    STEP = 128

    def __init__(self, config: TalkerConfig) -> None:
        self._shape = (config.num_key_value_heads, config.head_dim)
        self._layers = config.num_hidden_layers
        self.clear()

    def clear(self) -> None:
        self.slots = self.columns = 0
        self.keys: list[Floats] = []
        self.values: list[Floats] = []

    def reserve(self, *, slots: int, columns: int) -> None:
        columns = -(-columns // self.STEP) * self.STEP
        if slots <= self.slots and columns <= self.columns:
            return
        slots, columns = max(slots, self.slots), max(columns, self.columns)
        groups, head_size = self._shape
        for arrays in (self.keys, self.values):
            for layer in range(self._layers):
                new = np.zeros((slots, groups, columns, head_size), np.float32)
                if len(arrays) <= layer:
                    arrays.append(new)
                    continue
                new[: self.slots, :, : self.columns] = arrays[layer]
                arrays[layer] = new
        self.slots, self.columns = slots, columns

    def move(self, source: int, target: int, *, columns: int) -> None:
        for array in (*self.keys, *self.values):
            array[target, :, :columns] = array[source, :, :columns]

    def nbytes(self) -> int:
        return sum(array.nbytes for array in (*self.keys, *self.values))


class NumpyNetwork:
    """By NumPy."""

    runs_beside_python = False

    def __init__(self, talker: Talker, predictor: CodePredictor) -> None:
        self.name = "llvm" if holds_halves(talker, predictor) else "numpy"
        self.talker, self.config, self.codes = talker, talker.config, talker.codes
        workers = Workers()
        self.layers = [NumpyLayer(layer, workers) for layer in talker.layers]
        self.norm, self.head = seen(talker.norm), product_of(talker.codec_head, workers)
        projection = talker.text_projection
        self.first_projection = product_of(projection.linear_fc1, workers)
        self.second_projection = product_of(projection.linear_fc2, workers)
        self.table, self.starts = table_of(talker.codec_table), np.array(talker.table_starts).astype(np.int64)
        self.rotations = Rotations(head_size=self.config.head_dim, theta=self.config.rope_theta)
        self.predictor = NumpyPredictor(predictor, workers)

    def make_cache(self) -> NumpyCache:
        return NumpyCache(self.config)

    def make_sampler(self, samplings: Sequence[Sampling], seeds: Sequence[int]) -> NumpySampler:
        return NumpySampler(
            samplings,
            seeds,
            codes=self.codes,
            predictor_codes=self.config.code_predictor_config.vocab_size,
            codebooks=self.config.num_code_groups,
        )

    def embed_text(self, ids: npt.NDArray[np.int32]) -> Floats:
        # The table keeps its stored dtype, which NumPy may not know.
        x: Floats = np.asarray(self.talker.text_embedding[mx.array(ids)].astype(mx.float32))
        x = self.first_projection(x)
        silu: Floats = x / (1 + np.exp(-x))
        return self.second_projection(silu)

    def embed_prompt(self, plan: PromptPlan) -> Floats:
        indices = np.where(plan.codes < 0, len(self.table) - 1, plan.codes + self.starts)
        embedded: Floats = self.embed_text(plan.text_ids) + self.table[indices].sum(axis=1)
        if plan.speaker_at is not None and plan.speaker_embedding is not None:
            embedded[plan.speaker_at] += plan.speaker_embedding
        return embedded

    def prefill(self, plans: Sequence[PromptPlan], *, cache: NumpyCache, slots: Sequence[int], shared: int) -> Floats:
        prompts = [self.embed_prompt(plan) for plan in plans]
        if shared:
            self._run(prompts[0][:shared], cache=cache, rows=[(slots[0], 0, shared)])
            for slot in slots[1:]:
                cache.move(slots[0], slot, columns=shared)
        rows = [(slot, shared, len(prompt) - shared) for slot, prompt in zip(slots, prompts, strict=True)]
        x = self._run(np.concatenate([prompt[shared:] for prompt in prompts]), cache=cache, rows=rows)
        return self._normed(x[np.cumsum([count for _, _, count in rows]) - 1])

    def fill(self, hidden: Floats, first: Codes, draw: Callable[[Floats, int], Codes]) -> Codes:
        return self.predictor.fill(hidden, first, draw)

    def make_filler(self, sampler: NumpySampler) -> Filler:
        def fill(hidden: Floats, first: Codes, noise: list[list[Floats]]) -> Codes:
            return self.fill(hidden, first, lambda logits, group: sampler.draw_other(logits, noise, group))

        return fill

    def step(self, codes: Codes, text: Floats, *, cache: NumpyCache, positions: Sequence[int]) -> Floats:
        x = self.table[codes + self.starts].sum(axis=1) + text
        rows = [(slot, position, 1) for slot, position in enumerate(positions)]
        return self._normed(self._run(x, cache=cache, rows=rows))

    def logits(self, hidden: Floats) -> Floats:
        return self.head(hidden)

    def unpenalised(self, rows: int) -> Floats:
        return np.ones((rows, self.codes + 1), np.float32)

    def join(self, parts: Sequence[Floats], order: Sequence[int] | None = None) -> Floats:
        joined = np.concatenate(parts)
        return joined if order is None else joined[list(order)]

    def launch(self, *arrays: Floats) -> None:
        """Everything is computed at once."""

    def _normed(self, x: Floats) -> Floats:
        normed: Floats = rms_norm(x, self.config.rms_norm_eps) * self.norm
        return normed

    def _run(self, x: Floats, *, cache: NumpyCache, rows: Sequence[tuple[int, int, int]]) -> Floats:
        """All layers over rows of (slot, first position, positions), which stand one after the other in `x`."""
        positions = np.concatenate([np.arange(start, start + count) for _, start, count in rows])
        turn = self.rotations.at(positions)
        for index, layer in enumerate(self.layers):
            memory = (cache.keys[index], cache.values[index])

            def attend(queries: Floats, keys: Floats, values: Floats, memory: Any = memory) -> Floats:
                return attend_rows(queries, keys, values, memory=memory, rows=rows)

            x = layer(x, rotations=self.rotations, turn=turn, attend=attend)
        return x


def attend_rows(
    queries: Floats,
    keys: Floats,
    values: Floats,
    *,
    memory: tuple[Floats, Floats],
    rows: Sequence[tuple[int, int, int]],
) -> Floats:
    """Causal attention of each row over its own past, which its new keys and values join. `(N, H, E)`"""
    _, heads, head_size = queries.shape
    groups = keys.shape[1]
    mixed = np.empty_like(queries)
    first = 0
    for slot, start, count in rows:
        own, stop = slice(first, first + count), start + count
        memory[0][slot, :, start:stop] = keys[own].swapaxes(0, 1)
        memory[1][slot, :, start:stop] = values[own].swapaxes(0, 1)
        past_keys, past_values = memory[0][slot, :, :stop], memory[1][slot, :, :stop]  # (G, P, E)
        # One product a key/value head: its query heads are further rows of the same matrix.
        asked = queries[own].reshape(count, groups, -1, head_size).transpose(1, 2, 0, 3)  # (G, H/G, count, E)
        scores = asked.reshape(groups, -1, head_size) @ past_keys.swapaxes(1, 2)  # (G, H/G * count, P)
        if count > 1:
            future = np.arange(stop) > np.arange(start, stop)[:, None]
            scores.reshape(groups, -1, count, stop)[:, :, future] = -np.inf
        found = (softmax(scores) @ past_values).reshape(groups, -1, count, head_size)
        mixed[own] = found.transpose(2, 0, 1, 3).reshape(count, heads, head_size)
        first += count
    return mixed


class NumpyPredictor:
    """The code predictor: every row is at the same position."""

    def __init__(self, predictor: CodePredictor, workers: Workers) -> None:
        self.config: PredictorConfig = predictor.config
        self.projection = None if predictor.projection is None else product_of(predictor.projection, workers)
        self.code_inputs = self._code_inputs(predictor)
        self.layers = [NumpyLayer(layer, workers) for layer in predictor.layers]
        self.norm, self.heads = seen(predictor.norm), [product_of(head, workers) for head in predictor.heads]
        self.rotations = Rotations(head_size=self.config.head_dim, theta=self.config.rope_theta)

    def _code_inputs(self, predictor: CodePredictor) -> Sequence[Floats | HalfTable]:
        """What each code of each codebook looks like to the predictor, whose projection is computed once."""
        table, bounds = predictor.codec_table, predictor.bounds
        if not isinstance(table, HalfTable):
            return [seen(part) for part in predictor.code_inputs]
        if self.projection is None:
            return [table.part(start, stop) for start, stop in itertools.pairwise(bounds)]
        return by_codebook(np.ascontiguousarray(self.projection(table.floats())), bounds)

    def fill(self, hidden: Floats, first: Codes, draw: Callable[[Floats, int], Codes]) -> Codes:
        config = self.config
        rows = len(hidden)
        shape = (2, len(self.layers), rows, config.num_key_value_heads, config.num_code_groups, config.head_dim)
        memory = np.empty(shape, np.float32)
        start = hidden if self.projection is None else self.projection(hidden)
        codes = [first]
        x = np.stack([start, self.code_inputs[0][first[:, 0]]], axis=1).reshape(2 * rows, -1)  # (B * 2, D)
        for group, head in enumerate(self.heads):
            at, count = (0, 2) if group == 0 else (group + 1, 1)
            if group:
                x = self.code_inputs[group][codes[-1][:, 0]]
            x = self._run(x, memory=memory, at=at, count=count)
            last = rms_norm(x[count - 1 :: count], config.rms_norm_eps) * self.norm
            codes.append(draw(head(last), group))
        return np.concatenate(codes, axis=1)

    def _run(self, x: Floats, *, memory: Floats, at: int, count: int) -> Floats:
        rows = memory.shape[2]
        turn = self.rotations.at(np.tile(np.arange(at, at + count), rows))
        for index, layer in enumerate(self.layers):

            def attend(queries: Floats, keys: Floats, values: Floats, index: int = index) -> Floats:
                return attend_together(queries, keys, values, memory=memory[:, index], at=at, count=count)

            x = layer(x, rotations=self.rotations, turn=turn, attend=attend)
        return x


def attend_together(queries: Floats, keys: Floats, values: Floats, *, memory: Floats, at: int, count: int) -> Floats:
    """Causal attention of rows that are all at positions `at` …, `count` of them. `(B * count, H, E)`"""
    positions, heads, head_size = queries.shape
    rows, groups = positions // count, keys.shape[1]
    for place, new in ((0, keys), (1, values)):
        memory[place, :, :, at : at + count] = new.reshape(rows, count, groups, head_size).swapaxes(1, 2)
    past_keys, past_values = memory[:, :, :, : at + count]  # (B, G, P, E)
    asked = queries.reshape(rows, count, groups, -1, head_size).transpose(0, 2, 3, 1, 4)  # (B, G, H/G, count, E)
    scores = asked.reshape(rows, groups, -1, head_size) @ past_keys.swapaxes(2, 3)
    if count > 1:
        future = np.arange(at + count) > np.arange(at, at + count)[:, None]
        scores.reshape(rows, groups, -1, count, at + count)[..., future] = -np.inf
    found = (softmax(scores) @ past_values).reshape(rows, groups, -1, count, head_size)
    mixed: Floats = found.transpose(0, 3, 1, 2, 4).reshape(positions, heads, head_size)
    return mixed


def can_compute(talker: Talker, predictor: CodePredictor) -> bool:
    """NumPy computes in float32, with plain weights only."""
    return talker.dtype == mx.float32 and all(
        isinstance(part, Linear | StoredLinear) for part in _linears(talker, predictor)
    )


def holds_halves(talker: Talker, predictor: CodePredictor) -> bool:
    """Whether any weight is kept in bfloat16."""
    return any(isinstance(part, StoredLinear) for part in _linears(talker, predictor))


def _linears(talker: Talker, predictor: CodePredictor) -> list[Any]:
    parts: list[Any] = [talker.codec_head, talker.text_projection.linear_fc1, talker.text_projection.linear_fc2]
    parts += [] if predictor.projection is None else [predictor.projection]
    parts += predictor.heads
    for layer in (*talker.layers, *predictor.layers):
        parts += [layer.queries_keys_values, layer.output, layer.gate_up, layer.down]
    return parts
