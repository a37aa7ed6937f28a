"""Hidden states of positions `(N, D)` → hidden states: the decoder layer by NumPy, its attention and its cache."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from models.checkpoint_format.config import TalkerConfig
from models.qwen3_tts.network.decoder_layer import Decoder, DecoderLayer
from models.qwen3_tts.network_cpu.linear import NumpyLinear, NumpyUnfusedLinear, linear_for, numpy_view
from models.qwen3_tts.numpy_ops import Floats, RotaryEmbedding, apply_rotary, grouped_attention, rms_norm, swiglu
from models.qwen3_tts.worker_threads import Workers

if TYPE_CHECKING:
    from models.qwen3_tts.network_cpu.row_layers import RowLayers

Attend = Callable[[Floats, Floats, Floats, Floats], Floats]  # queries, keys, values, a layer's kv -> attention output


class NumpyDecoderLayer:
    """One decoder layer. Attention is the caller's, who knows which positions belong together."""

    def __init__(self, layer: DecoderLayer, workers: Workers) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        norms = attention.qk_norm
        self.eps, self.heads, self.kv_heads, self.head_dim = norms.eps, norms.heads, norms.kv_heads, norms.head_dim
        self.input_layernorm = numpy_view(layer.input_layernorm.weight)
        self.qkv_proj, self.o_proj = linear_for(attention.qkv_proj, workers), linear_for(attention.o_proj, workers)
        self.qk_norm = numpy_view(norms.weight)[: self.heads + self.kv_heads, 0].copy()  # (H + G, E)
        self.qk_norm[: self.heads] *= np.float32(self.head_dim**-0.5)  # the attention's scale
        self.post_attention_layernorm = numpy_view(layer.post_attention_layernorm.weight)
        self.gate_up_proj, self.down_proj = linear_for(mlp.gate_up_proj, workers), linear_for(mlp.down_proj, workers)

    def __call__(self, x: Floats, *, rope: tuple[Floats, Floats], kv: Floats, attend: Attend) -> Floats:
        """`(N, D)` -> `(N, D)`. `attend` takes scaled queries `(N, H, E)`, keys and values `(N, G, E)`, and `kv`."""
        count, heads, rotated_heads = len(x), self.heads, self.heads + self.kv_heads
        qkv = self.qkv_proj(rms_norm(x, eps=self.eps) * self.input_layernorm)
        qkv = qkv.reshape(count, rotated_heads + self.kv_heads, self.head_dim)
        rotated = apply_rotary(rms_norm(qkv[:, :rotated_heads], eps=self.eps) * self.qk_norm, rope)
        attn_out = attend(rotated[:, :heads], rotated[:, heads:], qkv[:, rotated_heads:], kv)  # (N, H, E)
        x = x + self.o_proj(attn_out.reshape(count, -1))
        x += self.down_proj(swiglu(self.gate_up_proj(rms_norm(x, eps=self.eps) * self.post_attention_layernorm)))
        return x


class NumpyDecoder:
    """All layers of a transformer, and the norm after them. One row alone is computed by machine code where it can."""

    def __init__(self, decoder: Decoder, *, theta: float, workers: Workers) -> None:
        self.layers = [NumpyDecoderLayer(layer, workers) for layer in decoder.layers]
        self._norm, self._eps = numpy_view(decoder.norm.weight), decoder.norm.eps
        self._rotary_embedding = RotaryEmbedding(head_dim=self.layers[0].head_dim, theta=theta)
        self._row_layers = _row_layers(self.layers, workers)

    @property
    def has_row_layers(self) -> bool:
        """Whether positions of one row are faster one after the other than together."""
        return self._row_layers is not None

    def of_one(self, x: Floats, *, position: int, kv: Sequence[Floats], slot: int) -> Floats:
        """Input embedding `(1, D)` of one row at `position` -> normalised hidden state, over its past in its slot."""
        if self._row_layers is None:
            attend = functools.partial(attend_rows, rows=[(slot, position, 1)])
            return self(x, positions=np.array([position]), kv=kv, attend=attend)
        rope = self._rotary_embedding.at(np.array(position))
        x = self._row_layers(x, rope=rope, position=position, kv=kv, slot=slot)
        normed: Floats = rms_norm(x, eps=self._eps) * self._norm
        return normed

    def __call__(self, x: Floats, *, positions: npt.NDArray[np.int64], kv: Iterable[Floats], attend: Attend) -> Floats:
        """Input embeddings `(N, D)` at `positions` `(N,)` -> normalised hidden states."""
        cosines, sines = self._rotary_embedding.at(positions)
        for layer, layer_kv in zip(self.layers, kv, strict=True):
            x = layer(x, rope=(cosines[:, None], sines[:, None]), kv=layer_kv, attend=attend)
        normed: Floats = rms_norm(x, eps=self._eps) * self._norm
        return normed


