"""`sampling.Sampler` by NumPy, for CPUs: rows of different settings, each with a random stream of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.qwen3_tts.prompt.sampling import Sampling, row_key

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _RowSetting:
    """One network's settings for one row."""

    temperature: float
    top_k: int
    top_p: float


class NumpySampler:
    """Samples codes for the rows of one batch; the rows' own state is passed in."""

    def __init__(self, samplings: Sequence[Sampling], seeds: Sequence[int], sizes: Sequence[int]) -> None:
        self._first = [_RowSetting(s.temperature, s.top_k, s.top_p) for s in samplings]
        self._others = [_RowSetting(s.predictor_temperature, s.predictor_top_k, s.predictor_top_p) for s in samplings]
        self._sizes = sizes  # as `logit_sizes` gives them
        self._keys = [int.from_bytes(row_key(seed).tobytes(), "little") for seed in seeds]
        self._repetition_penalties = np.array([s.repetition_penalty for s in samplings], np.float32)[:, None]

    def noise(self, frames: Sequence[int]) -> list[list[Floats]]:
        """For each codebook, each row's Gumbel noise: a function of the row's seed and its frame number alone.

        A greedy row needs none, and gets none.
        """
        of_rows = []
        for row, frame in enumerate(frames):
            drawn = [self._first[row].temperature > 0] + [self._others[row].temperature > 0] * (len(self._sizes) - 1)
            of_rows.append(self._of_row(self._keys[row], frame) if any(drawn) else [])
        return of_rows

    def _of_row(self, key: int, frame: int) -> list[Floats]:
        generator = np.random.Generator(np.random.Philox(key=key, counter=frame << 128))
        uniform = generator.random(sum(self._sizes), dtype=np.float32)
        np.maximum(uniform, np.float32(2.0**-24), out=uniform)  # an exact 0 would be minus infinity
        np.log(uniform, out=uniform)
        np.negative(uniform, out=uniform)
        np.log(uniform, out=uniform)
        np.negative(uniform, out=uniform)
        return np.split(uniform, np.cumsum(self._sizes[:-1]))

    def sample_first(
        self, logits: Floats, penalties: Floats, noise: list[list[Floats]], *, too_early: Sequence[bool]
    ) -> Codes:
        """See `Sampler.sample_first`."""
        scores = np.where(logits < 0, logits * penalties, logits / penalties)
        scores[list(too_early), -1] = -np.inf
        rows = zip(scores, noise, self._first, strict=True)
        return np.array([[_sample(own, drawn[:1], setting)] for own, drawn, setting in rows])

    def sample_other(self, logits: Floats, noise: list[list[Floats]], group: int) -> Codes:
        """See `sampling.sample_other`."""
        rows = zip(logits, noise, self._others, strict=True)
        return np.array([[_sample(own, drawn[group + 1 : group + 2], setting)] for own, drawn, setting in rows])

    def penalties_after(self, penalties: Floats, code: Codes) -> Floats:
        """See `Sampler.penalties_after`."""
        penalties = penalties.copy()
        np.put_along_axis(penalties, code, self._repetition_penalties, axis=-1)
        return penalties


def _sample(scores: Floats, noise: Sequence[Floats], setting: _RowSetting) -> int:
    """The Gumbel-max rule over one row's scores `(K,)`."""
    if setting.temperature == 0:
        return int(scores.argmax())
    noisy = scores / np.float32(setting.temperature) + noise[0]
    top_k = min(setting.top_k or len(scores), len(scores))
    if top_k < len(scores):
        kth = np.partition(scores, len(scores) - top_k)[len(scores) - top_k]
        noisy[scores < kth] = -np.inf
    if setting.top_p < 1:
        noisy[_outside_nucleus(scores, kept=noisy > -np.inf, setting=setting)] = -np.inf
    return int(noisy.argmax())


def _outside_nucleus(scores: Floats, *, kept: npt.NDArray[np.bool_], setting: _RowSetting) -> npt.NDArray[np.bool_]:
    """The unlikeliest of the kept scores, which together weigh at most 1 - top_p."""
    order = np.argsort(np.where(kept, scores, -np.inf), kind="stable")
    warmed = np.where(kept, scores / np.float32(setting.temperature), -np.inf)[order]
    weights = np.exp(warmed - warmed[-1])
    removed = np.cumsum(weights / weights.sum()) <= 1 - setting.top_p
    removed[-1] = False
    result = np.empty_like(removed)
    result[order] = removed
    return result
