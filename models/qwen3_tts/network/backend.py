"""The networks as the loop sees them: prompts and codes in, hidden states and logits out, in one formulation.

`MlxNetwork` is the formulation for Metal and CUDA, and the reference of every other one. Arrays between its methods
are of the formulation's own kind; the loop only hands them on.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Protocol

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from models.qwen3_tts.network.code_predictor import CodePredictor
from models.qwen3_tts.network.kv_cache import SlotCache
from models.qwen3_tts.network.talker import Talker
from models.qwen3_tts.prompt.prompt import PromptPlan
from models.qwen3_tts.prompt.sampling import Sampler, Sampling, Setting, draw_other

Array = Any  # mx.array or np.ndarray, as the formulation has it


Filler = Callable[[Array, Array, Any], Array]  # hidden (B, D), first codes (B, 1), noise -> frames (B, Q)


class Cache(Protocol):
    """Keys and values of rows in slots."""

    slots: int
    columns: int

    def clear(self) -> None: ...

    def reserve(self, *, slots: int, columns: int) -> None: ...

    def move(self, source: int, target: int, *, columns: int) -> None: ...

    def nbytes(self) -> int: ...


class RowSampler(Protocol):
    """Draws for the rows of one batch; see `sampling.Sampler`."""

    def noise(self, frames: Sequence[int]) -> Any: ...

    def draw_first(self, logits: Array, scale: Array, noise: Any, *, too_early: Sequence[bool]) -> Array: ...

    def after_drawing(self, scale: Array, code: Array) -> Array: ...


class Network(Protocol):
    """One formulation."""

    name: str
    codes: int  # K: the number of codes, and the index of the end of speech in the talker's logits
    runs_beside_python: bool  # work can be launched ahead

    def make_cache(self) -> Any: ...

    def make_sampler(self, samplings: Sequence[Sampling], seeds: Sequence[int]) -> RowSampler: ...

    def embed_text(self, ids: npt.NDArray[np.int32]) -> Array:
        """`(N,)` -> `(N, D)`"""
        ...

    def embed_prompt(self, plan: PromptPlan) -> Array:
        """`(L, D)`"""
        ...

    def prefill(self, plans: Sequence[PromptPlan], *, cache: Any, slots: Sequence[int], shared: int) -> Array:
        """The last hidden state of each prompt `(B, D)`, normalised; the first `shared` positions are equal in all."""
        ...

    def fill(self, hidden: Array, first: Array, draw: Callable[[Array, int], Array]) -> Array:
        """Hidden states `(B, D)` and first codes `(B, 1)` -> whole frames `(B, Q)`."""
        ...

    def make_filler(self, sampler: Any) -> Filler:
        """`fill` with the draws of one of its own samplers, to be called every frame while the rows stay the same."""
        ...

    def step(self, codes: Array, text: Array, *, cache: Any, positions: Sequence[int]) -> Array:
        """The frame just made and the text beside it `(B or 1, D)` -> the next hidden state `(B, D)`."""
        ...

    def logits(self, hidden: Array) -> Array:
        """`(B, D)` -> `(B, K + 1)` float32, the end of speech last."""
        ...

    def unpenalised(self, rows: int) -> Array:
        """The penalties `(B, K + 1)` of rows that have drawn nothing."""
        ...

    def join(self, parts: Sequence[Array], order: Sequence[int] | None = None) -> Array:
        """Rows of all parts one after the other, or those of them in `order`."""
        ...

    def launch(self, *arrays: Array) -> None:
        """Start computing."""
        ...


# hidden states, first codes, a setting's arrays, noise (none, or of every further codebook) -> frames
Fill = Callable[[mx.array, mx.array, list[mx.array], list[mx.array]], mx.array]
KINDS_KEPT = 8  # kinds of settings whose compiled functions are kept


def _fill_of(predictor: CodePredictor, setting: Setting) -> Fill:
    def fill(hidden: mx.array, first: mx.array, arrays: list[mx.array], others: list[mx.array]) -> mx.array:
        given = setting.with_arrays(arrays)
        noise: Sequence[mx.array | None] = others or [None] * (predictor.config.num_code_groups - 1)
        return predictor.fill(hidden, first, lambda logits, group: draw_other(logits, noise[group], given))

    return fill


class MlxNetwork:
    """By MLX, on whatever device it computes."""

    name = "mlx"

    def __init__(self, talker: Talker, predictor: CodePredictor) -> None:
        self.talker, self.predictor, self.codes = talker, predictor, talker.codes
        self.runs_beside_python = mx.default_device() != mx.Device(mx.cpu)
        self._fills: dict[Hashable, Fill] = {}

    def make_cache(self) -> SlotCache:
        return self.talker.make_cache()

    def make_sampler(self, samplings: Sequence[Sampling], seeds: Sequence[int]) -> Sampler:
        config = self.talker.config
        return Sampler(
            samplings,
            seeds,
            codes=self.codes,
            predictor_codes=config.code_predictor_config.vocab_size,
            codebooks=config.num_code_groups,
        )

    def embed_text(self, ids: npt.NDArray[np.int32]) -> mx.array:
        return self.talker.embed_text(mx.array(ids))

    def embed_prompt(self, plan: PromptPlan) -> mx.array:
        return self.talker.embed_prompt(plan)

    def prefill(self, plans: Sequence[PromptPlan], *, cache: SlotCache, slots: Sequence[int], shared: int) -> mx.array:
        prompts = [self.talker.embed_prompt(plan) for plan in plans]
        hidden = self.talker.prefill(prompts, cache=cache, slots=slots, shared=shared)
        mx.eval(hidden)
        return hidden

    def fill(self, hidden: mx.array, first: mx.array, draw: Callable[[mx.array, int], mx.array]) -> mx.array:
        return self.predictor.fill(hidden, first, draw)

    def make_filler(self, sampler: Sampler) -> Filler:
        """Where kernels are fused, compiled: Python builds the graph once for each number of rows, and not every frame
        or whenever a row comes or goes."""
        setting = sampler.others
        arrays = setting.arrays()
        fill = self._compiled_fill(setting) if self.predictor.kernels.fused else _fill_of(self.predictor, setting)
        return lambda hidden, first, noise: fill(
            hidden, first, arrays, [own for own in noise.others if own is not None]
        )

    def _compiled_fill(self, setting: Setting) -> Fill:
        if setting.kind not in self._fills:
            if len(self._fills) >= KINDS_KEPT:
                self._fills.clear()
            self._fills[setting.kind] = mx.compile(_fill_of(self.predictor, setting))
        return self._fills[setting.kind]

    def step(self, codes: mx.array, text: mx.array, *, cache: SlotCache, positions: Sequence[int]) -> mx.array:
        return self.talker.step(codes, text, cache=cache, positions=positions)

    def logits(self, hidden: mx.array) -> mx.array:
        return self.talker.logits(hidden)

    def unpenalised(self, rows: int) -> mx.array:
        return mx.ones((rows, self.codes + 1))

    def join(self, parts: Sequence[mx.array], order: Sequence[int] | None = None) -> mx.array:
        joined = mx.concatenate(list(parts)) if len(parts) > 1 else parts[0]
        return joined if order is None else joined[mx.array(list(order))]

    def launch(self, *arrays: mx.array) -> None:
        mx.async_eval(*arrays)
