"""Codec frames -> 24 kHz waveform: codebooks, a causal transformer with a sliding window, and a stack of convolutions.

Mirrors Qwen3-TTS `modeling_qwen3_tts_tokenizer_v2.py`, Qwen3TTSTokenizerV2Decoder, with the state between two calls
made explicit, so that the whole, its pieces and a stream are one computation.
"""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx
from mlx import nn

from models.qwen3_tts.codec_config import DecoderConfig
from models.qwen3_tts.convolution import (
    CausalConvolution,
    Convolution,
    ExpandingConvolution,
    History,
    SnakeBeta,
    Tails,
)
from models.qwen3_tts.quantizer import SplitCodebookSum
from models.qwen3_tts.waveform_kernels import Array, Kernels

PRE_CONV_KERNEL = 3
CONVNEXT_KERNEL = 7
DECODER_KERNEL = 7
RESIDUAL_DILATIONS = (1, 3, 9)
CONVNEXT_EPSILON = 1e-6
CONVNEXT_EXPANSION = 4


@dataclass(frozen=True, kw_only=True)
class DecoderState:
    """What the decoder remembers of the frames before, for B rows. Never changed in place.

    `frames` `(B,)` counts the frames behind each row, at most the window; keys and values are those of the last
    `sliding_window - 1` frames, one pair a layer, `(B, H, W - 1, E)`, before rotation.
    """

    frames: mx.array
    keys: tuple[mx.array, ...]
    values: tuple[mx.array, ...]
    pre_tails: Tails  # of the convolution before the transformer
    tails: Tails  # of the convolutions behind the transformer; none at the very start


class DecoderAttention(nn.Module):
    """Attention of each frame to itself and the `sliding_window - 1` frames before it."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        size, head = config.hidden_size, config.attention_head_dim
        bias = config.attention_bias
        self.heads = config.num_attention_heads
        self.kv_heads = config.num_key_value_heads
        self.head_dim = head
        self.rope_theta = config.rope_theta
        self.q_proj = nn.Linear(size, self.heads * head, bias=bias)
        self.k_proj = nn.Linear(size, self.kv_heads * head, bias=bias)
        self.v_proj = nn.Linear(size, self.kv_heads * head, bias=bias)
        self.o_proj = nn.Linear(self.heads * head, size, bias=bias)

    def __call__(
        self, hidden: mx.array, past_keys: mx.array, past_values: mx.array, mask: mx.array
    ) -> tuple[mx.array, mx.array, mx.array]:
        past = past_keys.shape[2]
        query = self._split(self.q_proj(hidden), self.heads)
        keys = mx.concatenate([past_keys, self._split(self.k_proj(hidden), self.kv_heads)], axis=2)
        values = mx.concatenate([past_values, self._split(self.v_proj(hidden), self.kv_heads)], axis=2)
        # Rotation counts from the oldest key in sight, not from the first frame: only differences matter, every
        # row of a batch gets the same angles, and they stay small however long the audio is.
        attended = mx.fast.scaled_dot_product_attention(
            self._rotate(query, past), self._rotate(keys, 0), values, scale=self.head_dim**-0.5, mask=mask
        )
        merged = attended.transpose(0, 2, 1, 3).flatten(2)  # (B, H, T, E) -> (B, T, H * E)
        return self.o_proj(merged), _last(keys, past), _last(values, past)

    def _split(self, value: mx.array, heads: int) -> mx.array:
        rows, frames, _ = value.shape
        return value.reshape(rows, frames, heads, self.head_dim).transpose(0, 2, 1, 3)  # (B, H, T, E)

    def _rotate(self, value: mx.array, offset: int) -> mx.array:
        return mx.fast.rope(value, self.head_dim, traditional=False, base=self.rope_theta, scale=1.0, offset=offset)


def _last(value: mx.array, positions: int) -> mx.array:
    """The last positions of axis 2, copied, so that no longer array is kept for them."""
    return mx.take(value, mx.arange(value.shape[2] - positions, value.shape[2]), axis=2)


class DecoderMlp(nn.Module):
    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def __call__(self, hidden: mx.array) -> mx.array:
        return self.down_proj(nn.silu(self.gate_proj(hidden)) * self.up_proj(hidden))


class LayerScale(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.scale = mx.ones((size,))

    def __call__(self, hidden: mx.array) -> mx.array:
        return hidden * self.scale


class DecoderLayer(nn.Module):
    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.self_attn = DecoderAttention(config)
        self.mlp = DecoderMlp(config)
        self.input_layernorm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_attention_layernorm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.self_attn_layer_scale = LayerScale(config.hidden_size)
        self.mlp_layer_scale = LayerScale(config.hidden_size)

    def __call__(
        self, hidden: mx.array, past_keys: mx.array, past_values: mx.array, mask: mx.array
    ) -> tuple[mx.array, mx.array, mx.array]:
        attended, keys, values = self.self_attn(self.input_layernorm(hidden), past_keys, past_values, mask)
        hidden = hidden + self.self_attn_layer_scale(attended)
        hidden = hidden + self.mlp_layer_scale(self.mlp(self.post_attention_layernorm(hidden)))
        return hidden, keys, values


class DecoderTransformer(nn.Module):
    """`(B, T, latent_dim)` -> the same shape, each frame aware of the window before it."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.window = config.sliding_window
        self.input_proj = nn.Linear(config.latent_dim, config.hidden_size)
        self.layers = [DecoderLayer(config) for _ in range(config.num_hidden_layers)]
        self.norm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.output_proj = nn.Linear(config.hidden_size, config.latent_dim)

    def __call__(
        self, latent: mx.array, state: DecoderState
    ) -> tuple[mx.array, tuple[mx.array, ...], tuple[mx.array, ...]]:
        hidden = self.input_proj(latent)
        mask = window_mask(state.frames, frames=latent.shape[1], window=self.window)
        keys, values = [], []
        for layer, past_keys, past_values in zip(self.layers, state.keys, state.values, strict=True):
            hidden, layer_keys, layer_values = layer(hidden, past_keys, past_values, mask)
            keys.append(layer_keys)
            values.append(layer_values)
        return self.output_proj(self.norm(hidden)), tuple(keys), tuple(values)


