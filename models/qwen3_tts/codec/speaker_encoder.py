"""24 kHz waveform -> speaker embedding (x-vector) by ECAPA-TDNN.

Mirrors Qwen3-TTS `modeling_qwen3_tts.py`, Qwen3TTSSpeakerEncoder, and the mel front end of its
`extract_speaker_embedding`. Layers work on `(B, T, C)`.
"""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import numpy.typing as npt
from mlx import nn

from models.errors import InvalidReferenceAudio
from models.qwen3_tts.checkpoint.checkpoint import MLX_LAYOUT, Checkpoint
from models.qwen3_tts.checkpoint.codec_config import SpeakerEncoderConfig, speaker_encoder_config
from models.qwen3_tts.checkpoint.tensor_file import Reading
from models.qwen3_tts.codec.causal_conv import Convolution
from models.qwen3_tts.codec.codec import checked_waveform
from models.qwen3_tts.codec.mel import HOP_SAMPLES, log_mel
from models.qwen3_tts.codec.ops import Array, Kernels, default_kernels
from models.qwen3_tts.codec.weights import load_network

SHORTEST_S = 0.1
SMALLEST_VARIANCE = 1e-12
PREFIX = "speaker_encoder."


class TimeDelayLayer(nn.Module):
    """Convolution that keeps the length (what is missing at the ends is mirrored), then ReLU."""

    def __init__(self, channels: int, out_channels: int, *, kernel: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.conv = Convolution(channels, out_channels, kernel)
        self.dilation = dilation
        self.missing = dilation * (kernel - 1)

    def __call__(self, value: Array, kernels: Kernels) -> Array:
        padded = mirror(value, kernels, left=self.missing // 2, right=self.missing - self.missing // 2)
        return kernels.relu(kernels.convolve(padded, self.conv.weight, self.conv.bias, dilation=self.dilation))


def mirror(value: Array, kernels: Kernels, *, left: int, right: int) -> Array:
    """`(B, T, C)` with `left` and `right` frames mirrored at its ends, the outermost frames not repeated."""
    if not left + right:
        return value
    last = value.shape[1] - 1
    before = [value[:, place : place + 1] for place in range(left, 0, -1)]
    after = [value[:, place : place + 1] for place in range(last - 1, last - 1 - right, -1)]
    return kernels.join([*before, value, *after])


class Res2NetLayer(nn.Module):
    """Channels in `scale` groups; each group but the first sees its own input and the last group's output."""

    def __init__(self, channels: int, *, scale: int, kernel: int, dilation: int) -> None:
        super().__init__()
        width = channels // scale
        self.width = width
        self.blocks = [TimeDelayLayer(width, width, kernel=kernel, dilation=dilation) for _ in range(scale - 1)]

    def __call__(self, value: Array, kernels: Kernels) -> Array:
        groups = [value[..., start : start + self.width] for start in range(0, value.shape[-1], self.width)]
        outputs = groups[:1]
        for place, block in enumerate(self.blocks, start=1):
            outputs.append(block(groups[1] if place == 1 else groups[place] + outputs[-1], kernels))
        return kernels.join(outputs, axis=2)


class SqueezeExcitation(nn.Module):
    """Every channel scaled by a gate that sees the mean of all channels over time."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.conv1 = Convolution(channels, squeezed, 1)
        self.conv2 = Convolution(squeezed, channels, 1)

    def __call__(self, value: Array, kernels: Kernels) -> Array:
        squeezed = kernels.relu(pointwise(self.conv1, value.mean(axis=1, keepdims=True), kernels))
        return value * kernels.sigmoid(pointwise(self.conv2, squeezed, kernels))


def pointwise(layer: Convolution, value: Array, kernels: Kernels) -> Array:
    """A convolution of width 1."""
    return kernels.convolve(value, layer.weight, layer.bias)


class SpeakerBlock(nn.Module):
    def __init__(self, channels: int, out_channels: int, config: SpeakerEncoderConfig, *, place: int) -> None:
        super().__init__()
        self.tdnn1 = TimeDelayLayer(channels, out_channels)
        self.res2net_block = Res2NetLayer(
            out_channels,
            scale=config.enc_res2net_scale,
            kernel=config.enc_kernel_sizes[place],
            dilation=config.enc_dilations[place],
        )
        self.tdnn2 = TimeDelayLayer(out_channels, out_channels)
        self.se_block = SqueezeExcitation(out_channels, config.enc_se_channels)

    def __call__(self, value: Array, kernels: Kernels) -> Array:
        mixed = self.res2net_block(self.tdnn1(value, kernels), kernels)
        return value + self.se_block(self.tdnn2(mixed, kernels), kernels)


class AttentivePooling(nn.Module):
    """`(B, T, C)` -> `(B, 1, 2 C)`: mean and deviation over time, each frame weighted by attention of each channel."""

    def __init__(self, channels: int, attention_channels: int) -> None:
        super().__init__()
        self.tdnn = TimeDelayLayer(3 * channels, attention_channels)
        self.conv = Convolution(attention_channels, channels, 1)

    def __call__(self, value: Array, kernels: Kernels) -> Array:
        mean, deviation = _statistics(value, 1 / value.shape[1], kernels)
        context = kernels.join([value, mean + 0 * value, deviation + 0 * value], axis=2)
        scores = pointwise(self.conv, kernels.tanh(self.tdnn(context, kernels)), kernels)
        return kernels.join(_statistics(value, kernels.softmax_over_positions(scores), kernels), axis=2)


def _statistics(value: Array, weights: Array | float, kernels: Kernels) -> list[Array]:
    """Weighted mean and deviation over time, each `(B, 1, C)`."""
    mean = (weights * value).sum(axis=1, keepdims=True)
    centred = value - mean
    variance = (weights * centred * centred).sum(axis=1, keepdims=True)
    return [mean, kernels.root(variance, at_least=SMALLEST_VARIANCE)]


class SpeakerNetwork(nn.Module):
    """Mel frames `(B, T, M)` -> `(B, D)`."""

    def __init__(self, config: SpeakerEncoderConfig) -> None:
        super().__init__()
        widths = config.enc_channels
        first = TimeDelayLayer(
            config.mel_dim, widths[0], kernel=config.enc_kernel_sizes[0], dilation=config.enc_dilations[0]
        )
        middle = [
            SpeakerBlock(widths[place - 1], widths[place], config, place=place) for place in range(1, len(widths) - 1)
        ]
        self.blocks = [first, *middle]
        self.mfa = TimeDelayLayer(
            widths[-1], widths[-1], kernel=config.enc_kernel_sizes[-1], dilation=config.enc_dilations[-1]
        )
        self.asp = AttentivePooling(widths[-1], config.enc_attention_channels)
        self.fc = Convolution(2 * widths[-1], config.enc_dim, 1)

    def __call__(self, mel: Array, kernels: Kernels) -> Array:
        outputs = [mel]
        for block in self.blocks:
            outputs.append(block(outputs[-1], kernels))
        gathered = kernels.join(outputs[2:], axis=2)  # without the mel frames and the first block
        pooled = self.asp(self.mfa(gathered, kernels), kernels)
        return pointwise(self.fc, pooled, kernels)[:, 0]


class SpeakerEncoder:
    """Waveform -> speaker embedding."""

    def __init__(self, config: SpeakerEncoderConfig, network: SpeakerNetwork, kernels: Kernels) -> None:
        self.config = config
        self.network = network
        self.kernels = kernels

    @property
    def shortest_samples(self) -> int:
        """The shortest clip it takes: 0.1 s, or what the widest layer must see to mirror it."""
        return max(round(SHORTEST_S * self.config.sample_rate), self.config.shortest_mel_frames * HOP_SAMPLES)

    def embed(self, waveform: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Mono float32 `(S,)` at 24 kHz -> `(D,)`. Raises InvalidReferenceAudio below `shortest_samples`."""
        samples = checked_waveform(waveform)
        if len(samples) < self.shortest_samples:
            raise InvalidReferenceAudio(
                f"A voice needs at least {self.shortest_samples / self.config.sample_rate:g} s of mono audio; "
                f"this has {len(samples)} samples at {self.config.sample_rate} Hz."
            )
        mel = log_mel(samples, mel_bins=self.config.mel_dim, sample_rate_hz=self.config.sample_rate)
        frames = self.kernels.array(mel[None], self.network.fc.weight.dtype)
        return np.array(self.kernels.host(self.network(frames, self.kernels))[0], np.float32)


def load_speaker_encoder(
    checkpoint: Checkpoint, *, dtype: mx.Dtype = mx.float32, kernels: Kernels | None = None
) -> SpeakerEncoder | None:
    """The speaker encoder of an opened checkpoint, or None where it has none. Raises UnsupportedCheckpoint."""
    reading = Reading()
    encoder = open_speaker_encoder(checkpoint, dtype=dtype, kernels=kernels, reading=reading)
    reading.finish()
    return encoder


def open_speaker_encoder(
    checkpoint: Checkpoint, *, reading: Reading, dtype: mx.Dtype = mx.float32, kernels: Kernels | None = None
) -> SpeakerEncoder | None:
    """`load_speaker_encoder`, which can be used once `reading` is done."""
    if not any(name.startswith(PREFIX) for name in checkpoint.tensors):
        return None
    where = str(checkpoint.folder / "config.json")
    config = speaker_encoder_config(checkpoint.config.get("speaker_encoder_config") or {}, where=where)
    kernels = kernels or default_kernels()
    network = SpeakerNetwork(config)
    load_network(
        network,
        checkpoint.tensors,
        prefix=PREFIX,
        mlx_layout=checkpoint.layout == MLX_LAYOUT,
        dtype=None if kernels.name == "numpy" else dtype,
        what=f"the speaker encoder in {checkpoint.folder}",
        reading=reading,
    )
    return SpeakerEncoder(config, network, kernels)
