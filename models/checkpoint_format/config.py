"""`config.json` and `generation_config.json` of a checkpoint → frozen dataclasses with the files' own field names.

A key that a checkpoint may omit has the official package's default; any other must be present; an unknown one is an
error that names it, because it may change what the network computes.
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, TypeVar

from models.errors import UnsupportedCheckpoint

Config = TypeVar("Config")

# Keys that transformers writes into every config, that only training reads, or that our own parts say elsewhere.
_IGNORED = (
    "add_cross_attention cross_attention_hidden_size decoder_start_token_id diversity_penalty do_sample early_stopping "
    "encoder_no_repeat_ngram_size exponential_decay_length_penalty finetuning_task forced_bos_token_id "
    "forced_eos_token_id is_decoder length_penalty min_length no_repeat_ngram_size num_beam_groups num_beams "
    "num_return_sequences output_scores prefix remove_invalid_values repetition_penalty return_dict_in_generate "
    "sep_token_id temperature tf_legacy_loss tie_encoder_decoder tokenizer_class top_k top_p torchscript typical_p "
    "use_bfloat16 _from_model_config auto_map "
    "_name_or_path architectures model_type transformers_version torch_dtype dtype initializer_range attention_dropout "
    "max_position_embeddings use_cache return_dict output_hidden_states output_attentions max_length layer_types "
    "max_window_layers position_id_per_seconds tokenizer_type quantization quantization_config bos_token_id "
    "eos_token_id pad_token_id tie_word_embeddings chunk_size_feed_forward is_encoder_decoder problem_type "
    "id2label label2id pruned_heads task_specific_params bad_words_ids begin_suppress_tokens suppress_tokens "
    "assistant_token_id attn_implementation _attn_implementation_autoset"
)
IGNORED_KEYS = frozenset(_IGNORED.split())

VARIANTS = ("base", "voice_design", "custom_voice")
KEEPS_ALL: Mapping[str, float] = {"top_k": 0, "top_p": 1.0, "subtalker_top_k": 0, "subtalker_top_p": 1.0}
NEWER = "Update voicejobs, or use a published model (`voicejobs models list --all`)."
SPECIAL_CODES = 1024  # ids at the end of the codec vocabulary that are not codes
MAY_BE_ZERO = ("top_k", "subtalker_top_k", "min_new_tokens", "num_residual_layers")  # as ids may; other counts not

# No known model comes near these; beyond them, a config alone would take the machine's memory.
LARGEST_SIZE, LARGEST_PART = 1 << 20, 10**10  # of any one size; of layers x hidden x intermediate
LONGEST_LIST = 32
_MOST = (
    (16, "dilation_growth_rate num_residual_layers"),
    (64, "enc_dilations enc_kernel_sizes enc_res2net_scale upsample_rates upsampling_ratios"),
    (256, "num_code_groups num_quantizers num_semantic_quantizers encoder_valid_num_quantizers"),
    (256, "kernel_size last_kernel_size residual_kernel_size compress"),
    (512, "num_hidden_layers"),
    (1024, "mel_dim num_attention_heads num_key_value_heads"),
    (4096, "head_dim num_filters"),
    (1 << 16, "hidden_size text_hidden_size latent_dim decoder_dim codebook_dim enc_dim enc_channels"),
    (1 << 16, "enc_attention_channels enc_se_channels vector_quantization_hidden_dimension codebook_size"),
    (1 << 18, "intermediate_size"),
)
MOST: Mapping[str, int] = {key: most for most, keys in _MOST for key in keys.split()}
SHOWN_CHARACTERS = 40  # of a value that is refused


def config_from_checkpoint(
    cls: type[Config], raw: Mapping[str, Any], *, where: str = "config.json", ignored: frozenset[str] = IGNORED_KEYS
) -> Config:
    """`raw` as `cls`, lists as tuples. Raises UnsupportedCheckpoint naming every unknown and every missing key."""
    if not isinstance(raw, Mapping):
        raise UnsupportedCheckpoint(f"{where} should be an object, and is {shown(raw)}.")
    described = {entry.name: entry for entry in fields(cls)}  # type: ignore[arg-type]
    if "rope_theta" in described:
        raw = _with_rope_keys(raw, where=where)
    unknown = {key for key in raw.keys() - described.keys() - ignored if not _says_nothing(key, raw[key])}
    if unknown:
        raise UnsupportedCheckpoint(f"{where} has keys that we do not know: {shown(sorted(unknown))}.", hint=NEWER)
    required = {
        name for name, entry in described.items() if entry.default is MISSING and entry.default_factory is MISSING
    }
    if missing := required - raw.keys():
        raise UnsupportedCheckpoint(f"{where} lacks {sorted(missing)}.")
    values = {key: tuple(raw[key]) if isinstance(raw[key], list) else raw[key] for key in described.keys() & raw.keys()}
    kinds = typing.get_type_hints(cls)
    if wrong := [f"{key} is {shown(raw[key])}" for key in sorted(values) if not _fits(key, values[key], kinds[key])]:
        raise UnsupportedCheckpoint(f"{where} has values that no model has: {', '.join(wrong)}.", hint=NEWER)
    return cls(**values)


def _says_nothing(key: str, value: Any) -> bool:
    """Whether an unknown key changes nothing: it is private to the library that wrote it, or not set."""
    return key.startswith("_") or value is None or value is False or value in ("", [], {})


def shown(value: Any) -> str:
    """A value of a config as a message shows it, cut short."""
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"


def _with_rope_keys(raw: Mapping[str, Any], *, where: str) -> Mapping[str, Any]:
    """A config with `rope_theta` and `rope_scaling`, also where it has `rope_parameters`, as transformers 5 writes it.

    Raises UnsupportedCheckpoint for positions that are not computed so.
    """
    known = {key: value for key, value in raw.items() if key != "rope_parameters"}
    rope = raw.get("rope_parameters")
    if isinstance(rope, Mapping) and rope and all(isinstance(part, Mapping) for part in rope.values()):
        parts = list(rope.values())  # one for each kind of layer
        rope = parts[0] if all(part == parts[0] for part in parts) else {"rope_type": "one for each kind of layer"}
    if isinstance(rope, Mapping):
        known["rope_scaling"] = {key: value for key, value in rope.items() if key != "rope_theta"}
        known |= {"rope_theta": rope["rope_theta"]} if "rope_theta" in rope else {}
    elif rope is not None:
        raise UnsupportedCheckpoint(f"{where}: rope_parameters should be an object, and is {shown(rope)}.")
    scaling = known.get("rope_scaling")
    if isinstance(scaling, Mapping):
        kind, share = scaling.get("rope_type", scaling.get("type", "default")), scaling.get("partial_rotary_factor", 1)
        if kind not in ("default", "mrope", None) or share not in (1, None):
            raise UnsupportedCheckpoint(
                f"{where}.rope_scaling must be of the default type, and is {shown(kind)}"
                f"{'' if share in (1, None) else f' for {shown(share)} of each head'}.",
                hint=NEWER,
            )
    return known


def _fits(key: str, value: Any, kind: Any) -> bool:
    """Whether a value is of its field's type; whole numbers are counts from 1, or ids from 0."""
    origin, inner = typing.get_origin(kind) or kind, typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return any(_fits(key, value, each) for each in inner)
    if origin is int:
        lowest = 0 if key.endswith("_id") or key in MAY_BE_ZERO else 1
        highest = math.inf if key.endswith("_id") else MOST.get(key, LARGEST_SIZE)  # ids are below a size
        return isinstance(value, int) and not isinstance(value, bool) and lowest <= value <= highest
    if origin is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if origin is tuple:
        fits = isinstance(value, tuple) and len(value) <= LONGEST_LIST
        return fits and all(_fits(key, each, inner[0]) for each in value)
    if origin is Mapping:
        return isinstance(value, Mapping) and all(_fits("_id", each, inner[1]) for each in value.values())
    return origin is Any or isinstance(value, origin)


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """Fields that the talker and its code predictor share."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    num_code_groups: int
    vocab_size: int
    rms_norm_eps: float = 1e-6
    rope_theta: float = 1_000_000.0
    rope_scaling: Mapping[str, Any] | None = None  # the talker's M-RoPE sections all see the same position: plain RoPE
    hidden_act: str = "silu"
    attention_bias: bool = False
    sliding_window: int | None = None
    use_sliding_window: bool = False


@dataclass(frozen=True, kw_only=True)
class PredictorConfig(TransformerConfig):
    """The code predictor: first code of a frame → the others."""


@dataclass(frozen=True, kw_only=True)
class TalkerConfig(TransformerConfig):
    """The talker: text and past frames → the first code of the next frame."""

    code_predictor_config: PredictorConfig
    text_hidden_size: int
    text_vocab_size: int
    codec_pad_id: int
    codec_bos_id: int
    codec_eos_token_id: int
    codec_think_id: int
    codec_nothink_id: int
    codec_think_bos_id: int
    codec_think_eos_id: int
    codec_language_id: Mapping[str, int]
    spk_id: Mapping[str, int] = field(default_factory=dict)
    spk_is_dialect: Mapping[str, str | bool] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """All of `config.json`. The speaker encoder's part is left unread, for the module that builds it."""

    talker_config: TalkerConfig
    tts_model_type: str
    tts_model_size: str
    im_start_token_id: int
    im_end_token_id: int
    tts_bos_token_id: int
    tts_eos_token_id: int
    tts_pad_token_id: int
    speaker_encoder_config: Mapping[str, Any] | None = None

    @property
    def ignores_instruct(self) -> bool:
        """Whether the official package drops an instruct, as it does for small preset models by a substring test."""
        return self.tts_model_type == "custom_voice" and self.tts_model_size in "0b6"


