"""Codec frames -> 24 kHz waveform: codebooks, a causal transformer with a sliding window, and a stack of convolutions.

Mirrors Qwen3-TTS `modeling_qwen3_tts_tokenizer_v2.py`, Qwen3TTSTokenizerV2Decoder, with the state between two calls
made explicit, so that the whole, its pieces and a stream are one computation.
"""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx
import numpy as np
import numpy.typing as npt
from mlx import nn

from models.checkpoint_format.codec_config import DecoderConfig, EncoderConfig
from models.checkpoint_format.tensor_plan import (
    CONVNEXT_EXPANSION,
    CONVNEXT_KERNEL,
    DECODER_KERNEL,
    PRE_CONV_KERNEL,
    RESIDUAL_DILATIONS,
)
from models.qwen3_tts.codec.causal_conv import (
    CausalConv1d,
    CausalTransposedConv1d,
    Conv1d,
    ConvState,
    SnakeBeta,
    StreamState,
)
from models.qwen3_tts.codec.ops import Array, Ops
from models.qwen3_tts.codec.rvq import SplitCodebookSum

CONVNEXT_EPSILON = 1e-6


@dataclass(frozen=True, kw_only=True)
class DecoderState:
    """Memory of the frames before, for B rows. Never changed in place.

    `frames` `(B,)` counts the frames that each row has had, at most the window; keys and values are those of the last
    `sliding_window - 1` frames, one pair a layer, `(B, H, W - 1, E)`, before rotation.
    """

    frames: npt.NDArray[np.int32]
    keys: tuple[Array, ...]
    values: tuple[Array, ...]
    conv_state: ConvState  # empty at the very start


class Attention(nn.Module):
    """Projections of an attention layer; either half of the codec uses it with a mask of its own."""

    def __init__(self, config: DecoderConfig | EncoderConfig) -> None:
        super().__init__()
        size, head = config.hidden_size, config.attention_head_dim
        self.heads = config.num_attention_heads
        self.kv_heads = config.num_key_value_heads
        self.head_dim = head
        self.rope_theta = config.rope_theta
        self.q_proj = nn.Linear(size, self.heads * head, bias=config.attention_bias)
        self.k_proj = nn.Linear(size, self.kv_heads * head, bias=config.attention_bias)
        self.v_proj = nn.Linear(size, self.kv_heads * head, bias=config.attention_bias)
        self.o_proj = nn.Linear(self.heads * head, size, bias=config.attention_bias)

    def project(self, hidden: Array, ops: Ops) -> tuple[Array, Array, Array]:
        """`(B, T, D)` -> queries `(B, H, T, E)`, keys and values `(B, G, T, E)`, none of them rotated."""
        rows, frames, _ = hidden.shape
        layers = ((self.q_proj, self.heads), (self.k_proj, self.kv_heads), (self.v_proj, self.kv_heads))
        query, key, value = (
            linear(layer, hidden, ops).reshape(rows, frames, heads, self.head_dim).transpose(0, 2, 1, 3)
            for layer, heads in layers
        )
        return query, key, value

    def merge(self, attended: Array, ops: Ops) -> Array:
        """`(B, H, T, E)` -> `(B, T, D)`."""
        rows, heads, frames, width = attended.shape
        return linear(self.o_proj, attended.transpose(0, 2, 1, 3).reshape(rows, frames, heads * width), ops)


def linear(layer: nn.Linear, value: Array, ops: Ops) -> Array:
    return ops.linear(value, layer.weight, layer.get("bias"))


class DecoderMlp(nn.Module):
    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def __call__(self, hidden: Array, ops: Ops) -> Array:
        gate = ops.silu(linear(self.gate_proj, hidden, ops))
        return linear(self.down_proj, gate * linear(self.up_proj, hidden, ops), ops)


