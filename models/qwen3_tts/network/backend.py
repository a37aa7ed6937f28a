"""The networks as the batch generator sees them: prompts and codes in, hidden states and logits out, by one backend.

`MlxNetwork` is the backend for Metal and CUDA, and the reference of every other one. The setting `formulation` chooses
among them. Arrays between a network's methods are of its own kind; the generator only passes them on.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Protocol

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from models.qwen3_tts.network.code_predictor import CodePredictor, Sample
from models.qwen3_tts.network.kv_cache import SlottedKVCache
from models.qwen3_tts.network.steps import TalkerStep, prefill
from models.qwen3_tts.network.talker import Talker
from models.qwen3_tts.prompt.prompt import PromptPlan
from models.qwen3_tts.prompt.sampling import Sampler, Sampling, Setting, logit_sizes, sample_other

Array = Any  # mx.array or np.ndarray, as the backend has it
FramePredictor = Callable[[Array, Array, Any], Array]  # hidden (B, D), first codes (B, 1), noise -> frames (B, Q)


class RowSampler(Protocol):
    """Samples codes for the rows of one batch; see `sampling.Sampler`."""

    def noise(self, frames: Sequence[int]) -> Any: ...

    def sample_first(self, logits: Array, penalties: Array, noise: Any, *, too_early: Sequence[bool]) -> Array: ...

    def penalties_after(self, penalties: Array, code: Array) -> Array: ...


class Network(Protocol):
    """Talker and code predictor by one backend."""

    name: str
    codes: int  # K: the number of codes, and the index of the end of speech in the talker's logits
    runs_beside_python: bool  # frames can be pipelined

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

    def predict_frame(self, hidden: Array, first: Array, sample: Callable[[Array, int], Array]) -> Array:
        """Hidden states `(B, D)` and first codes `(B, 1)` -> whole frames `(B, Q)`."""
        ...

    def make_frame_predictor(self, sampler: Any) -> FramePredictor:
        """`predict_frame` with one of its own samplers, for every frame while the rows stay the same."""
        ...

    def step(self, codes: Array, text: Array, *, cache: Any, positions: Sequence[int]) -> Array:
        """The last frame and the text added to it `(B or 1, D)` -> the next hidden state `(B, D)`."""
        ...

    def logits(self, hidden: Array) -> Array:
        """`(B, D)` -> `(B, K + 1)` float32, the end of speech last."""
        ...

    def initial_penalties(self, rows: int) -> Array:
        """The repetition penalties `(B, K + 1)` of rows that have no codes yet."""
        ...

    def concat(self, parts: Sequence[Array], order: Sequence[int] | None = None) -> Array:
        """Rows of all parts one after the other, or those of them in `order`."""
        ...

    def async_eval(self, *arrays: Array) -> None:
        """Start computing."""
        ...


# hidden states, first codes, a setting's arrays, noise (none, or of every further codebook) -> frames
PredictBySetting = Callable[[mx.array, mx.array, list[mx.array], list[mx.array]], mx.array]
KINDS_KEPT = 8  # kinds of settings whose compiled functions are kept


def _predict_by(predictor: CodePredictor, setting: Setting) -> PredictBySetting:
    def predict(hidden: mx.array, first: mx.array, arrays: list[mx.array], others: list[mx.array]) -> mx.array:
        given = setting.with_arrays(arrays)
        noise: Sequence[mx.array | None] = others or [None] * (predictor.config.num_code_groups - 1)
        return predictor.predict_frame(hidden, first, lambda logits, group: sample_other(logits, noise[group], given))

    return predict


class MlxNetwork:
    """By MLX, on whatever device it computes."""

    name = "mlx"

    def __init__(self, talker: Talker, predictor: CodePredictor) -> None:
        self.talker, self.predictor, self.codes = talker, predictor, talker.codes
        self.runs_beside_python = mx.default_device() != mx.Device(mx.cpu)
        self.step = TalkerStep(talker)
        predictor.take_codes(talker.codec_table)
        self._compiled: dict[Hashable, PredictBySetting] = {}

    def make_cache(self) -> SlottedKVCache:
        return self.talker.make_cache()

    def make_sampler(self, samplings: Sequence[Sampling], seeds: Sequence[int]) -> Sampler:
        return Sampler(samplings, seeds, logit_sizes(self.talker.config))

    def embed_text(self, ids: npt.NDArray[np.int32]) -> mx.array:
        return self.talker.embed_text(mx.array(ids))

    def embed_prompt(self, plan: PromptPlan) -> mx.array:
        return self.talker.embed_prompt(plan)

    def prefill(
        self, plans: Sequence[PromptPlan], *, cache: SlottedKVCache, slots: Sequence[int], shared: int
    ) -> mx.array:
        prompts = [self.talker.embed_prompt(plan) for plan in plans]
        hidden = prefill(self.talker, prompts, cache=cache, slots=slots, shared=shared)
        mx.eval(hidden)
        return hidden

    def predict_frame(self, hidden: mx.array, first: mx.array, sample: Sample) -> mx.array:
        return self.predictor.predict_frame(hidden, first, sample)

    def make_frame_predictor(self, sampler: Sampler) -> FramePredictor:
        """Compiled, where operations are fused: Python builds the graph once for each number of rows, and not every
        frame or whenever a row comes or goes."""
        setting = sampler.others
        arrays = setting.arrays()
        predict = self._compiled_by(setting) if self.predictor.ops.fused else _predict_by(self.predictor, setting)
        return lambda hidden, first, noise: predict(
            hidden, first, arrays, [own for own in noise.others if own is not None]
        )

    def _compiled_by(self, setting: Setting) -> PredictBySetting:
        if setting.kind not in self._compiled:
            if len(self._compiled) >= KINDS_KEPT:
                self._compiled.clear()
            self._compiled[setting.kind] = mx.compile(_predict_by(self.predictor, setting))
        return self._compiled[setting.kind]

    def logits(self, hidden: mx.array) -> mx.array:
        return self.talker.logits(hidden)

    def initial_penalties(self, rows: int) -> mx.array:
        return mx.ones((rows, self.codes + 1))

    def concat(self, parts: Sequence[mx.array], order: Sequence[int] | None = None) -> mx.array:
        joined = mx.concatenate(list(parts)) if len(parts) > 1 else parts[0]
        return joined if order is None else joined[mx.array(list(order))]

    def async_eval(self, *arrays: mx.array) -> None:
        mx.async_eval(*arrays)
