"""Input embeddings and a cache → the talker's hidden states: prompts whole, then one position at a time.

A step is compiled where operations are fused, over the cache's whole length, so that its shapes stay the same;
elsewhere its graph is built each time, over the positions that are needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import mlx.core as mx

from models.qwen3_tts.network.kv_cache import FixedView, PrefillView, SlottedKVCache, StepView
from models.qwen3_tts.network.mlx_ops import causal_mask, length_mask
from models.qwen3_tts.network.talker import Talker

# codes (B, Q), text (B or 1, D), positions (B,), caches -> hidden states (B, D), caches
CompiledStep = Callable[[mx.array, mx.array, mx.array, list[mx.array]], tuple[mx.array, list[mx.array]]]


def prefill(
    talker: Talker, prompts: Sequence[mx.array], *, cache: SlottedKVCache, slots: Sequence[int], shared: int = 0
) -> mx.array:
    """Run prompts `(L_i, D)` into their `slots`, and return each row's last hidden state `(B, D)`, normalised.

    The first `shared` positions, equal in all prompts, are computed once.
    """
    if shared:
        _prefill(talker, prompts[0][None, :shared], cache=cache, slots=slots, start=0)
    longest = max(prompt.shape[0] for prompt in prompts) - shared
    # Padding follows a prompt, where causal attention cannot see it.
    padded = mx.stack(
        [mx.pad(prompt[shared:], [(0, longest - prompt.shape[0] + shared), (0, 0)]) for prompt in prompts]
    )
    hidden = _prefill(talker, padded, cache=cache, slots=slots, start=shared)  # (B, L, D)
    last = mx.array([prompt.shape[0] - shared - 1 for prompt in prompts])
    return hidden[mx.arange(len(prompts)), last]


def _prefill(talker: Talker, x: mx.array, *, cache: SlottedKVCache, slots: Sequence[int], start: int) -> mx.array:
    length = x.shape[1]
    mask = causal_mask(length, start=start, dtype=x.dtype) if length > 1 else None
    views = [PrefillView(cache=cache, layer=layer, slots=slots, start=start) for layer in range(len(cache.layers))]
    return talker(x, caches=views, first=start, mask=mask)


class TalkerStep:
    """One more position for each of the first rows of a cache."""

    def __init__(self, talker: Talker) -> None:
        self.talker = talker
        # Python builds the whole graph once for each number of rows and of positions, and not every frame.
        self._compiled: CompiledStep | None = mx.compile(self.fixed) if talker.ops.fused else None

    def __call__(self, codes: mx.array, text: mx.array, *, cache: SlottedKVCache, positions: Sequence[int]) -> mx.array:
        """Last frames `(B, Q)` and the text added to them `(B or 1, D)` -> normalised hidden states `(B, D)`."""
        if self._compiled is None:
            return self.plain(codes, text, cache=cache, positions=positions)
        at = mx.array(list(positions), dtype=mx.uint32)  # as MLX wants indices
        hidden, cache.layers = self._compiled(codes, text, at, cache.layers)
        return hidden

    def fixed(
        self, codes: mx.array, text: mx.array, at: mx.array, layers: list[mx.array]
    ) -> tuple[mx.array, list[mx.array]]:
        """A step over the whole length of the caches' `layers`: the rows' positions `at` `(B,)` are data."""
        x = self.talker.embed_codes(codes) + text  # (B, D)
        mask = length_mask(at, layers[0].shape[2], dtype=x.dtype)
        heads = mx.arange(layers[0].shape[1], dtype=mx.uint32)
        places = (mx.arange(len(at), dtype=mx.uint32)[:, None], heads[None], at[:, None])
        views = [FixedView(stored=stored, places=places) for stored in layers]
        hidden = self.talker(x, caches=views, first=at, mask=mask)
        return hidden, [view.stored for view in views]

    def plain(self, codes: mx.array, text: mx.array, *, cache: SlottedKVCache, positions: Sequence[int]) -> mx.array:
        """A step over the positions of the longest row."""
        x = self.talker.embed_codes(codes) + text  # (B, D)
        at, rows = mx.array(list(positions), dtype=mx.uint32), mx.arange(len(positions))
        length = max(positions) + 1
        aligned = min(positions) + 1 == length
        mask = None if aligned else length_mask(at, length, dtype=x.dtype)
        views = [
            StepView(cache=cache, layer=layer, rows=rows, at=at, length=length, aligned=aligned)
            for layer in range(len(cache.layers))
        ]
        return self.talker(x, caches=views, first=at, mask=mask)