def _row_layers(layers: Sequence[NumpyDecoderLayer], workers: Workers) -> RowLayers | None:
    """The layers by machine code; None where LLVM is not used, or its code does not fit them."""
    if isinstance(layers[0].qkv_proj, NumpyLinear | NumpyUnfusedLinear):
        return None
    from models.qwen3_tts.network_cpu.row_layers import RowLayers, fits  # needs LLVM

    return RowLayers(layers, workers) if fits(layers) else None


def attend_together(queries: Floats, keys: Floats, values: Floats, kv: Floats, *, start: int) -> Floats:
    """Causal attention of rows `(B, L, H, E)` at the same positions, from `start` on, over their own past.

    New keys and values `(B, L, G, E)` are written to `kv` `(2, B, G, P, E)`.
    """
    stop = start + queries.shape[1]
    for stored, new in zip(kv, (keys, values), strict=True):
        stored[:, :, start:stop] = new.swapaxes(1, 2)
    visible = None if stop == start + 1 else np.arange(stop) <= np.arange(start, stop)[:, None]
    past_keys, past_values = kv[:, :, :, :stop]
    attn_out: Floats = grouped_attention(queries.swapaxes(1, 2), past_keys, past_values, visible).swapaxes(1, 2)
    return attn_out


def attend_rows(
    queries: Floats, keys: Floats, values: Floats, kv: Floats, *, rows: Sequence[tuple[int, int, int]]
) -> Floats:
    """Causal attention of rows of (slot, first position, positions), one after the other in `(N, H, E)`."""
    attn_out = np.empty_like(queries)
    first = 0
    for slot, start, count in rows:
        own = np.s_[None, first : first + count]
        attn_out[own] = attend_together(queries[own], keys[own], values[own], kv[:, slot : slot + 1], start=start)
        first += count
    return attn_out


class NumpyKVCache:
    """For each layer, keys and values `(2, slots, G, positions, E)`; see `kv_cache.SlottedKVCache`."""

    STEP = 128

    def __init__(self, config: TalkerConfig) -> None:
        self._config = config
        self.clear()

    def clear(self) -> None:
        self.slots = self.positions = 0
        self.layers = [self._zeros(0, 0)] * self._config.num_hidden_layers

    def _zeros(self, slots: int, positions: int) -> Floats:
        return np.zeros((2, slots, self._config.num_key_value_heads, positions, self._config.head_dim), np.float32)

    def reserve(self, *, slots: int, positions: int) -> None:
        positions = -(-positions // self.STEP) * self.STEP
        if slots <= self.slots and positions <= self.positions:
            return
        slots, positions = max(slots, self.slots), max(positions, self.positions)
        for layer, old in enumerate(self.layers):
            self.layers[layer] = self._zeros(slots, positions)
            self.layers[layer][:, : self.slots, :, : self.positions] = old
        self.slots, self.positions = slots, positions

    def move(self, source: int, target: int, *, positions: int) -> None:
        for kv in self.layers:
            kv[:, target, :, :positions] = kv[:, source, :, :positions]

    def nbytes(self) -> int:
        return sum(kv.nbytes for kv in self.layers)
