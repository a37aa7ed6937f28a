"""Models of other families with random weights, small enough for tests, made with mlx-audio's own classes.

write_soprano(folder)            13.8 M parameters, 32 kHz, one voice
write_dia(directory)             0.1 M, 44.1 kHz, clones; with its codec as a companion
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten

from models.listen.recognisers import WHISPER_CODES

SEED = 5
SOPRANO = {
    "model_type": "soprano",
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "intermediate_size": 64,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "rms_norm_eps": 1e-6,
    "vocab_size": 260,
    "max_position_embeddings": 512,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
}
LAYER = {"n_embd": 16, "n_hidden": 32}
DIA = {
    "model_type": "dia",
    "version": "1",
    "model": {
        "encoder": {"n_layer": 1, "n_head": 2, "head_dim": 8, **LAYER},
        "decoder": {
            "n_layer": 1, "gqa_query_heads": 2, "kv_heads": 1, "gqa_head_dim": 8, "cross_query_heads": 2,
            "cross_head_dim": 8, **LAYER,
        },
        "src_vocab_size": 256,
        "tgt_vocab_size": 1028,
    },
    "training": {},
    "data": {"text_length": 128, "audio_length": 256},
}  # fmt: skip
DAC_44KHZ = {
    "encoder_dim": 4, "encoder_rates": [2, 4, 8, 8], "decoder_dim": 64, "decoder_rates": [8, 8, 4, 2],
    "n_codebooks": 9, "codebook_size": 1024, "codebook_dim": 8, "sample_rate": 44100,
}  # fmt: skip
DAC_24KHZ = {
    "encoder_dim": 4, "encoder_rates": [2, 4, 5, 8], "decoder_dim": 64, "decoder_rates": [8, 5, 4, 2],
    "n_codebooks": 2, "codebook_size": 1024, "codebook_dim": 8, "sample_rate": 24000,
}  # fmt: skip
OUTETTS_CODEC = "mlx-community_dac-speech-24khz-1.5kbps"
OUTETTS_MARKS = tuple(
    f"<|{name}|>"
    for name in (
        "im_start", "im_end", "text_start", "text_end", "audio_start", "audio_end", "code", "word_start", "word_end",
        "features", "global_features_start", "global_features_end",
    )
)  # fmt: skip
WHISPER = {
    "n_mels": 80, "n_audio_ctx": 1500, "n_audio_state": 32, "n_audio_head": 2, "n_audio_layer": 1, "n_vocab": 51865,
    "n_text_ctx": 32, "n_text_state": 32, "n_text_head": 2, "n_text_layer": 1,
}  # fmt: skip
DIA_CODEC = "mlx-community_descript-audio-codec-44khz"


def write_soprano(folder: Path) -> Path:
    """A Soprano that never ends by itself: random weights seldom draw the one token that would."""
    from mlx_audio.tts.models.soprano import Model, ModelConfig

    folder.mkdir(parents=True)
    config = ModelConfig.from_dict({**SOPRANO, "model_path": str(folder)})
    save_network(Model(config), folder, SOPRANO)
    write_bytes_tokenizer(folder, ("[STOP]", "[TEXT]", "[START]", "[UNK]"))
    return folder


def write_dia(directory: Path, *, name: str = "mlx-community_Dia-1.6B-fp16", codec: bool = True) -> Path:
    """A Dia, and beside it the codec that it needs."""
    from mlx_audio.codec.models import DAC
    from mlx_audio.tts.models.dia.config import DiaConfig
    from mlx_audio.tts.models.dia.layers import DiaModel

    folder = directory / name
    folder.mkdir(parents=True)
    save_network(DiaModel(DiaConfig.load_dict(DIA)), folder, DIA)
    if codec:
        (directory / DIA_CODEC).mkdir()
        save_network(DAC(**DAC_44KHZ), directory / DIA_CODEC, DAC_44KHZ)
    return folder


def write_outetts(directory: Path) -> Path:
    """An OuteTTS, and beside it the tokenizer and the codec that it needs."""
    from mlx_audio.codec.models import DAC
    from mlx_audio.lm.models.qwen3 import Model, ModelArgs

    codes = [f"<|c{book}_{code}|>" for book in (1, 2) for code in range(1_025)]
    measured = [f"<|{name}_{level}|>" for name in ("energy", "spectral_centroid", "pitch") for level in range(101)]
    tokens = (*codes, *measured, *OUTETTS_MARKS)
    (directory / "lab_tokenizer").mkdir()
    write_bytes_tokenizer(directory / "lab_tokenizer", tokens)
    (directory / "lab_tokenizer" / "config.json").write_text("{}")
    folder = directory / "lab_outetts"
    folder.mkdir()
    config = {**SOPRANO, "model_type": "qwen3", "vocab_size": 256 + len(tokens), "tokenizer_name": "lab/tokenizer"}
    save_network(Model(ModelArgs.from_dict(config)), folder, config)
    (directory / OUTETTS_CODEC).mkdir()
    save_network(DAC(**DAC_24KHZ), directory / OUTETTS_CODEC, DAC_24KHZ)
    return folder


def write_whisper(folder: Path) -> Path:
    """A Whisper of many languages, which hears nonsense."""
    from mlx_audio.stt.models.whisper.whisper import Model, ModelDimensions

    folder.mkdir()
    save_network(Model(ModelDimensions.from_dict(WHISPER), mx.float32), folder, {**WHISPER, "model_type": "whisper"})
    words = [f"<word-{number}>" for number in range(50_257 - 256)]
    languages = [f"<|{code}|>" for code in WHISPER_CODES.split()[:99]]
    marks = ("translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps")
    times = [f"<|{step / 50:.2f}|>" for step in range(1_501)]
    special = ("<|endoftext|>", "<|startoftranscript|>", *languages, *(f"<|{mark}|>" for mark in marks), *times)
    write_bytes_tokenizer(folder, special, fillers=words)
    features = {
        "feature_extractor_type": "WhisperFeatureExtractor",
        "feature_size": 80,
        "processor_class": "WhisperProcessor",
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(features))
    (folder / "generation_config.json").write_text(json.dumps({"alignment_heads": [[0, 0], [0, 1]]}))
    config = {"tokenizer_class": "WhisperTokenizer", "processor_class": "WhisperProcessor"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def save_network(network: Any, folder: Path, config: dict[str, Any], *, swapped: tuple[str, ...] = ()) -> None:
    """Write the network's own parameters, drawn anew so that they are equal in every run.

    `swapped` are endings of names of convolutions that are published in the layout of PyTorch.
    """
    draw = np.random.default_rng(SEED)
    arrays = {}
    for name, value in tree_flatten(network.parameters()):
        if value.dtype not in (mx.float32, mx.float16, mx.bfloat16):
            arrays[name] = value
        elif name.endswith((".weight_g", "norm.weight", ".alpha")) or "norm" in name.rsplit(".", 2)[-2]:
            arrays[name] = mx.ones_like(value)
        else:
            arrays[name] = mx.array(draw.normal(0, 0.05, value.shape).astype(np.float32))
    arrays = {name: value.swapaxes(1, 2) if name.endswith(swapped) else value for name, value in arrays.items()}
    mx.save_safetensors(str(folder / "model.safetensors"), arrays, metadata={"format": "mlx"})
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


def write_bytes_tokenizer(folder: Path, special: Sequence[str], *, fillers: Sequence[str] = ()) -> None:
    """A tokenizer with one token for each byte, and some special ones after them."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({word: number for number, word in enumerate([*letters, *fillers])}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(special))
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
