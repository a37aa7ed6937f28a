"""A language model of random weights in a real layout, small enough for a test: one layer, a token for each byte."""

import json

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten

from tests.other_models import write_bytes_tokenizer

END = "<|im_end|>"


def write_language_model(folder):
    """A Qwen3 of one layer that says whatever its random weights find likely."""
    from mlx_lm.models.qwen3 import Model, ModelArgs
    from tokenizers import Tokenizer

    folder.mkdir(parents=True)
    write_bytes_tokenizer(folder, [END])
    told = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": END}
    (folder / "tokenizer_config.json").write_text(json.dumps(told), encoding="utf-8")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    config = {
        "model_type": "qwen3",
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "intermediate_size": 64,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "rms_norm_eps": 1e-6,
        "vocab_size": tokenizer.get_vocab_size(),
        "max_position_embeddings": 4096,
        "rope_theta": 1e6,
        "tie_word_embeddings": True,
        "eos_token_id": tokenizer.token_to_id(END),
    }
    draw = np.random.default_rng(7)
    weights = {
        name: mx.ones_like(value) if "norm" in name else mx.array(draw.normal(0, 0.3, value.shape).astype(np.float32))
        for name, value in tree_flatten(Model(ModelArgs.from_dict(config)).parameters())
    }
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "mlx"})
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder
