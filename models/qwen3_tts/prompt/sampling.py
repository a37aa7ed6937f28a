"""Logits and the codes before → the next code: the official processors, and the draw itself.

`process_logits` is the plain version, in NumPy, step by step as the official package does it. `Sampler` computes the
same on the device for rows of different settings, with few launches, and draws by the Gumbel-max rule.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from models.checkpoint_format.config import SPECIAL_CODES, GenerationConfig, TalkerConfig
from registry.errors import InvalidInput

PUBLISHED_END_OF_SPEECH = 102  # its place among the special codes of every published checkpoint
MIN_CODES = 2  # drawn before the end of speech can be


class Model(Protocol):
    """A model that knows its own sampling: a `SpeechModel`."""

    @property
    def generation(self) -> GenerationConfig: ...


@dataclass(frozen=True)
class Sampling:
    """Rules for drawing codes. A temperature of 0 is greedy; top_k 0 and top_p 1 keep everything."""

    temperature: float = 0.9
    top_k: int = 50
    top_p: float = 1.0
    repetition_penalty: float = 1.05
    predictor_temperature: float = 0.9
    predictor_top_k: int = 50
    predictor_top_p: float = 1.0

    def __post_init__(self) -> None:
        for entry in dataclasses.fields(self):
            value = getattr(self, entry.name)
            _check(entry.name, value, isinstance(value, numbers.Real) and math.isfinite(value), "a finite number")
        for name in ("temperature", "predictor_temperature"):
            _check(name, getattr(self, name), getattr(self, name) >= 0, "a number from 0 (greedy) up")
        for name in ("top_k", "predictor_top_k"):
            value = getattr(self, name)
            _check(name, value, value == int(value) and value >= 0, "a whole number from 0 (keep all) up")
        for name in ("top_p", "predictor_top_p"):
            _check(name, getattr(self, name), 0 < getattr(self, name) <= 1, "above 0 and at most 1 (keep all)")
        _check("repetition_penalty", self.repetition_penalty, self.repetition_penalty > 0, "above 0 (1 is none)")

    @classmethod
    def greedy(cls, repetition_penalty: float = 1.05) -> Sampling:
        """The sampling that always takes the likeliest code."""
        return cls(temperature=0.0, predictor_temperature=0.0, repetition_penalty=repetition_penalty)

    @classmethod
    def defaults(cls, model: Model) -> Sampling:
        """The sampling of the checkpoint's `generation_config.json`."""
        return cls.from_config(model.generation)

    @classmethod
    def from_config(cls, config: GenerationConfig) -> Sampling:
        return cls(
            temperature=config.temperature if config.do_sample else 0.0,
            top_k=config.top_k,
            top_p=config.top_p,
            repetition_penalty=config.repetition_penalty,
            predictor_temperature=config.subtalker_temperature if config.subtalker_dosample else 0.0,
            predictor_top_k=config.subtalker_top_k,
            predictor_top_p=config.subtalker_top_p,
        )


def _check(name: str, value: object, holds: bool, expected: str) -> None:
    if not holds:
        raise InvalidInput(f"sampling: {name} is {value!r}; expected {expected}.")


def process_logits(
    logits: npt.ArrayLike, history: npt.ArrayLike, sampling: Sampling, *, end_of_speech_id: int | None = None
) -> npt.NDArray[np.float32]:
    """The talker's scores `(..., V)`, -inf where nothing may be drawn: the official processors in the official order.

    `history` `(..., n)` are the codes drawn so far, without the prompt's. Greedy stops after the suppression.
    `end_of_speech_id` None is the id's published place in the vocabulary.
    """
    scores = np.array(logits, dtype=np.float32)
    size = scores.shape[-1]
    end = size - SPECIAL_CODES + PUBLISHED_END_OF_SPEECH if end_of_speech_id is None else end_of_speech_id
    drawn = np.asarray(history).astype(np.int64).reshape(*scores.shape[:-1], -1)
    penalised = np.take_along_axis(scores, drawn, axis=-1)
    penalty = np.float32(sampling.repetition_penalty)
    np.put_along_axis(scores, drawn, np.where(penalised < 0, penalised * penalty, penalised / penalty), axis=-1)
    if drawn.shape[-1] < MIN_CODES:
        scores[..., end] = -np.inf
    suppressed = np.arange(size - SPECIAL_CODES, size)
    scores[..., suppressed[suppressed != end]] = -np.inf
    if sampling.temperature == 0:
        return scores
    scores /= np.float32(sampling.temperature)
    return _keep_top_p(_keep_top_k(scores, sampling.top_k), sampling.top_p)


