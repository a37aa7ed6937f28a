"""Configs and a seed → a checkpoint of random weights in the official layout, for self-tests, benchmarks and tests.

Numbers come from a counter-based generator keyed by the seed and the tensor's name, so that equal seeds give equal
files on every machine. Spreads are chosen so that signals neither vanish nor blow up on their way through; the
speech is noise.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from models.qwen3_tts.checkpoint.codec_config import CodecConfig, DecoderConfig, EncoderConfig, SpeakerEncoderConfig
from models.qwen3_tts.checkpoint.config import ModelConfig, TransformerConfig
from models.qwen3_tts.codec.decoder import (
    CONVNEXT_EXPANSION,
    CONVNEXT_KERNEL,
    DECODER_KERNEL,
    PRE_CONV_KERNEL,
    RESIDUAL_DILATIONS,
)

DEAD_CODEWORDS = 16  # every 16th codeword was never used in training, as in real codebooks
DEAD_USAGE = 1e-5


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A tensor to draw: uniform around `mean` with the standard deviation `spread`."""

    shape: tuple[int, ...]
    spread: float
    mean: float = 0.0


Plan = dict[str, Drawn]


def linear(outputs: int, inputs: int, *, gain: float = 1.0) -> Drawn:
    return Drawn(shape=(outputs, inputs), spread=gain / math.sqrt(inputs))


def convolution(outputs: int, inputs: int, kernel: int, *, gain: float = 1.0) -> Drawn:
    return Drawn(shape=(outputs, inputs, kernel), spread=gain / math.sqrt(inputs * kernel))


def around_one(size: int, *, mean: float = 1.0) -> Drawn:
    return Drawn(shape=(size,), spread=0.17, mean=mean)


def small(size: int) -> Drawn:
    return Drawn(shape=(size,), spread=0.03)


def model_plan(config: ModelConfig, speaker: SpeakerEncoderConfig | None) -> Plan:
    """The tensors of `model.safetensors`. `speaker` None leaves the speaker encoder out."""
    talker, predictor = config.talker_config, config.talker_config.code_predictor_config
    hidden, text = talker.hidden_size, talker.text_hidden_size
    plan: Plan = {
        "talker.model.text_embedding.weight": Drawn(shape=(talker.text_vocab_size, text), spread=1.0),
        "talker.model.codec_embedding.weight": Drawn(shape=(talker.vocab_size, hidden), spread=0.6),
        "talker.text_projection.linear_fc1.weight": linear(text, text, gain=1.6),
        "talker.text_projection.linear_fc1.bias": small(text),
        "talker.text_projection.linear_fc2.weight": linear(hidden, text, gain=1.6),
        "talker.text_projection.linear_fc2.bias": small(hidden),
        "talker.codec_head.weight": linear(talker.vocab_size, hidden, gain=3.0),
        **transformer_plan("talker.model", talker),
        **transformer_plan("talker.code_predictor.model", predictor),
    }
    for group in range(talker.num_code_groups - 1):
        embedding = Drawn(shape=(predictor.vocab_size, hidden), spread=0.3)
        plan[f"talker.code_predictor.model.codec_embedding.{group}.weight"] = embedding
        head = linear(predictor.vocab_size, predictor.hidden_size, gain=3.0)
        plan[f"talker.code_predictor.lm_head.{group}.weight"] = head
    if hidden != predictor.hidden_size:
        name = "talker.code_predictor.small_to_mtp_projection"
        plan[f"{name}.weight"] = linear(predictor.hidden_size, hidden)
        plan[f"{name}.bias"] = small(predictor.hidden_size)
    return plan if speaker is None else plan | speaker_plan(speaker)


