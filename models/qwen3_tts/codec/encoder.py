"""24 kHz waveform -> codec frames: strided convolutions, a causal transformer, and residual codebooks.

Mirrors the encoder half of transformers' `modeling_mimi.py` as Qwen3-TTS runs it: full causal attention (the
config's `sliding_window` is never applied), and the first `encoder_valid_num_quantizers` codebooks kept.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from mlx import nn

from models.checkpoint_format.codec_config import EncoderConfig
from models.qwen3_tts.codec.causal_conv import CausalConv1d, Conv1d, StreamState
from models.qwen3_tts.codec.decoder import Attention, LayerScale, linear
from models.qwen3_tts.codec.ops import Array, Ops

DOWNSAMPLE_STRIDE = 2
PIECE_POSITIONS = 75  # transformer positions convolved at a time: 3 s of audio, about 100 MB at published sizes
ATTENTION_SCORES = 1 << 24  # scores held at a time (64 MiB): the longer the audio, the fewer queries together


class EncoderResidual(nn.Module):
    """ELU and convolution, twice, beside a shortcut. Attribute names follow the checkpoint: 0 and 2 are the ELUs."""

    def __init__(self, config: EncoderConfig, channels: int, *, dilation: int) -> None:
        super().__init__()
        hidden = channels // config.compress
        narrow = CausalConv1d(channels, hidden, config.residual_kernel_size, dilation=dilation)
        self.block = [Elu(), narrow, Elu(), CausalConv1d(hidden, channels, 1)]
        if config.use_conv_shortcut:
            self.shortcut = CausalConv1d(channels, channels, 1)

    def __call__(self, value: Array, stream: StreamState, ops: Ops) -> Array:
        beside = self.shortcut(value, stream, ops) if "shortcut" in self else value
        for layer in self.block:
            value = layer(value, stream, ops)
        return beside + value


class Elu(nn.Module):
    def __call__(self, value: Array, stream: StreamState, ops: Ops) -> Array:  # noqa: ARG002 - as its neighbours
        return ops.elu(value)


class EncoderConvolutions(nn.Module):
    """Samples `(B, S, 1)` -> `(B, S / product of ratios, hidden_size)`."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        width = config.num_filters
        self.layers: list[nn.Module] = [CausalConv1d(config.audio_channels, width, config.kernel_size)]
        for ratio in reversed(config.upsampling_ratios):
            self.layers += [
                EncoderResidual(config, width, dilation=config.dilation_growth_rate**depth)
                for depth in range(config.num_residual_layers)
            ]
            self.layers += [Elu(), CausalConv1d(width, 2 * width, 2 * ratio, stride=ratio)]
            width *= 2
        self.layers += [Elu(), CausalConv1d(width, config.hidden_size, config.last_kernel_size)]

    def __call__(self, value: Array, stream: StreamState, ops: Ops) -> Array:
        for layer in self.layers:
            value = layer(value, stream, ops)
        return value


class EncoderMlp(nn.Module):
    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def __call__(self, hidden: Array, ops: Ops) -> Array:
        return linear(self.fc2, ops.gelu(linear(self.fc1, hidden, ops)), ops)


class EncoderLayer(nn.Module):
    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.epsilon = config.norm_eps
        self.self_attn = Attention(config)
        self.mlp = EncoderMlp(config)
        self.input_layernorm = nn.LayerNorm(config.hidden_size)
        self.post_attention_layernorm = nn.LayerNorm(config.hidden_size)
        self.self_attn_layer_scale = LayerScale(config.hidden_size)
        self.mlp_layer_scale = LayerScale(config.hidden_size)

    def __call__(self, hidden: Array, ops: Ops) -> Array:
        attended = self.attend(self._normed(self.input_layernorm, hidden, ops), ops)
        hidden = hidden + self.self_attn_layer_scale(attended, ops)
        mixed = self.mlp(self._normed(self.post_attention_layernorm, hidden, ops), ops)
        return hidden + self.mlp_layer_scale(mixed, ops)

    def attend(self, normed: Array, ops: Ops) -> Array:
        """`(1, L, D)` -> the same. Queries in groups, so that the scores in memory stay bounded for any length."""
        query, key, value = self.self_attn.project(normed, ops)
        base = self.self_attn.rope_theta
        query, key = (ops.apply_rotary(part, base=base, offset=0) for part in (query, key))
        heads, positions = query.shape[1], query.shape[2]
        group = max(1, ATTENTION_SCORES // (heads * positions))
        attended = []
        for start in range(0, positions, group):
            stop = min(start + group, positions)
            mask = np.arange(stop)[None, :] <= np.arange(start, stop)[:, None]
            part = ops.attend(query[:, :, start:stop], key[:, :, :stop], value[:, :, :stop], mask[None, None])
            ops.eval([part])
            attended.append(part)
        return self.self_attn.merge(ops.concat(attended, axis=2), ops)

    def _normed(self, norm: nn.LayerNorm, hidden: Array, ops: Ops) -> Array:
        return ops.layer_norm(hidden, norm.weight, norm.bias, epsilon=self.epsilon)


class EncoderTransformer(nn.Module):
    """One layer after the other over the whole audio, so that only one layer's keys and values are held at a time."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.layers = [EncoderLayer(config) for _ in range(config.num_hidden_layers)]

    def __call__(self, hidden: Array, ops: Ops) -> Array:
        for layer in self.layers:
            hidden = layer(hidden, ops)
            ops.eval([hidden])
        return hidden


class Downsample(nn.Module):
    """Half the rate. At both ends it sees the outermost position repeated, where the other layers see zeros."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.conv = Conv1d(channels, channels, kernel, bias=False)
        self.past = kernel - DOWNSAMPLE_STRIDE

    def __call__(self, hidden: Array, ops: Ops) -> Array:
        missing = -hidden.shape[1] % DOWNSAMPLE_STRIDE
        padded = ops.concat([hidden[:, :1]] * self.past + [hidden] + [hidden[:, -1:]] * missing)
        return ops.conv1d(padded, self.conv.weight, stride=DOWNSAMPLE_STRIDE)


class CodecEncoder(nn.Module):
    """Waveform `(S,)` -> the vectors `(T, hidden_size)` that the codebooks quantise."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = EncoderConvolutions(config)
        self.encoder_transformer = EncoderTransformer(config)
        if config.downsample_kernel is not None:
            self.downsample = Downsample(config.hidden_size, config.downsample_kernel)

    def __call__(self, waveform: npt.NDArray[np.float32], ops: Ops) -> npt.NDArray[np.float32]:
        hidden = self.encoder_transformer(self.run_convolutions(waveform, ops), ops)
        if "downsample" in self:
            hidden = self.downsample(hidden, ops)
        vectors: npt.NDArray[np.float32] = ops.to_numpy(hidden)[0]
        return vectors

    def run_convolutions(self, waveform: npt.NDArray[np.float32], ops: Ops) -> Array:
        """`(S,)` -> `(1, L, hidden_size)`, piece by piece: the memory does not grow with the audio."""
        piece = PIECE_POSITIONS * math.prod(self.config.upsampling_ratios)
        conv_state = None
        pieces = []
        for start in range(0, len(waveform), piece):
            samples = ops.from_numpy(waveform[start : start + piece])[None, :, None]
            stream = StreamState(ops, conv_state)
            pieces.append(self.encoder(samples, stream, ops))
            conv_state = stream.conv_state
            ops.eval([pieces[-1], *conv_state])
        return ops.concat(pieces)
