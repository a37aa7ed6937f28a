"""Checkpoints of random weights on the disk, in the official layout: tiny or full-size, every variant, any dimensions.

    write_checkpoint(folder, variant="custom_voice")                       tiny
    write_checkpoint(folder, variant="base", size="0.6b", dtype=mx.bfloat16)
    write_checkpoint(folder, talker={"num_hidden_layers": 2}, decoder={"num_key_value_heads": 2}, shards=3)
    write_full_size_checkpoint(folder, size="0.6b", variant="base")        which appears whole

Tiny configs are those of `tests/data/reference`, so that one can be changed in one place and compared with the rest.
"""

from __future__ import annotations

import copy
import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx

from models.checkpoint_format.codec_config import codec_config, speaker_encoder_config
from models.checkpoint_format.config import model_config
from models.checkpoint_format.tensor_plan import codec_plan, model_plan
from models.qwen3_tts.random_checkpoint import write_tensors
from tests.reference import REFERENCE

TOKENIZER_FILES = ("vocab.json", "merges.txt", "tokenizer_config.json", "preprocessor_config.json")
FIRST_SPECIAL_TOKEN = {"tiny": 676, "full": 151_643}
# The ids of the tiny checkpoints are the published ones less this, the distance between the vocabularies' sizes.
VOCABULARY_SHIFT = 3072 - 1088

PUBLISHED_PREDICTOR = {
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 5,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 2048,
}
PUBLISHED_TALKER = {
    "0.6b": {"hidden_size": 1024, "intermediate_size": 3072},
    "1.7b": {"hidden_size": 2048, "intermediate_size": 6144},
}
PUBLISHED_TALKER_COMMON = {
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 3072,
    "text_hidden_size": 2048,
    "text_vocab_size": 151_936,
    "rope_scaling": {"interleaved": True, "mrope_section": [24, 20, 20], "rope_type": "default", "type": "default"},
}
PUBLISHED_DECODER = {
    "latent_dim": 1024,
    "codebook_dim": 512,
    "codebook_size": 2048,
    "decoder_dim": 1536,
    "hidden_size": 512,
    "intermediate_size": 1024,
    "head_dim": 64,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "num_hidden_layers": 8,
    "sliding_window": 72,
    "vector_quantization_hidden_dimension": 512,
    "semantic_codebook_size": 4096,
}
PUBLISHED_ENCODER = {
    "codebook_dim": 256,
    "codebook_size": 2048,
    "hidden_size": 512,
    "head_dim": 64,
    "intermediate_size": 2048,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "num_hidden_layers": 8,
    "num_filters": 64,
    "sliding_window": 250,
    "upsample_groups": 512,
    "vector_quantization_hidden_dimension": 256,
}


def read(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return loaded


def write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False), "utf-8")


def raw_config(variant: str, size: str = "tiny") -> dict[str, Any]:
    """`config.json` of a variant: tiny as in the reference checkpoints, or with the published dimensions."""
    raw = copy.deepcopy(read(REFERENCE / variant / "config.json"))
    if size == "tiny":
        return raw
    talker = raw["talker_config"]
    shift_ids(talker)
    talker |= PUBLISHED_TALKER_COMMON | PUBLISHED_TALKER[size]
    talker["code_predictor_config"] |= PUBLISHED_PREDICTOR
    talker["code_predictor_config"]["layer_types"] = ["full_attention"] * PUBLISHED_PREDICTOR["num_hidden_layers"]
    raw["tts_model_size"] = {"0.6b": "0b6", "1.7b": "1b7"}[size]
    for key in ("im_start", "im_end", "tts_pad", "tts_bos", "tts_eos"):
        raw[f"{key}_token_id"] += FIRST_SPECIAL_TOKEN["full"] - FIRST_SPECIAL_TOKEN["tiny"]
    if "speaker_encoder_config" in raw:
        raw["speaker_encoder_config"] = {"enc_dim": talker["hidden_size"], "sample_rate": 24_000}
    return raw


def shift_ids(talker: dict[str, Any]) -> None:
    """Tiny codec ids -> published ones."""
    for key in talker:
        if key.startswith("codec_") and isinstance(talker[key], int):
            talker[key] += VOCABULARY_SHIFT
    for table in ("codec_language_id", "spk_id"):
        talker[table] = {name: number + VOCABULARY_SHIFT for name, number in talker.get(table, {}).items()}


