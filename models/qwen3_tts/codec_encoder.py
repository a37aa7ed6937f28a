"""24 kHz waveform -> codec frames: strided convolutions, a causal transformer, and residual codebooks.

Mirrors the encoder half of transformers' `modeling_mimi.py` as Qwen3-TTS runs it: full causal attention (the
config's `sliding_window` is never applied), and the first `encoder_valid_num_quantizers` codebooks kept.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt
from mlx import nn

from models.qwen3_tts.codec_config import EncoderConfig
from models.qwen3_tts.codec_decoder import LayerScale
from models.qwen3_tts.convolution import CausalConvolution, Convolution, History
from models.qwen3_tts.waveform_kernels import Array, Kernels

DOWNSAMPLE_STRIDE = 2
PIECE_POSITIONS = 75  # transformer positions convolved at a time: 3 s of audio, about 100 MB at published sizes
ATTENTION_SCORES = 1 << 24  # scores held at a time (64 MiB): the longer the audio, the fewer queries together


class EncoderResidual(nn.Module):
    """ELU and convolution, twice, beside a shortcut. Attribute names follow the checkpoint: 0 and 2 are the ELUs."""

    def __init__(self, config: EncoderConfig, channels: int, *, dilation: int) -> None:
        super().__init__()
        hidden = channels // config.compress
        narrow = CausalConvolution(channels, hidden, config.residual_kernel_size, dilation=dilation)
        self.block = [Elu(), narrow, Elu(), CausalConvolution(hidden, channels, 1)]
        if config.use_conv_shortcut:
            self.shortcut = CausalConvolution(channels, channels, 1)

    def __call__(self, value: Array, history: History, kernels: Kernels) -> Array:
        beside = self.shortcut(value, history, kernels) if "shortcut" in self else value
        for layer in self.block:
            value = layer(value, history, kernels)
        return beside + value


class Elu(nn.Module):
    def __call__(self, value: Array, history: History, kernels: Kernels) -> Array:  # noqa: ARG002 - as its neighbours
        return kernels.elu(value)


class EncoderConvolutions(nn.Module):
    """Samples `(B, S, 1)` -> `(B, S / product of ratios, hidden_size)`."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        width = config.num_filters
        self.layers: list[nn.Module] = [CausalConvolution(config.audio_channels, width, config.kernel_size)]
        for ratio in reversed(config.upsampling_ratios):
            self.layers += [
                EncoderResidual(config, width, dilation=config.dilation_growth_rate**depth)
                for depth in range(config.num_residual_layers)
            ]
            self.layers += [Elu(), CausalConvolution(width, 2 * width, 2 * ratio, stride=ratio)]
            width *= 2
        self.layers += [Elu(), CausalConvolution(width, config.hidden_size, config.last_kernel_size)]

    def __call__(self, value: Array, history: History, kernels: Kernels) -> Array:
        for layer in self.layers:
            value = layer(value, history, kernels)
        return value