def window_mask(seen: mx.array, *, frames: int, window: int) -> mx.array:
    """Which of `window - 1` remembered and `frames` new keys each new frame sees: `(B, 1, frames, W - 1 + frames)`.

    A frame sees itself and `window - 1` frames before it; of the remembered ones only those that `seen` `(B,)`
    counts ever existed.
    """
    past = window - 1
    query = mx.arange(frames)[:, None] + past
    key = mx.arange(past + frames)[None, :]
    in_window = (key <= query) & (key > query - window)
    exists = key >= past - seen[:, None, None, None]
    return in_window & exists


class ConvNextBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dwconv = DepthwiseConvolution(channels, CONVNEXT_KERNEL)
        self.norm = nn.LayerNorm(channels, eps=CONVNEXT_EPSILON)
        self.pwconv1 = nn.Linear(channels, CONVNEXT_EXPANSION * channels)
        self.pwconv2 = nn.Linear(CONVNEXT_EXPANSION * channels, channels)
        self.gamma = mx.ones((channels,))

    def __call__(self, value: Array, history: History, kernels: Kernels) -> Array:
        mixed = self.dwconv(value, history, kernels)
        mixed = kernels.layer_norm(mixed, self.norm.weight, self.norm.bias, epsilon=CONVNEXT_EPSILON)
        mixed = kernels.gelu(kernels.linear(mixed, self.pwconv1.weight, self.pwconv1.bias))
        mixed = kernels.linear(mixed, self.pwconv2.weight, self.pwconv2.bias)
        return value + kernels.multiply(mixed, self.gamma)


class DepthwiseConvolution(nn.Module):
    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.conv = Convolution(channels, channels, kernel, groups=channels)
        self.past = kernel - 1

    def __call__(self, value: Array, history: History, kernels: Kernels) -> Array:
        return kernels.convolve_each(history.extend(value, self.past), self.conv.weight, self.conv.bias_or_none)


