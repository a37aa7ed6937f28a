"""Hidden states → hidden states: the Qwen3 decoder layers that the talker and the code predictor share.

Queries and keys are normalised per head; head size and hidden size are independent. Layers have the checkpoint's names;
those that read the same input are one: `qkv_proj`, `gate_up_proj`.
Mirrors Qwen3-TTS `modeling_qwen3_tts.py`, Qwen3TTSTalkerModel, Qwen3TTSDecoderLayer and Qwen3TTSTalkerDecoderLayer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import mlx.core as mx
from mlx import nn

from models.checkpoint_format.config import TransformerConfig
from models.qwen3_tts.network.linear import Linear, QuantizedLinear, UnfusedLinear
from models.qwen3_tts.network.mlx_ops import HeadNorms, Ops, RotaryAngles

Projection = Linear | QuantizedLinear | UnfusedLinear


class LayerCache(Protocol):
    """Where one layer keeps the keys and values of a batch."""

    def update_and_fetch(self, kv: mx.array) -> tuple[mx.array, mx.array]:
        """Add new keys and values `(B, 2 G, L, E)`; returns all that the new queries may see, each `(B, G, P, E)`."""
        ...


class Attention(nn.Module):
    """Grouped attention with a norm on every query and key head."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        heads, kv_heads, head_dim = config.num_attention_heads, config.num_key_value_heads, config.head_dim
        width, bias = config.hidden_size, config.attention_bias
        self.head_dim, self.all_heads = head_dim, heads + 2 * kv_heads
        outputs = [count * head_dim for count in (heads, kv_heads, kv_heads)]
        self.qkv_proj: Projection = Linear(width, *outputs, bias=bias)
        self.qk_norm = HeadNorms(head_dim, heads=heads, kv_heads=kv_heads, eps=config.rms_norm_eps)
        self.o_proj: Projection = Linear(heads * head_dim, width, bias=bias)

    def __call__(
        self, x: mx.array, *, residual: mx.array, cache: LayerCache, rope: RotaryAngles, mask: mx.array | None, ops: Ops
    ) -> mx.array:
        """`(B, L, D)` or `(B, D)` -> the same, added to `residual`."""
        qkv = self.qkv_proj(x)
        if x.ndim == 2:  # single positions: fewer views to make
            qkv = qkv.reshape(-1, self.all_heads, 1, self.head_dim)
        else:
            qkv = qkv.reshape(*x.shape[:2], self.all_heads, self.head_dim).swapaxes(1, 2)  # (B, H + 2 G, L, E)
        queries, kv = ops.apply_rotary(qkv, self.qk_norm, rope)
        attn_out = ops.attention(queries, *cache.update_and_fetch(kv), mask)  # (B, H, L, E)
        attn_out = attn_out if x.ndim == 2 else attn_out.swapaxes(1, 2)
        return self.o_proj.add_to(residual, attn_out.reshape(*x.shape[:-1], -1))


class Mlp(nn.Module):
    """The gated feed-forward network, by SwiGLU."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width, inner = config.hidden_size, config.intermediate_size
        self.gate_up_proj: Projection = Linear(width, inner, inner)
        self.down_proj: Projection = Linear(inner, width)

    def __call__(self, x: mx.array, *, residual: mx.array, ops: Ops) -> mx.array:
        """`(..., D)` -> the same, added to `residual`."""
        return self.down_proj.add_to(residual, ops.swiglu(self.gate_up_proj(x)))


class DecoderLayer(nn.Module):
    """Attention and feed-forward, each normalised before and added to its input."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = nn.RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = Mlp(config)

    def __call__(
        self, x: mx.array, *, cache: LayerCache, rope: RotaryAngles, mask: mx.array | None, ops: Ops
    ) -> mx.array:
        """`(B, L, D)` -> `(B, L, D)`, or `(B, D)` -> `(B, D)`, for positions that follow those in `cache`."""
        normed = rms_norm(x, self.input_layernorm, ops)
        x = self.self_attn(normed, residual=x, cache=cache, rope=rope, mask=mask, ops=ops)
        return self.mlp(rms_norm(x, self.post_attention_layernorm, ops), residual=x, ops=ops)


class Decoder(nn.Module):
    """All layers of a transformer, and the norm after them."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.layers = [DecoderLayer(config) for _ in range(config.num_hidden_layers)]
        self.norm = nn.RMSNorm(config.hidden_size, config.rms_norm_eps)

    def __call__(
        self, x: mx.array, *, caches: Sequence[LayerCache], rope: RotaryAngles, mask: mx.array | None, ops: Ops
    ) -> mx.array:
        """Input embeddings `(B, L, D)` or `(B, D)` -> normalised hidden states of the same shape."""
        for layer, cache in zip(self.layers, caches, strict=True):
            x = layer(x, cache=cache, rope=rope, mask=mask, ops=ops)
        return rms_norm(x, self.norm, ops)


def rms_norm(x: mx.array, norm: nn.RMSNorm, ops: Ops) -> mx.array:
    return ops.rms_norm(x, norm.weight, norm.eps)
