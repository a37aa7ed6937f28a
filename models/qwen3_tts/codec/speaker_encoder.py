"""24 kHz waveform -> speaker embedding (x-vector) by ECAPA-TDNN.

Mirrors Qwen3-TTS `modeling_qwen3_tts.py`, Qwen3TTSSpeakerEncoder, and the mel front end of its
`extract_speaker_embedding`. Layers work on `(B, T, C)`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from mlx import nn

from models.checkpoint_format.codec_config import SpeakerEncoderConfig, speaker_encoder_config
from models.checkpoint_format.fit import LoadErrors
from models.errors import InvalidReferenceAudio
from models.qwen3_tts.checkpoint.checkpoint import Checkpoint
from models.qwen3_tts.checkpoint.tensor_file import DeferredReads
from models.qwen3_tts.codec.causal_conv import Conv1d
from models.qwen3_tts.codec.codec import checked_waveform
from models.qwen3_tts.codec.mel import HOP_SAMPLES, log_mel
from models.qwen3_tts.codec.ops import Array, Ops, default_ops
from models.qwen3_tts.codec.weights import load_network

SHORTEST_S = 0.1
SMALLEST_VARIANCE = 1e-12
SPEAKER_ENCODER_PREFIX = "speaker_encoder."


class TimeDelayLayer(nn.Module):
    """Convolution that keeps the length (the ends are mirrored), then ReLU."""

    def __init__(self, channels: int, out_channels: int, *, kernel: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.conv = Conv1d(channels, out_channels, kernel)
        self.dilation = dilation
        self.missing = dilation * (kernel - 1)

    def __call__(self, value: Array, ops: Ops) -> Array:
        padded = mirror(value, ops, left=self.missing // 2, right=self.missing - self.missing // 2)
        return ops.relu(ops.conv1d(padded, self.conv.weight, self.conv.bias, dilation=self.dilation))


def mirror(value: Array, ops: Ops, *, left: int, right: int) -> Array:
    """`(B, T, C)` with `left` and `right` frames mirrored at its ends, the outermost frames not repeated."""
    if not left + right:
        return value
    last = value.shape[1] - 1
    before = [value[:, place : place + 1] for place in range(left, 0, -1)]
    after = [value[:, place : place + 1] for place in range(last - 1, last - 1 - right, -1)]
    return ops.concat([*before, value, *after])


class Res2NetLayer(nn.Module):
    """Channels in `scale` groups; each group but the first sees its own input and the last group's output."""

    def __init__(self, channels: int, *, scale: int, kernel: int, dilation: int) -> None:
        super().__init__()
        width = channels // scale
        self.width = width
        self.blocks = [TimeDelayLayer(width, width, kernel=kernel, dilation=dilation) for _ in range(scale - 1)]

    def __call__(self, value: Array, ops: Ops) -> Array:
        groups = [value[..., start : start + self.width] for start in range(0, value.shape[-1], self.width)]
        outputs = groups[:1]
        for place, block in enumerate(self.blocks, start=1):
            outputs.append(block(groups[1] if place == 1 else groups[place] + outputs[-1], ops))
        return ops.concat(outputs, axis=2)


class SqueezeExcitation(nn.Module):
    """Every channel scaled by a gate that sees the mean of all channels over time."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.conv1 = Conv1d(channels, squeezed, 1)
        self.conv2 = Conv1d(squeezed, channels, 1)

    def __call__(self, value: Array, ops: Ops) -> Array:
        squeezed = ops.relu(pointwise(self.conv1, value.mean(axis=1, keepdims=True), ops))
        return value * ops.sigmoid(pointwise(self.conv2, squeezed, ops))


def pointwise(layer: Conv1d, value: Array, ops: Ops) -> Array:
    """A convolution of width 1."""
    return ops.conv1d(value, layer.weight, layer.bias)


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

    def __call__(self, value: Array, ops: Ops) -> Array:
        mixed = self.res2net_block(self.tdnn1(value, ops), ops)
        return value + self.se_block(self.tdnn2(mixed, ops), ops)


class AttentivePooling(nn.Module):
    """`(B, T, C)` -> `(B, 1, 2 C)`: mean and deviation over time, each frame weighted by attention of each channel."""

    def __init__(self, channels: int, attention_channels: int) -> None:
        super().__init__()
        self.tdnn = TimeDelayLayer(3 * channels, attention_channels)
        self.conv = Conv1d(attention_channels, channels, 1)

    def __call__(self, value: Array, ops: Ops) -> Array:
        mean, deviation = _statistics(value, 1 / value.shape[1], ops)
        context = ops.concat([value, mean + 0 * value, deviation + 0 * value], axis=2)
        scores = pointwise(self.conv, ops.tanh(self.tdnn(context, ops)), ops)
        return ops.concat(_statistics(value, ops.softmax_over_positions(scores), ops), axis=2)


def _statistics(value: Array, weights: Array | float, ops: Ops) -> list[Array]:
    """Weighted mean and deviation over time, each `(B, 1, C)`."""
    mean = (weights * value).sum(axis=1, keepdims=True)
    centred = value - mean
    variance = (weights * centred * centred).sum(axis=1, keepdims=True)
    return [mean, ops.sqrt(variance, at_least=SMALLEST_VARIANCE)]


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
        self.fc = Conv1d(2 * widths[-1], config.enc_dim, 1)

    def __call__(self, mel: Array, ops: Ops) -> Array:
        outputs = [mel]
        for block in self.blocks:
            outputs.append(block(outputs[-1], ops))
        gathered = ops.concat(outputs[2:], axis=2)  # without the mel frames and the first block
        pooled = self.asp(self.mfa(gathered, ops), ops)
        return pointwise(self.fc, pooled, ops)[:, 0]


class SpeakerEncoder:
    """Waveform -> speaker embedding."""

    def __init__(self, config: SpeakerEncoderConfig, network: SpeakerNetwork, ops: Ops) -> None:
        self.config = config
        self.network = network
        self.ops = ops

    @property
    def shortest_samples(self) -> int:
        """Length of the shortest usable clip: 0.1 s, or as much as the widest layer needs for mirroring."""
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
        embedding = self.network(self.ops.from_numpy(mel[None]), self.ops)
        return np.array(self.ops.to_numpy(embedding)[0], np.float32)


def open_speaker_encoder(
    checkpoint: Checkpoint, *, reads: DeferredReads, errors: LoadErrors, ops: Ops | None = None
) -> SpeakerEncoder | None:
    """The speaker encoder of a checkpoint, or None where it has none; usable once `reads` are done.

    Tensors that do not fit are noted in `errors`. Raises UnsupportedCheckpoint for its config.
    """
    if not any(name.startswith(SPEAKER_ENCODER_PREFIX) for name in checkpoint.tensors):
        return None
    where = str(checkpoint.folder / "config.json")
    config = speaker_encoder_config(checkpoint.config.get("speaker_encoder_config") or {}, where=where)
    ops = ops or default_ops()
    network = SpeakerNetwork(config)
    load_network(
        network,
        checkpoint,
        prefix=SPEAKER_ENCODER_PREFIX,
        what=f"the speaker encoder in {checkpoint.folder}",
        by_numpy=ops.name == "numpy",
        reads=reads,
        errors=errors,
    )
    return SpeakerEncoder(config, network, ops)
