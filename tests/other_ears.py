"""Recognisers of mlx-audio with random weights, small enough for tests, in the layout of the published ones.

write_parakeet(folder)   CTC, tokens with times
write_wav2vec2(folder)   letters
write_qwen3_asr(folder)  writes a text by itself
write_aligner(folder)    times the words of a text
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx

from tests.other_models import save_network, write_bytes_tokenizer

LETTERS = [*"▁abcdefghijklmnopqrstuvwxyz'", "▁the", "▁and"]
PARAKEET = {
    "target": "nemo.collections.asr.models.ctc_bpe_models.EncDecCTCModelBPE",
    "preprocessor": {
        "sample_rate": 16000, "normalize": "per_feature", "window_size": 0.025, "window_stride": 0.01,
        "window": "hann", "features": 80, "n_fft": 512, "dither": 1e-5,
    },
    "encoder": {
        "feat_in": 80, "n_layers": 1, "d_model": 32, "n_heads": 2, "ff_expansion_factor": 2, "subsampling_factor": 8,
        "self_attention_model": "rel_pos", "subsampling": "dw_striding", "conv_kernel_size": 9,
        "subsampling_conv_channels": 16, "pos_emb_max_len": 1000,
    },
    "decoder": {"feat_in": 32, "num_classes": len(LETTERS), "vocabulary": LETTERS},
    "decoding": {"greedy": None},
}  # fmt: skip
WAV2VEC2 = {
    "model_type": "wav2vec2", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 64, "conv_dim": [16, 16, 16, 16, 16, 16, 16], "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4, "feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True,
    "vocab_size": 32, "architectures": ["Wav2Vec2ForCTC"],
}  # fmt: skip
QWEN3_AUDIO = {
    "num_mel_bins": 128, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 32, "d_model": 16,
    "output_dim": 32, "downsample_hidden_size": 8,
}  # fmt: skip
QWEN3_TEXT = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 16, "model_type": "qwen3",
}  # fmt: skip
QWEN3_MARKS = (
    "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|audio_start|>", "<|audio_end|>", "<|audio_pad|>", "<asr_text>",
    "<timestamp>",
)  # fmt: skip
FEATURES = {"feature_extractor_type": "WhisperFeatureExtractor", "feature_size": 128}


def write_parakeet(folder: Path) -> Path:
    """A Parakeet that hears nonsense; its kind is known by the folder's name alone, as of the published ones."""
    from mlx_audio.stt.models.parakeet.parakeet import Model

    folder.mkdir(parents=True)
    save_network(Model.from_config(json.loads(json.dumps(PARAKEET))), folder, PARAKEET)
    return folder


def write_wav2vec2(folder: Path) -> Path:
    """A Wav2Vec 2.0 with a head that writes letters."""
    from mlx_audio.stt.models.mms.mms import Model
    from mlx_audio.stt.models.wav2vec.wav2vec import ModelConfig

    folder.mkdir(parents=True)
    convolutions = (".conv.weight", ".conv.weight_v", ".conv.weight_g")
    save_network(Model(ModelConfig.from_dict(WAV2VEC2)), folder, WAV2VEC2, swapped=convolutions)
    with_mask = {**mx.load(str(folder / "model.safetensors")), "wav2vec2.masked_spec_embed": mx.zeros(32)}
    mx.save_safetensors(str(folder / "model.safetensors"), with_mask, metadata={"format": "mlx"})  # as of training
    letters = ["<pad>", "<s>", "</s>", "<unk>", "|", *"etaonihsrdlumwcfgypbvk'xjqz"]
    (folder / "vocab.json").write_text(json.dumps({letter: number for number, letter in enumerate(letters)}))
    return folder


def write_qwen3_asr(folder: Path) -> Path:
    """A Qwen3-ASR that hears nonsense."""
    from mlx_audio.stt.models.qwen3_asr.config import ModelConfig
    from mlx_audio.stt.models.qwen3_asr.qwen3_asr import Model

    config = {"model_type": "qwen3_asr", "thinker_config": _thinker(), "support_languages": ["English", "German"]}
    return _write_qwen3(folder, Model(ModelConfig.from_dict(config)), config)


def write_aligner(folder: Path) -> Path:
    """A Qwen3-ForcedAligner whose times are nonsense."""
    from mlx_audio.stt.models.qwen3_asr.config import ModelConfig
    from mlx_audio.stt.models.qwen3_asr.qwen3_asr import Model

    thinker = {**_thinker(), "model_type": "qwen3_forced_aligner", "classify_num": 500}
    config = {
        "model_type": "qwen3_asr",
        "thinker_config": thinker,
        "timestamp_token_id": 256 + QWEN3_MARKS.index("<timestamp>"),
        "timestamp_segment_time": 80,
        "support_languages": ["English", "German"],
    }
    return _write_qwen3(folder, Model(ModelConfig.from_dict(config)), config)


def _thinker() -> dict[str, Any]:
    ids = {name: 256 + QWEN3_MARKS.index(mark) for name, mark in AUDIO_IDS.items()}
    return {"audio_config": QWEN3_AUDIO, "text_config": {**QWEN3_TEXT, "vocab_size": 256 + len(QWEN3_MARKS)}, **ids}


AUDIO_IDS = {
    "audio_token_id": "<|audio_pad|>",
    "audio_start_token_id": "<|audio_start|>",
    "audio_end_token_id": "<|audio_end|>",
}


def _write_qwen3(folder: Path, network: Any, config: dict[str, Any]) -> Path:
    folder.mkdir(parents=True)
    save_network(network, folder, config)
    write_bytes_tokenizer(folder, QWEN3_MARKS)
    (folder / "preprocessor_config.json").write_text(json.dumps(FEATURES))
    return folder
