"""`speech_tokenizer/config.json` and the speaker encoder's part of `config.json` → frozen dataclasses.

Field names are those of the files. A key that may be absent has the official package's own default; every other
key must be present, and an unknown one is refused by name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models.checkpoint_format.config import IGNORED_KEYS, config_from_checkpoint
from models.errors import UnsupportedCheckpoint

# Further keys of codecs: only training or the unread half of Mimi looks at them.
CODEC_IGNORED_KEYS = IGNORED_KEYS | {
    "layer_scale_initial_scale",
    "normalize",
    "rope_scaling",
    "semantic_codebook_size",
    "trim_right_ratio",
    "upsample_groups",
    "use_streaming",
}


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """Config of codes → waveform. Officially one codebook is semantic, whatever `num_semantic_quantizers` says."""

    codebook_dim: int
    codebook_size: int = 2048
    latent_dim: int = 1024
    hidden_size: int = 1024
    intermediate_size: int = 3072
    num_hidden_layers: int = 8
    num_attention_heads: int = 16
    num_key_value_heads: int = 16
    head_dim: int | None = None  # None: hidden_size / num_attention_heads
    hidden_act: str = "silu"
    attention_bias: bool = False
    rms_norm_eps: float = 1e-5
    rope_theta: float = 10_000.0
    sliding_window: int = 72
    num_quantizers: int = 16
    num_semantic_quantizers: int = 1
    vector_quantization_hidden_dimension: int | None = None  # equal to codebook_dim, and officially not read
    upsample_rates: tuple[int, ...] = (8, 5, 4, 3)
    upsampling_ratios: tuple[int, ...] = (2, 2)
    decoder_dim: int = 1536

    @property
    def attention_head_dim(self) -> int:
        return self.head_dim or self.hidden_size // self.num_attention_heads

    @property
    def samples_per_frame(self) -> int:
        return math.prod(self.upsample_rates) * math.prod(self.upsampling_ratios)


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """Config of waveform → codes, the encoder half of Mimi. The official package never applies `sliding_window`."""

    sampling_rate: int = 24_000
    frame_rate: float | None = None
    _frame_rate: float | None = None
    audio_channels: int = 1
    hidden_size: int = 512
    num_filters: int = 64
    num_residual_layers: int = 1
    upsampling_ratios: tuple[int, ...] = (8, 6, 5, 4)
    kernel_size: int = 7
    last_kernel_size: int = 3
    residual_kernel_size: int = 3
    dilation_growth_rate: int = 2
    use_causal_conv: bool = True
    pad_mode: str = "constant"
    compress: int = 2
    codebook_size: int = 2048
    codebook_dim: int = 256
    num_quantizers: int = 32
    num_semantic_quantizers: int = 1
    use_conv_shortcut: bool = False
    vector_quantization_hidden_dimension: int = 256
    num_hidden_layers: int = 8
    intermediate_size: int = 2048
    num_attention_heads: int = 8
    num_key_value_heads: int = 8
    head_dim: int | None = None
    hidden_act: str = "gelu"
    norm_eps: float = 1e-5
    rope_theta: float = 10_000.0
    sliding_window: int | None = None
    attention_bias: bool = False

    @property
    def attention_head_dim(self) -> int:
        return self.head_dim or self.hidden_size // self.num_attention_heads

    @property
    def positions_per_second(self) -> int:
        """Transformer positions a second, before the last halving."""
        return math.ceil(self.sampling_rate / math.prod(self.upsampling_ratios))

    @property
    def frames_per_second(self) -> float:
        stated = self.frame_rate if self.frame_rate is not None else self._frame_rate
        return stated if stated is not None else self.sampling_rate / (2 * math.prod(self.upsampling_ratios))

    @property
    def downsample_kernel(self) -> int | None:
        """Kernel size of the last halving, or None where the frame rate needs none."""
        if self.frames_per_second == self.positions_per_second:
            return None
        return 2 * int(self.positions_per_second / self.frames_per_second)


@dataclass(frozen=True, kw_only=True)
class CodecConfig:
    """Both halves of the codec. `encoder_config` is kept even when the checkpoint has no encoder weights."""

    decoder_config: DecoderConfig
    encoder_config: EncoderConfig
    encoder_valid_num_quantizers: int = 16
    input_sample_rate: int = 24_000
    output_sample_rate: int = 24_000
    decode_upsample_rate: int = 1920
    encode_downsample_rate: int = 1920


@dataclass(frozen=True, kw_only=True)
class SpeakerEncoderConfig:
    """Config of mel spectrogram → speaker embedding (ECAPA-TDNN)."""

    mel_dim: int = 128
    enc_dim: int = 1024
    enc_channels: tuple[int, ...] = (512, 512, 512, 512, 1536)
    enc_kernel_sizes: tuple[int, ...] = (5, 3, 3, 3, 1)
    enc_dilations: tuple[int, ...] = (1, 2, 3, 4, 1)
    enc_attention_channels: int = 128
    enc_res2net_scale: int = 8
    enc_se_channels: int = 128
    sample_rate: int = 24_000

    @property
    def shortest_mel_frames(self) -> int:
        """Frames that the widest layer needs: one more than it mirrors."""
        widths = zip(self.enc_kernel_sizes, self.enc_dilations, strict=True)
        return max(-(-dilation * (kernel - 1) // 2) for kernel, dilation in widths) + 1


def codec_config(raw: Mapping[str, Any], *, where: str = "speech_tokenizer/config.json") -> CodecConfig:
    """The codec's config. Raises UnsupportedCheckpoint for values that no known checkpoint has."""
    decoder = config_from_checkpoint(
        DecoderConfig, raw.get("decoder_config", {}), where=f"{where}, decoder_config", ignored=CODEC_IGNORED_KEYS
    )
    encoder = config_from_checkpoint(
        EncoderConfig, raw.get("encoder_config", {}), where=f"{where}, encoder_config", ignored=CODEC_IGNORED_KEYS
    )
    parts = {"decoder_config": decoder, "encoder_config": encoder}
    config = config_from_checkpoint(CodecConfig, {**raw, **parts}, where=where, ignored=CODEC_IGNORED_KEYS)
    refuse_what_is_not_computed(config, where=where)
    return config


def speaker_encoder_config(raw: Mapping[str, Any], *, where: str = "config.json") -> SpeakerEncoderConfig:
    """The part `speaker_encoder_config` of a checkpoint's config. Raises UnsupportedCheckpoint."""
    return config_from_checkpoint(SpeakerEncoderConfig, raw, where=f"{where}, speaker_encoder_config")


def refuse_what_is_not_computed(config: CodecConfig, *, where: str) -> None:
    decoder, encoder = config.decoder_config, config.encoder_config
    checks = {
        "encoder_config.use_causal_conv must be true": encoder.use_causal_conv,
        "encoder_config.pad_mode must be constant": encoder.pad_mode == "constant",
        "encoder_config.hidden_act must be gelu": encoder.hidden_act == "gelu",
        "encoder_config.audio_channels must be 1": encoder.audio_channels == 1,
        "decoder_config.hidden_act must be silu": decoder.hidden_act == "silu",
        "decode_upsample_rate must be the product of the decoder's rates": (
            config.decode_upsample_rate == decoder.samples_per_frame
        ),
    }
    if wrong := [rule for rule, holds in checks.items() if not holds]:
        raise UnsupportedCheckpoint(f"{where}: {'; '.join(wrong)}.")