@dataclass(frozen=True, kw_only=True)
class GenerationConfig:
    """`generation_config.json`; an absent file or key has the official package's default."""

    do_sample: bool = True
    temperature: float = 0.9
    top_k: int = 50
    top_p: float = 1.0
    repetition_penalty: float = 1.05
    subtalker_dosample: bool = True
    subtalker_temperature: float = 0.9
    subtalker_top_k: int = 50
    subtalker_top_p: float = 1.0
    max_new_tokens: int = 2048
    min_new_tokens: int = 2


def model_config(raw: Mapping[str, Any], *, where: str = "config.json") -> ModelConfig:
    """The whole config of a checkpoint. Raises UnsupportedCheckpoint for values that no known checkpoint has."""
    if raw.get("model_type", "qwen3_tts") != "qwen3_tts":
        raise UnsupportedCheckpoint(
            f"{where} is of a {raw['model_type']!r} model; this engine speaks 'qwen3_tts' only."
        )
    talker_raw = raw.get("talker_config", {})
    predictor_raw = talker_raw.get("code_predictor_config", {}) if isinstance(talker_raw, Mapping) else {}
    predictor = config_from_checkpoint(
        PredictorConfig, predictor_raw, where=f"{where}, talker_config.code_predictor_config"
    )
    talker = config_from_checkpoint(
        TalkerConfig, {**talker_raw, "code_predictor_config": predictor}, where=f"{where}, talker_config"
    )
    config = config_from_checkpoint(ModelConfig, {**raw, "talker_config": talker}, where=where)
    _refuse_what_is_not_computed(config, where=where)
    return config