class EncoderAttention(nn.Module):
    def __init__(self, config: EncoderConfig) -> None:
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

    def __call__(self, hidden: mx.array) -> mx.array:
        """`(1, L, D)` -> the same. Queries in groups, so that the scores in memory stay bounded for any length."""
        keys = self._rotated(self.k_proj(hidden), self.kv_heads)
        values = self._split(self.v_proj(hidden), self.kv_heads)
        queries = self._rotated(self.q_proj(hidden), self.heads)
        positions = hidden.shape[1]
        group = max(1, ATTENTION_SCORES // (self.heads * positions))
        attended = []
        for start in range(0, positions, group):
            stop = min(start + group, positions)
            mask = mx.arange(stop)[None, :] <= mx.arange(start, stop)[:, None]
            attended.append(
                mx.fast.scaled_dot_product_attention(
                    queries[:, :, start:stop],
                    keys[:, :, :stop],
                    values[:, :, :stop],
                    scale=self.head_dim**-0.5,
                    mask=mask,
                )
            )
            mx.eval(attended[-1])
        merged = mx.concatenate(attended, axis=2).transpose(0, 2, 1, 3).flatten(2)
        return self.o_proj(merged)

    def _split(self, value: mx.array, heads: int) -> mx.array:
        rows, positions, _ = value.shape
        return value.reshape(rows, positions, heads, self.head_dim).transpose(0, 2, 1, 3)  # (B, H, L, E)

    def _rotated(self, value: mx.array, heads: int) -> mx.array:
        return mx.fast.rope(
            self._split(value, heads), self.head_dim, traditional=False, base=self.rope_theta, scale=1.0, offset=0
        )


class EncoderMlp(nn.Module):
    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def __call__(self, hidden: mx.array) -> mx.array:
        return self.fc2(nn.gelu(self.fc1(hidden)))


class EncoderLayer(nn.Module):
    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.self_attn = EncoderAttention(config)
        self.mlp = EncoderMlp(config)
        self.input_layernorm = nn.LayerNorm(config.hidden_size, eps=config.norm_eps)
        self.post_attention_layernorm = nn.LayerNorm(config.hidden_size, eps=config.norm_eps)
        self.self_attn_layer_scale = LayerScale(config.hidden_size)
        self.mlp_layer_scale = LayerScale(config.hidden_size)

    def __call__(self, hidden: mx.array) -> mx.array:
        hidden = hidden + self.self_attn_layer_scale(self.self_attn(self.input_layernorm(hidden)))
        return hidden + self.mlp_layer_scale(self.mlp(self.post_attention_layernorm(hidden)))


class EncoderTransformer(nn.Module):
    """Layer after layer over the whole audio, so that only one layer's keys and values are held at a time."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.layers = [EncoderLayer(config) for _ in range(config.num_hidden_layers)]

    def __call__(self, hidden: mx.array) -> mx.array:
        for layer in self.layers:
            hidden = layer(hidden)
            mx.eval(hidden)
        return hidden


class Downsample(nn.Module):
    """Halves the rate. At both ends it sees the outermost position repeated, where the other layers see zeros."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.conv = Convolution(channels, channels, kernel, bias=False)
        self.past = kernel - DOWNSAMPLE_STRIDE

    def __call__(self, hidden: mx.array, kernels: Kernels) -> mx.array:
        missing = -hidden.shape[1] % DOWNSAMPLE_STRIDE
        before = mx.repeat(hidden[:, :1], self.past, axis=1)
        after = mx.repeat(hidden[:, -1:], missing, axis=1)
        padded = kernels.native(mx.concatenate([before, hidden, after], axis=1))
        return kernels.mlx(kernels.convolve(padded, self.conv.weight, None, stride=DOWNSAMPLE_STRIDE))


class CodecEncoder(nn.Module):
    """Waveform `(S,)` -> the vectors `(T, hidden_size)` that the codebooks quantise."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = EncoderConvolutions(config)
        self.encoder_transformer = EncoderTransformer(config)
        if config.downsample_kernel is not None:
            self.downsample = Downsample(config.hidden_size, config.downsample_kernel)

    def __call__(self, waveform: npt.NDArray[np.float32], kernels: Kernels) -> npt.NDArray[Any]:
        hidden = self.encoder_transformer(self.convolve(waveform, kernels))
        if "downsample" in self:
            hidden = self.downsample(hidden, kernels)
        return np.asarray(hidden[0].astype(mx.float32))

    def convolve(self, waveform: npt.NDArray[np.float32], kernels: Kernels) -> mx.array:
        """`(S,)` -> `(1, L, hidden_size)`, piece by piece: the memory does not grow with the audio."""
        dtype = self.encoder_transformer.layers[0].input_layernorm.weight.dtype
        stride = int(np.prod(self.config.upsampling_ratios))
        tails = None
        pieces = []
        for start in range(0, len(waveform), PIECE_POSITIONS * stride):
            piece = mx.array(waveform[start : start + PIECE_POSITIONS * stride]).astype(dtype)[None, :, None]
            history = History(kernels, tails)
            pieces.append(kernels.mlx(self.encoder(kernels.native(piece), history, kernels)))
            tails = history.tails
            mx.eval(pieces[-1])
        return mx.concatenate(pieces, axis=1)