def raw_codec_config(size: str = "tiny") -> dict[str, Any]:
    raw = copy.deepcopy(read(REFERENCE / "base" / "speech_tokenizer" / "config.json"))
    if size != "tiny":
        raw["decoder_config"] |= PUBLISHED_DECODER
        raw["encoder_config"] |= PUBLISHED_ENCODER
    return raw


def write_checkpoint(
    folder: Path,
    *,
    variant: str = "base",
    size: str = "tiny",
    model: Mapping[str, Any] | None = None,
    talker: Mapping[str, Any] | None = None,
    predictor: Mapping[str, Any] | None = None,
    speaker: Mapping[str, Any] | None = None,
    seed: int = 1,
    dtype: mx.Dtype = mx.float32,
    shards: int = 1,
    **codec: Any,
) -> Path:
    """Write a whole checkpoint and return its folder. Mappings override single keys of the config's parts.

    `codec` is what `write_codec` takes: decoder, encoder, codec, with_encoder.
    """
    raw = raw_config(variant, size)
    raw |= model or {}
    raw["talker_config"] |= talker or {}
    raw["talker_config"]["code_predictor_config"] |= predictor or {}
    if "speaker_encoder_config" in raw:
        raw["speaker_encoder_config"]["enc_dim"] = raw["talker_config"]["hidden_size"]
        raw["speaker_encoder_config"] |= speaker or {}
    raw["dtype"] = str(dtype).removeprefix("mlx.core.")
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "config.json", raw)
    shutil.copy(REFERENCE / variant / "generation_config.json", folder)
    write_tokenizer(folder, size=size)
    config = model_config(raw)
    voice = speaker_encoder_config(raw["speaker_encoder_config"]) if "speaker_encoder_config" in raw else None
    write_shards(folder, model_plan(config, voice), seed=seed, dtype=dtype, shards=shards)
    write_codec(folder / "speech_tokenizer", size=size, seed=seed, **codec)
    return folder


def write_full_size_checkpoint(folder: Path, *, size: str, variant: str) -> Path:
    """Random weights in the published dimensions and dtype. `folder` appears whole or not at all."""
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    write_checkpoint(unfinished, variant=variant, size=size, dtype=mx.bfloat16)
    unfinished.rename(folder)
    return folder


def write_shards(folder: Path, plan: Any, *, seed: int, dtype: mx.Dtype, shards: int) -> None:
    """One `model.safetensors`, or several files with an index."""
    if shards == 1:
        write_tensors(folder / "model.safetensors", plan, seed=seed, dtype=dtype)
        return
    names = sorted(plan)
    step = math.ceil(len(names) / shards)
    index = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        part = names[shard * step : (shard + 1) * step]
        write_tensors(folder / file, plan, seed=seed, dtype=dtype, names=part)
        index |= dict.fromkeys(part, file)
    write(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": index})


def write_codec(
    folder: Path,
    *,
    size: str = "tiny",
    decoder: Mapping[str, Any] | None = None,
    encoder: Mapping[str, Any] | None = None,
    codec: Mapping[str, Any] | None = None,
    with_encoder: bool = True,
    seed: int = 1,
) -> Path:
    """Write a `speech_tokenizer` folder. The rates of the whole follow from those of its halves."""
    raw = raw_codec_config(size)
    raw["decoder_config"] |= decoder or {}
    raw["encoder_config"] |= encoder or {}
    rates = raw["decoder_config"]
    raw["decode_upsample_rate"] = math.prod([*rates["upsample_rates"], *rates["upsampling_ratios"]])
    raw |= codec or {}
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "config.json", raw)
    for name in ("configuration.json", "preprocessor_config.json"):
        shutil.copy(REFERENCE / "base" / "speech_tokenizer" / name, folder)
    plan = codec_plan(codec_config(raw), encoder=with_encoder)
    write_tensors(folder / "model.safetensors", plan, seed=seed, dtype=mx.float32)
    return folder


def write_tokenizer(folder: Path, *, size: str) -> None:
    """The reference checkpoints' small byte-level BPE; its special tokens at the published ids when full-size."""
    for name in TOKENIZER_FILES:
        shutil.copy(REFERENCE / "base" / name, folder)
    if size == "tiny":
        return
    config = read(folder / "tokenizer_config.json")
    shift = FIRST_SPECIAL_TOKEN["full"] - FIRST_SPECIAL_TOKEN["tiny"]
    tokens = config["added_tokens_decoder"]
    config["added_tokens_decoder"] = {str(int(number) + shift): token for number, token in tokens.items()}
    write(folder / "tokenizer_config.json", config)