def _refuse_what_is_not_computed(config: ModelConfig, *, where: str) -> None:
    talker = config.talker_config
    predictor = talker.code_predictor_config
    rules = {
        f"tts_model_type must be one of {', '.join(VARIANTS)}": config.tts_model_type in VARIANTS,
        "num_code_groups must be the same in the talker and its code predictor": (
            talker.num_code_groups == predictor.num_code_groups
        ),
        "num_code_groups must be at least 2": talker.num_code_groups >= 2,
        "codec_eos_token_id must be one of the last 1024 ids of the talker's vocabulary": (
            talker.vocab_size - SPECIAL_CODES <= talker.codec_eos_token_id < talker.vocab_size
        ),
        f"the talker's vocab_size must be above {SPECIAL_CODES}": talker.vocab_size > SPECIAL_CODES,
        "ids must be within the talker's vocab_size": all(at < talker.vocab_size for at in _codec_ids(talker)),
        "tts_*_token_id and im_*_token_id must be within text_vocab_size": all(
            getattr(config, entry.name) < talker.text_vocab_size for entry in fields(config) if _is_id(entry.name)
        ),
        "a dialect in spk_is_dialect must be named in codec_language_id": all(
            name in talker.codec_language_id
            for name in talker.spk_is_dialect.values()
            if isinstance(name, str) and name
        ),
    }
    for name, part in (("talker_config", talker), ("code_predictor_config", predictor)):
        rules |= {
            f"{name}.hidden_act must be silu": part.hidden_act == "silu",
            f"{name}.use_sliding_window must be false": not part.use_sliding_window,
            f"{name}.head_dim must be even": part.head_dim % 2 == 0,
            f"{name}.rope_theta must be above 0": part.rope_theta > 0,
            f"{name} must be of a size that a machine can hold": (
                part.num_hidden_layers * part.hidden_size * part.intermediate_size <= LARGEST_PART
            ),
            f"{name}: query heads must be a multiple of key/value heads": (
                part.num_attention_heads % part.num_key_value_heads == 0
            ),
        }
    if wrong := [rule for rule, holds in rules.items() if not holds]:
        raise UnsupportedCheckpoint(f"{where}: {'; '.join(wrong)}.")


def _is_id(name: str) -> bool:
    return name.endswith("_id")


def _codec_ids(talker: TalkerConfig) -> list[int]:
    """Every id of the codec vocabulary that the config names."""
    named = [getattr(talker, entry.name) for entry in fields(talker) if _is_id(entry.name)]
    single = [value for value in named if isinstance(value, int)]
    return [*single, *talker.codec_language_id.values(), *talker.spk_id.values()]


def generation_config(raw: Mapping[str, Any], *, where: str = "generation_config.json") -> GenerationConfig:
    """The checkpoint's own sampling. A key that is null keeps everything or has its default; unknown ones do nothing.

    Raises UnsupportedCheckpoint for values that cannot be meant.
    """
    if not isinstance(raw, Mapping):
        raise UnsupportedCheckpoint(f"{where} should be an object, and is {shown(raw)}.")
    known = {entry.name for entry in fields(GenerationConfig)}
    no_limit = {key: KEEPS_ALL[key] for key in KEEPS_ALL if raw.get(key, 0) is None}
    stated = {key: value for key, value in raw.items() if key in known and value is not None}
    return config_from_checkpoint(GenerationConfig, {**stated, **no_limit}, where=where)