def _keep_top_k(scores: npt.NDArray[np.float32], top_k: int) -> npt.NDArray[np.float32]:
    if not top_k:
        return scores
    kth = np.sort(scores, axis=-1)[..., -min(top_k, scores.shape[-1]), None]
    return np.where(scores < kth, np.float32(-np.inf), scores)


def _keep_top_p(scores: npt.NDArray[np.float32], top_p: float) -> npt.NDArray[np.float32]:
    if top_p >= 1:
        return scores
    order = np.argsort(scores, axis=-1, kind="stable")
    ascending = np.take_along_axis(scores, order, axis=-1)
    weights = np.exp(ascending - ascending[..., -1:])
    removed = np.cumsum(weights / weights.sum(axis=-1, keepdims=True), axis=-1) <= 1 - top_p
    removed[..., -1] = False
    kept = np.where(removed, np.float32(-np.inf), ascending)
    result = np.empty_like(scores)
    np.put_along_axis(result, order, kept, axis=-1)
    return result


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One network's settings for the rows of a batch; `None` where all rows keep everything."""

    temperature: mx.array  # (B, 1)
    drawn: bool  # any row draws at all
    top_k: int | mx.array | None  # one for all, or (B, 1)
    top_p: mx.array | None  # (B, 1)

    @property
    def kind(self) -> tuple[bool, int | None, bool, bool]:
        """Everything but the arrays: settings of a kind share a compiled function."""
        by_row = isinstance(self.top_k, mx.array)
        return self.drawn, None if isinstance(self.top_k, mx.array) else self.top_k, by_row, self.top_p is not None

    def arrays(self) -> list[mx.array]:
        found = (self.temperature, self.top_k, self.top_p)
        return [value for value in found if isinstance(value, mx.array)]

    def with_arrays(self, arrays: Sequence[mx.array]) -> Setting:
        """The same setting with other arrays, in the order of `arrays`."""
        rest = iter(arrays)
        return Setting(
            temperature=next(rest),
            drawn=self.drawn,
            top_k=next(rest) if isinstance(self.top_k, mx.array) else self.top_k,
            top_p=next(rest) if self.top_p is not None else None,
        )


def _setting(temperatures: Sequence[float], top_ks: Sequence[int], top_ps: Sequence[float], *, size: int) -> Setting:
    kept = [min(k, size) or size for k in top_ks]
    greedy = [temperature == 0 for temperature in temperatures]
    drawing = [k for k, is_greedy in zip(kept, greedy, strict=True) if not is_greedy] or [size]
    top_k: int | mx.array | None = drawing[0] if len(set(drawing)) == 1 else mx.array(kept)[:, None]
    needs_p = any(p < 1 and not is_greedy for p, is_greedy in zip(top_ps, greedy, strict=True))
    return Setting(
        temperature=mx.array(list(temperatures), dtype=mx.float32)[:, None],
        drawn=not all(greedy),
        top_k=None if isinstance(top_k, int) and top_k == size else top_k,
        top_p=mx.array(list(top_ps), dtype=mx.float32)[:, None] if needs_p else None,
    )


def logit_sizes(config: TalkerConfig) -> list[int]:
    """Logits of each codebook: the talker's, which end with the end of speech, then the code predictor's."""
    others = [config.code_predictor_config.vocab_size] * (config.num_code_groups - 1)
    return [config.vocab_size - SPECIAL_CODES + 1, *others]