class LayerScale(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.scale = mx.ones((size,))

    def __call__(self, hidden: Array, ops: Ops) -> Array:
        return ops.multiply(hidden, self.scale)


class DecoderLayer(nn.Module):
    """Attention of each frame to itself and the `sliding_window - 1` frames before it, then a gated MLP."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.epsilon = config.rms_norm_eps
        self.self_attn = Attention(config)
        self.mlp = DecoderMlp(config)
        self.input_layernorm = nn.RMSNorm(config.hidden_size)
        self.post_attention_layernorm = nn.RMSNorm(config.hidden_size)
        self.self_attn_layer_scale = LayerScale(config.hidden_size)
        self.mlp_layer_scale = LayerScale(config.hidden_size)

    def __call__(
        self, hidden: Array, past: tuple[Array, Array], mask: npt.NDArray[np.bool_], ops: Ops
    ) -> tuple[Array, Array, Array]:
        normed = ops.rms_norm(hidden, self.input_layernorm.weight, epsilon=self.epsilon)
        attended, keys, values = self.attend(normed, past, mask, ops)
        hidden = hidden + self.self_attn_layer_scale(attended, ops)
        normed = ops.rms_norm(hidden, self.post_attention_layernorm.weight, epsilon=self.epsilon)
        return hidden + self.mlp_layer_scale(self.mlp(normed, ops), ops), keys, values

    def attend(
        self, normed: Array, past: tuple[Array, Array], mask: npt.NDArray[np.bool_], ops: Ops
    ) -> tuple[Array, Array, Array]:
        """Attention output `(B, T, D)`, and the keys and values to remember."""
        remembered = past[0].shape[2]
        query, key, value = self.self_attn.project(normed, ops)
        keys = ops.concat([past[0], key], axis=2)
        values = ops.concat([past[1], value], axis=2)
        # Rotation counts from the oldest key in sight, not from the first frame: only differences matter, every
        # row of a batch gets the same angles, and they stay small however long the audio is.
        base = self.self_attn.rope_theta
        rotated = ops.apply_rotary(query, base=base, offset=remembered)
        attended = ops.attend(rotated, ops.apply_rotary(keys, base=base, offset=0), values, mask)
        kept = (ops.tail(part, remembered, axis=2) for part in (keys, values))
        return self.self_attn.merge(attended, ops), *kept


class DecoderTransformer(nn.Module):
    """`(B, T, latent_dim)` -> the same shape, each frame aware of the window before it."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.window = config.sliding_window
        self.epsilon = config.rms_norm_eps
        self.input_proj = nn.Linear(config.latent_dim, config.hidden_size)
        self.layers = [DecoderLayer(config) for _ in range(config.num_hidden_layers)]
        self.norm = nn.RMSNorm(config.hidden_size)
        self.output_proj = nn.Linear(config.hidden_size, config.latent_dim)

    def __call__(
        self, latent: Array, state: DecoderState, ops: Ops
    ) -> tuple[Array, tuple[Array, ...], tuple[Array, ...]]:
        hidden = linear(self.input_proj, latent, ops)
        mask = window_mask(state.frames, frames=latent.shape[1], window=self.window)
        keys, values = [], []
        for layer, past in zip(self.layers, zip(state.keys, state.values, strict=True), strict=True):
            hidden, layer_keys, layer_values = layer(hidden, past, mask, ops)
            keys.append(layer_keys)
            values.append(layer_values)
        normed = ops.rms_norm(hidden, self.norm.weight, epsilon=self.epsilon)
        return linear(self.output_proj, normed, ops), tuple(keys), tuple(values)


def window_mask(frames_before: npt.NDArray[np.int32], *, frames: int, window: int) -> npt.NDArray[np.bool_]:
    """Mask of remembered and new keys that each new frame sees: `(B, 1, frames, window - 1 + frames)`.

    A frame sees itself and `window - 1` frames before it, as far as there were any: `frames_before` `(B,)`.
    """
    past = window - 1
    query = np.arange(frames)[:, None] + past
    key = np.arange(past + frames)[None, :]
    in_window = (key <= query) & (key > query - window)
    exists = key >= past - frames_before[:, None, None, None]
    both: npt.NDArray[np.bool_] = in_window & exists
    return both


class ConvNextBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dwconv = DepthwiseConv1d(channels, CONVNEXT_KERNEL)
        self.norm = nn.LayerNorm(channels, eps=CONVNEXT_EPSILON)
        self.pwconv1 = nn.Linear(channels, CONVNEXT_EXPANSION * channels)
        self.pwconv2 = nn.Linear(CONVNEXT_EXPANSION * channels, channels)
        self.gamma = mx.ones((channels,))

    def __call__(self, value: Array, stream: StreamState, ops: Ops) -> Array:
        mixed = self.dwconv(value, stream, ops)
        mixed = ops.layer_norm(mixed, self.norm.weight, self.norm.bias, epsilon=CONVNEXT_EPSILON)
        mixed = linear(self.pwconv2, ops.gelu(linear(self.pwconv1, mixed, ops)), ops)
        return value + ops.multiply(mixed, self.gamma)


class DepthwiseConv1d(nn.Module):
    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.conv = Conv1d(channels, channels, kernel, groups=channels)
        self.past = kernel - 1

    def __call__(self, value: Array, stream: StreamState, ops: Ops) -> Array:
        return ops.depthwise_conv1d(stream.extend(value, self.past), self.conv.weight, self.conv.bias_or_none)


class ResidualUnit(nn.Module):
    def __init__(self, channels: int, *, dilation: int) -> None:
        super().__init__()
        self.act1 = SnakeBeta(channels)
        self.conv1 = CausalConv1d(channels, channels, DECODER_KERNEL, dilation=dilation)
        self.act2 = SnakeBeta(channels)
        self.conv2 = CausalConv1d(channels, channels, 1)

    def __call__(self, value: Array, stream: StreamState, ops: Ops) -> Array:
        mixed = self.conv1(self.act1(value, ops), stream, ops)
        mixed = self.conv2(self.act2(mixed, ops), stream, ops)
        return value + mixed


class DecoderBlock(nn.Module):
    """`(B, S, C)` -> `(B, S * rate, C / 2)`."""

    def __init__(self, channels: int, out_channels: int, *, rate: int) -> None:
        super().__init__()
        self.block = [
            SnakeBeta(channels),
            CausalTransposedConv1d(channels, out_channels, 2 * rate, stride=rate),
            *(ResidualUnit(out_channels, dilation=dilation) for dilation in RESIDUAL_DILATIONS),
        ]

    def __call__(self, value: Array, stream: StreamState, ops: Ops) -> Array:
        snake, upsample, *units = self.block
        value = upsample(snake(value, ops), stream, ops)
        for unit in units:
            value = unit(value, stream, ops)
        return value


class CodecDecoder(nn.Module):
    """Codes `(B, T, Q)` and the state before them -> samples `(B, T * samples_per_frame)` and the state after them."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        latent, width = config.latent_dim, config.decoder_dim
        self.quantizer = SplitCodebookSum(
            num_quantizers=config.num_quantizers, codebook_size=config.codebook_size, codebook_dim=config.codebook_dim
        )
        self.pre_conv = CausalConv1d(config.codebook_dim, latent, PRE_CONV_KERNEL)
        self.pre_transformer = DecoderTransformer(config)
        self.upsample = [
            [CausalTransposedConv1d(latent, latent, ratio, stride=ratio), ConvNextBlock(latent)]
            for ratio in config.upsampling_ratios
        ]
        widths = [width // 2**stage for stage in range(len(config.upsample_rates) + 1)]
        self.decoder = [
            CausalConv1d(latent, width, DECODER_KERNEL),
            *(
                DecoderBlock(widths[stage], widths[stage + 1], rate=rate)
                for stage, rate in enumerate(config.upsample_rates)
            ),
            SnakeBeta(widths[-1]),
            CausalConv1d(widths[-1], 1, DECODER_KERNEL),
        ]

    def initial_state(self, ops: Ops) -> DecoderState:
        """State of one row before its first frame."""
        config = self.config
        nothing = ops.zeros(1, config.num_key_value_heads, config.sliding_window - 1, config.attention_head_dim)
        layers = (nothing,) * config.num_hidden_layers
        return DecoderState(frames=np.zeros((1,), np.int32), keys=layers, values=layers, conv_state=())

    def __call__(self, codes: npt.NDArray[np.int32], state: DecoderState, ops: Ops) -> tuple[Array, DecoderState]:
        stream = StreamState(ops, state.conv_state or None)
        value = self.pre_conv(self.quantizer(codes, ops), stream, ops)
        value, keys, values = self.pre_transformer(value, state, ops)
        for transposed_conv, mix in self.upsample:
            value = mix(transposed_conv(value, stream, ops), stream, ops)
        first, *blocks, snake, last = self.decoder
        value = first(value, stream, ops)
        for block in blocks:
            value = block(value, stream, ops)
        value = last(snake(value, ops), stream, ops)
        frames = np.minimum(state.frames + codes.shape[1], self.config.sliding_window - 1).astype(np.int32)
        after = DecoderState(frames=frames, keys=keys, values=values, conv_state=stream.conv_state)
        return ops.clip(value)[..., 0], after