class ResidualUnit(nn.Module):
    def __init__(self, channels: int, *, dilation: int) -> None:
        super().__init__()
        self.act1 = SnakeBeta(channels)
        self.conv1 = CausalConvolution(channels, channels, DECODER_KERNEL, dilation=dilation)
        self.act2 = SnakeBeta(channels)
        self.conv2 = CausalConvolution(channels, channels, 1)

    def __call__(self, value: Array, history: History, kernels: Kernels) -> Array:
        mixed = self.conv1(self.act1(value, kernels), history, kernels)
        mixed = self.conv2(self.act2(mixed, kernels), history, kernels)
        return value + mixed


class DecoderBlock(nn.Module):
    """`(B, S, C)` -> `(B, S * rate, C / 2)`."""

    def __init__(self, channels: int, out_channels: int, *, rate: int) -> None:
        super().__init__()
        self.block = [
            SnakeBeta(channels),
            ExpandingConvolution(channels, out_channels, 2 * rate, stride=rate),
            *(ResidualUnit(out_channels, dilation=dilation) for dilation in RESIDUAL_DILATIONS),
        ]

    def __call__(self, value: Array, history: History, kernels: Kernels) -> Array:
        snake, expand, *units = self.block
        value = expand(snake(value, kernels), history, kernels)
        for unit in units:
            value = unit(value, history, kernels)
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
        self.pre_conv = CausalConvolution(config.codebook_dim, latent, PRE_CONV_KERNEL)
        self.pre_transformer = DecoderTransformer(config)
        self.upsample = [
            [ExpandingConvolution(latent, latent, ratio, stride=ratio), ConvNextBlock(latent)]
            for ratio in config.upsampling_ratios
        ]
        widths = [width // 2**stage for stage in range(len(config.upsample_rates) + 1)]
        self.decoder = [
            CausalConvolution(latent, width, DECODER_KERNEL),
            *(
                DecoderBlock(widths[stage], widths[stage + 1], rate=rate)
                for stage, rate in enumerate(config.upsample_rates)
            ),
            SnakeBeta(widths[-1]),
            CausalConvolution(widths[-1], 1, DECODER_KERNEL),
        ]

    def initial_state(self, rows: int = 1) -> DecoderState:
        """The state before the first frame of `rows` rows."""
        config = self.config
        shape = (rows, config.num_key_value_heads, config.sliding_window - 1, config.attention_head_dim)
        nothing = mx.zeros(shape, dtype=self.pre_transformer.norm.weight.dtype)
        layers = (nothing,) * config.num_hidden_layers
        return DecoderState(frames=mx.zeros((rows,), mx.int32), keys=layers, values=layers, pre_tails=(), tails=())

    def __call__(self, codes: mx.array, state: DecoderState, kernels: Kernels) -> tuple[Array, DecoderState]:
        latent, keys, values, pre_tails = self.latents(codes, state, kernels)
        history = History(kernels, state.tails or None)
        waveform = self.render(kernels.native(latent), history, kernels)
        frames = mx.minimum(state.frames + codes.shape[1], self.config.sliding_window - 1)
        after = DecoderState(frames=frames, keys=keys, values=values, pre_tails=pre_tails, tails=history.tails)
        return waveform, after

    def latents(
        self, codes: mx.array, state: DecoderState, kernels: Kernels
    ) -> tuple[mx.array, tuple[mx.array, ...], tuple[mx.array, ...], Tails]:
        """The part that works frame by frame: codes `(B, T, Q)` -> `(B, T, latent_dim)`, and its state."""
        history = History(kernels, state.pre_tails or None)
        mixed = self.pre_conv(kernels.native(self.quantizer(codes)), history, kernels)
        latent, keys, values = self.pre_transformer(kernels.mlx(mixed), state)
        return latent, keys, values, history.tails

    def render(self, latent: Array, history: History, kernels: Kernels) -> Array:
        """The part that works sample by sample: `(B, T, latent_dim)` -> `(B, T * samples_per_frame)`."""
        value = latent
        for expand, mix in self.upsample:
            value = mix(expand(value, history, kernels), history, kernels)
        first, *blocks, snake, last = self.decoder
        value = first(value, history, kernels)
        for block in blocks:
            value = block(value, history, kernels)
        value = last(snake(value, kernels), history, kernels)
        return kernels.clip(value)[..., 0]