class Sampler:
    """Samples codes for the rows of one batch. Made again whenever rows change; the rows' own state is passed in."""

    def __init__(self, samplings: Sequence[Sampling], seeds: Sequence[int], sizes: Sequence[int]) -> None:
        self._first = _setting(
            [s.temperature for s in samplings], [s.top_k for s in samplings], [s.top_p for s in samplings],
            size=sizes[0],
        )  # fmt: skip
        self.others = _setting(
            [s.predictor_temperature for s in samplings], [s.predictor_top_k for s in samplings],
            [s.predictor_top_p for s in samplings], size=sizes[1],
        )  # fmt: skip
        self._sizes = sizes  # as `logit_sizes` gives them
        self._keys = np.stack([row_key(seed) for seed in seeds])  # (B, 2)
        self._repetition_penalties = mx.array([s.repetition_penalty for s in samplings], dtype=mx.float32)[:, None]
        self._penalises = any(s.repetition_penalty != 1 for s in samplings)

    def noise(self, frames: Sequence[int]) -> Noise:
        """The random part of one frame of each row: a function of the row's seed and its frame number alone."""
        if not (self._first.drawn or self.others.drawn):
            return Noise(None, [None] * (len(self._sizes) - 1))
        keys = self._keys.copy()
        keys[:, 1] += np.array(frames, dtype=np.uint32)
        first_size, *sizes = self._sizes
        gumbel = _gumbel(mx.array(keys), first_size + sum(sizes))  # (B, N)
        first = gumbel[:, :first_size] * self._first.temperature
        others = mx.split(gumbel[:, first_size:] * self.others.temperature, len(sizes), axis=-1)
        return Noise(first, list(others))

    def sample_first(
        self, logits: mx.array, penalties: mx.array, noise: Noise, *, too_early: Sequence[bool]
    ) -> mx.array:
        """Logits `(B, K + 1)`, the end of speech last, and the history's penalties -> codes `(B, 1)`."""
        scores = logits
        if self._penalises:
            scores = mx.where(logits < 0, logits * penalties, logits / penalties)
        if any(too_early):
            is_end = mx.arange(self._sizes[0]) == self._sizes[0] - 1
            scores = mx.where(mx.array(list(too_early))[:, None] & is_end, -mx.inf, scores)
        return _sample(scores, noise.first, self._first)

    def penalties_after(self, penalties: mx.array, code: mx.array) -> mx.array:
        """The history's penalties `(B, K + 1)`, 1 where a code was never drawn, after one more code `(B, 1)`."""
        return mx.put_along_axis(penalties, code, self._repetition_penalties, axis=-1) if self._penalises else penalties


@dataclass(frozen=True)
class Noise:
    """Gumbel noise times temperature for each codebook, None where every row is greedy."""

    first: mx.array | None  # (B, K + 1)
    others: list[Any]  # Q - 1 times (B, K) or None


def row_key(seed: int) -> npt.NDArray[np.uint32]:
    """Two words from all bits of a seed, of any size and sign."""
    digest = hashlib.blake2b(str(seed).encode(), digest_size=8).digest()
    return np.frombuffer(digest, dtype=np.uint32)


def _gumbel(keys: mx.array, count: int) -> mx.array:
    def of_one(key: mx.array) -> mx.array:
        return mx.random.uniform(shape=(count,), key=key)

    uniform = mx.maximum(mx.vmap(of_one)(keys), 2.0**-24)  # an exact 0 would be minus infinity, and greedy rows NaN
    return -mx.log(-mx.log(uniform))


def sample_other(logits: mx.array, noise: mx.array | None, setting: Setting) -> mx.array:
    """A predictor's logits `(B, K)`, and the noise of its codebook -> `(B, 1)`."""
    return _sample(logits.astype(mx.float32), noise, setting)


def _sample(scores: mx.array, noise: mx.array | None, setting: Setting) -> mx.array:
    """The Gumbel-max rule: the highest of score + noise is a draw from softmax(score / temperature)."""
    if noise is None or not setting.drawn:
        return mx.argmax(scores, axis=-1, keepdims=True)
    noisy = scores + noise
    threshold = _lowest_kept(scores, setting)
    if threshold is not None:
        # A greedy row's noise is zero, and its highest score is above any threshold.
        noisy = mx.where(scores >= threshold, noisy, -mx.inf)
    return mx.argmax(noisy, axis=-1, keepdims=True)


def _lowest_kept(scores: mx.array, setting: Setting) -> mx.array | None:
    """The smallest score `(B, 1)` that top-k and top-p leave, or None when all stay."""
    size = scores.shape[-1]
    if setting.top_p is None and setting.top_k is None:
        return None
    if setting.top_p is None and isinstance(setting.top_k, int):
        return mx.partition(scores, size - setting.top_k, axis=-1)[:, size - setting.top_k, None]
    ascending = mx.sort(scores, axis=-1)
    top_k = size if setting.top_k is None else setting.top_k
    first_kept = mx.broadcast_to(mx.array(size - top_k), (scores.shape[0], 1))
    if setting.top_p is not None:
        warmed = ascending / mx.where(setting.temperature > 0, setting.temperature, 1.0)
        warmed = mx.where(mx.arange(size) >= first_kept, warmed, -mx.inf)
        removed = mx.cumsum(mx.softmax(warmed, axis=-1, precise=True), axis=-1) <= 1 - setting.top_p
        first_kept = mx.minimum(mx.maximum(removed.sum(axis=-1, keepdims=True), first_kept), size - 1)
    return mx.take_along_axis(ascending, first_kept, axis=-1)
