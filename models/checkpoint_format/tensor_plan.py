"""The configs of a checkpoint → its tensors in the official layout: name, shape, and the spread of a random one.

Loading asks for these and no others. Spreads are chosen so that signals neither vanish nor blow up on their way
through; the speech of such a checkpoint is noise.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from models.checkpoint_format.codec_config import CodecConfig, DecoderConfig, EncoderConfig, SpeakerEncoderConfig
from models.checkpoint_format.config import ModelConfig, TransformerConfig

PRE_CONV_KERNEL = 3
CONVNEXT_KERNEL = 7
CONVNEXT_EXPANSION = 4
DECODER_KERNEL = 7
RESIDUAL_DILATIONS = (1, 3, 9)


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A tensor to draw: uniform around `mean` with the standard deviation `spread`."""

    shape: tuple[int, ...]
    spread: float
    mean: float = 0.0
    is_transposed: bool = False  # a transposed convolution (in, out, kernel); all others are (out, in, kernel)

    @property
    def mlx_shape(self) -> tuple[int, ...]:
        """The shape where the file has MLX's layout: convolutions as (out, kernel, in)."""
        if len(self.shape) != 3:
            return self.shape
        first, second, kernel = self.shape
        return (second, kernel, first) if self.is_transposed else (first, kernel, second)


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
        expanding = Drawn(shape=(latent, latent, ratio), spread=1 / math.sqrt(latent), is_transposed=True)
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
    expanding = Drawn(shape=(width, half, 2 * rate), spread=0.7 / math.sqrt(2 * width), is_transposed=True)
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


# Parts of the official codec that we never read; a file may have them or not.
UNREAD_BY_THE_DECODER = re.compile(r"decoder\.quantizer\.rvq_\w+\.input_proj\.weight")
UNREAD_BY_THE_ENCODER = re.compile(
    r"encoder\.quantizer\.(semantic|acoustic)_residual_vector_quantizer\."
    r"(layers\.\d+\.codebook\.(embed_sum|cluster_usage|initialized)|(input|output)_proj\.weight)"
)  # `codebooks_plan` has some of them
KNOWN_PARTS = re.compile(r"(de|en)coder\.")
SEMANTIC, ACOUSTIC = "semantic_residual_vector_quantizer", "acoustic_residual_vector_quantizer"


def codebooks_plan(config: CodecConfig) -> Plan:
    """The part of the encoder's quantizers that is read: those of the codes that a frame has."""
    encoder, codebooks = config.encoder_config, config.encoder_valid_num_quantizers
    semantic = min(encoder.num_semantic_quantizers, codebooks)
    plan: Plan = {}
    for group, count in ((SEMANTIC, semantic), (ACOUSTIC, codebooks - semantic)):
        name = f"encoder.quantizer.{group}"
        whole = quantizer_plan(name, encoder, count=count)
        plan |= {key: drawn for key, drawn in whole.items() if not key.endswith((".initialized", "output_proj.weight"))}
    return plan