def transformer_plan(prefix: str, config: TransformerConfig) -> Plan:
    """Tensors of the layers of the talker or of its code predictor, which have the same form."""
    hidden, head = config.hidden_size, config.head_dim
    queries, keys = config.num_attention_heads * head, config.num_key_value_heads * head
    plan: Plan = {f"{prefix}.norm.weight": around_one(hidden)}
    for index in range(config.num_hidden_layers):
        layer: Plan = {
            "input_layernorm.weight": around_one(hidden),
            "post_attention_layernorm.weight": around_one(hidden),
            "self_attn.q_proj.weight": linear(queries, hidden),
            "self_attn.k_proj.weight": linear(keys, hidden),
            "self_attn.v_proj.weight": linear(keys, hidden),
            "self_attn.o_proj.weight": linear(hidden, queries, gain=0.9),
            "self_attn.q_norm.weight": around_one(head, mean=1.4),
            "self_attn.k_norm.weight": around_one(head, mean=1.4),
            "mlp.gate_proj.weight": linear(config.intermediate_size, hidden),
            "mlp.up_proj.weight": linear(config.intermediate_size, hidden),
            "mlp.down_proj.weight": linear(hidden, config.intermediate_size, gain=0.9),
        }
        if config.attention_bias:
            sizes = {"q_proj": queries, "k_proj": keys, "v_proj": keys, "o_proj": hidden}
            layer |= {f"self_attn.{name}.bias": small(size) for name, size in sizes.items()}
        plan |= {f"{prefix}.layers.{index}.{name}": drawn for name, drawn in layer.items()}
    return plan


def speaker_plan(config: SpeakerEncoderConfig) -> Plan:
    widths, gain = config.enc_channels, math.sqrt(2)
    plan: Plan = {}

    def add(name: str, outputs: int, inputs: int, kernel: int = 1) -> None:
        plan[f"speaker_encoder.{name}.weight"] = convolution(outputs, inputs, kernel, gain=gain)
        plan[f"speaker_encoder.{name}.bias"] = small(outputs)

    add("blocks.0.conv", widths[0], config.mel_dim, config.enc_kernel_sizes[0])
    for place in range(1, len(widths) - 1):
        block, width = f"blocks.{place}", widths[place]
        group = width // config.enc_res2net_scale
        add(f"{block}.tdnn1.conv", width, widths[place - 1])
        for index in range(config.enc_res2net_scale - 1):
            add(f"{block}.res2net_block.blocks.{index}.conv", group, group, config.enc_kernel_sizes[place])
        add(f"{block}.tdnn2.conv", width, width)
        add(f"{block}.se_block.conv1", config.enc_se_channels, width)
        add(f"{block}.se_block.conv2", width, config.enc_se_channels)
    last = widths[-1]
    add("mfa.conv", last, last, config.enc_kernel_sizes[-1])
    add("asp.tdnn.conv", config.enc_attention_channels, 3 * last)
    add("asp.conv", last, config.enc_attention_channels)
    add("fc", config.enc_dim, 2 * last)
    return plan


def decoder_plan(config: DecoderConfig) -> Plan:
    latent, width, hidden = config.latent_dim, config.decoder_dim, config.hidden_size
    plan: Plan = {}
    for group, count in (("rvq_first", 1), ("rvq_rest", config.num_quantizers - 1)):
        half = config.codebook_dim // 2
        plan[f"quantizer.{group}.input_proj.weight"] = convolution(half, config.codebook_dim, 1)
        plan[f"quantizer.{group}.output_proj.weight"] = convolution(config.codebook_dim, half, 1)
        for index in range(count):
            plan |= codebook_plan(
                f"quantizer.{group}.vq.layers.{index}._codebook", "embedding_sum", size=config.codebook_size, width=half
            )
    plan |= named("pre_conv.conv", convolution(latent, config.codebook_dim, PRE_CONV_KERNEL))
    plan |= named("pre_transformer.input_proj", linear(hidden, latent))
    plan |= named("pre_transformer.output_proj", linear(latent, hidden))
    plan["pre_transformer.norm.weight"] = around_one(hidden)
    mlp = {"gate_proj": (config.intermediate_size, hidden), "up_proj": (config.intermediate_size, hidden)}
    plan |= codec_layers("pre_transformer", config, mlp | {"down_proj": (hidden, config.intermediate_size)}, bias=False)
    for stage, ratio in enumerate(config.upsampling_ratios):
        name = f"upsample.{stage}"
        expanding = Drawn(shape=(latent, latent, ratio), spread=1 / math.sqrt(latent))
        plan |= named(f"{name}.0.conv", expanding, outputs=latent)
        plan |= named(f"{name}.1.dwconv.conv", convolution(latent, 1, CONVNEXT_KERNEL))
        plan |= {f"{name}.1.norm.weight": around_one(latent), f"{name}.1.norm.bias": small(latent)}
        plan |= named(f"{name}.1.pwconv1", linear(CONVNEXT_EXPANSION * latent, latent))
        plan |= named(f"{name}.1.pwconv2", linear(latent, CONVNEXT_EXPANSION * latent))
        plan[f"{name}.1.gamma"] = Drawn(shape=(latent,), spread=0.12, mean=0.4)
    plan |= named("decoder.0.conv", convolution(width, latent, DECODER_KERNEL, gain=0.8))
    for stage, rate in enumerate(config.upsample_rates):
        plan |= decoder_block_plan(f"decoder.{stage + 1}.block", width // 2**stage, rate=rate)
    last, end = width // 2 ** len(config.upsample_rates), len(config.upsample_rates) + 1
    plan |= snake_plan(f"decoder.{end}", last)
    return plan | named(f"decoder.{end + 1}.conv", convolution(1, last, DECODER_KERNEL, gain=0.1))


def decoder_block_plan(name: str, width: int, *, rate: int) -> Plan:
    half = width // 2
    expanding = Drawn(shape=(width, half, 2 * rate), spread=0.7 / math.sqrt(2 * width))
    plan = snake_plan(f"{name}.0", width) | named(f"{name}.1.conv", expanding, outputs=half)
    for index in range(len(RESIDUAL_DILATIONS)):
        unit = f"{name}.{index + 2}"
        plan |= snake_plan(f"{unit}.act1", half) | snake_plan(f"{unit}.act2", half)
        plan |= named(f"{unit}.conv1.conv", convolution(half, half, DECODER_KERNEL, gain=0.5))
        plan |= named(f"{unit}.conv2.conv", convolution(half, half, 1, gain=0.5))
    return plan


def snake_plan(name: str, width: int) -> Plan:
    return {f"{name}.{part}": Drawn(shape=(width,), spread=0.3) for part in ("alpha", "beta")}


def named(name: str, weight: Drawn, *, outputs: int | None = None) -> Plan:
    """Tensors of a layer: weight and bias."""
    return {f"{name}.weight": weight, f"{name}.bias": small(weight.shape[0] if outputs is None else outputs)}


def codebook_plan(name: str, sums: str, *, size: int, width: int) -> Plan:
    return {
        f"{name}.cluster_usage": Drawn(shape=(size,), spread=1.5, mean=3.5),
        f"{name}.{sums}": Drawn(shape=(size, width), spread=1.0),  # multiplied by the usage when it is drawn
    }


def codec_layers(
    prefix: str, config: DecoderConfig | EncoderConfig, mlp: Mapping[str, tuple[int, int]], *, bias: bool
) -> Plan:
    """Tensors of the transformer layers of either half of the codec. `bias`: its norms have one."""
    hidden, head = config.hidden_size, config.attention_head_dim
    queries, keys = config.num_attention_heads * head, config.num_key_value_heads * head
    projections = {"q_proj": (queries, hidden), "k_proj": (keys, hidden), "v_proj": (keys, hidden)}
    linears = {f"self_attn.{name}": shape for name, shape in {**projections, "o_proj": (hidden, queries)}.items()}
    plan: Plan = {}
    for index in range(config.num_hidden_layers):
        layer = {f"{name}.weight": linear(*shape) for name, shape in linears.items()}
        layer |= {f"mlp.{name}.weight": linear(*shape) for name, shape in mlp.items()}
        if config.attention_bias:
            layer |= {f"{name}.bias": small(shape[0]) for name, shape in linears.items()}
        for norm in ("input_layernorm", "post_attention_layernorm"):
            layer[f"{norm}.weight"] = around_one(hidden)
            if bias:
                layer[f"{norm}.bias"] = small(hidden)
        for scale in ("self_attn_layer_scale", "mlp_layer_scale"):
            layer[f"{scale}.scale"] = Drawn(shape=(hidden,), spread=0.12, mean=0.4)
        plan |= {f"{prefix}.layers.{index}.{name}": drawn for name, drawn in layer.items()}
    return plan


def encoder_plan(config: EncoderConfig) -> Plan:
    width, gain, hidden = config.num_filters, 1.3, config.hidden_size
    layers: list[Plan] = [named("conv", convolution(width, config.audio_channels, config.kernel_size, gain=5.0))]
    for ratio in reversed(config.upsampling_ratios):
        for _ in range(config.num_residual_layers):
            narrow = width // config.compress
            residual = named("block.1.conv", convolution(narrow, width, config.residual_kernel_size, gain=gain))
            residual |= named("block.3.conv", convolution(width, narrow, 1, gain=gain))
            if config.use_conv_shortcut:
                residual |= named("shortcut.conv", convolution(width, width, 1))
            layers.append(residual)
        layers += [{}, named("conv", convolution(2 * width, width, 2 * ratio, gain=gain))]  # {}: an activation
        width *= 2
    layers += [{}, named("conv", convolution(hidden, width, config.last_kernel_size, gain=gain))]
    plan = {
        f"encoder.layers.{index}.{name}": drawn for index, layer in enumerate(layers) for name, drawn in layer.items()
    }
    mlp = {"fc1": (config.intermediate_size, hidden), "fc2": (hidden, config.intermediate_size)}
    plan |= codec_layers("encoder_transformer", config, mlp, bias=True)
    if config.downsample_kernel is not None:
        plan["downsample.conv.weight"] = convolution(hidden, hidden, config.downsample_kernel)
    semantic = config.num_semantic_quantizers
    for group, count in (("semantic", semantic), ("acoustic", config.num_quantizers - semantic)):
        plan |= quantizer_plan(f"quantizer.{group}_residual_vector_quantizer", config, count=count)
    return plan


def quantizer_plan(prefix: str, config: EncoderConfig, *, count: int) -> Plan:
    width, hidden = config.vector_quantization_hidden_dimension, config.hidden_size
    plan: Plan = {}
    if width != hidden:
        plan[f"{prefix}.input_proj.weight"] = convolution(width, hidden, 1, gain=0.8)
        plan[f"{prefix}.output_proj.weight"] = convolution(hidden, width, 1)
    for index in range(count):
        name = f"{prefix}.layers.{index}.codebook"
        plan |= codebook_plan(name, "embed_sum", size=config.codebook_size, width=config.codebook_dim)
        plan[f"{name}.initialized"] = Drawn(shape=(1,), spread=0.0, mean=1.0)
    return plan


def codec_plan(config: CodecConfig, *, encoder: bool = True) -> Plan:
    """The tensors of `speech_tokenizer/model.safetensors`."""
    plan = {f"decoder.{name}": drawn for name, drawn in decoder_plan(config.decoder_config).items()}
    if encoder:
        plan |= {f"encoder.{name}": drawn for name, drawn in encoder_plan(config.encoder_config).items()}
    return plan


def draw(name: str, drawn: Drawn, *, seed: int) -> npt.NDArray[np.float32]:
    """The tensor `name`; equal seeds and names give equal numbers on every machine."""
    size = math.prod(drawn.shape)
    bits = np.random.Philox(key=[seed, zlib.crc32(name.encode())]).random_raw((size + 1) // 2)
    uniform = (bits.view(np.uint32)[:size] >> np.uint32(8)).astype(np.float32)  # 24 bits: every float is exact
    uniform *= np.float32(2 * math.sqrt(3) * drawn.spread / (1 << 24))
    uniform += np.float32(drawn.mean - math.sqrt(3) * drawn.spread)
    shaped: npt.NDArray[np.float32] = uniform.reshape(drawn.shape)
    return shaped


def drawn_tensors(plan: Plan, *, seed: int) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    """Every tensor of a plan, one at a time. A codebook's sums are its codewords times their usage."""
    for name, drawn in plan.items():
        value = draw(name, drawn, seed=seed)
        if name.endswith(".cluster_usage"):
            value[::DEAD_CODEWORDS] = 0
        elif name.endswith((".embedding_sum", ".embed_sum")):
            usage_name = name.rpartition(".")[0] + ".cluster_usage"
            usage = draw(usage_name, plan[usage_name], seed=seed)
            usage[::DEAD_CODEWORDS] = DEAD_USAGE
            value *= usage[:, None]
        yield name, value


def write_tensors(path: Path, plan: Plan, *, seed: int, dtype: mx.Dtype, names: Sequence[str] | None = None) -> None:
    """Draw a plan (or the named part of it) into one safetensors file of the official layout."""
    part = plan if names is None else {name: plan[name] for name in names}
    usages = {name: plan[name] for name in plan if name.endswith(".cluster_usage")}
    arrays = {}
    for name, value in drawn_tensors(part | usages, seed=seed):
        if name in part:
            arrays[name] = mx.array(value).astype(dtype)
            mx.eval(arrays[name])  # otherwise its float32 is kept until the file is written
    mx.save_safetensors(str(path), arrays, metadata={"format": "pt"})
