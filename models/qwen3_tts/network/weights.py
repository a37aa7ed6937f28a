"""A reader of a checkpoint → the layers of the networks: by the checkpoint's names, some of them fused, then read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten, tree_map_with_path

from models.checkpoint_format.config import TalkerConfig
from models.qwen3_tts.network.code_predictor import CodePredictor
from models.qwen3_tts.network.linear import Linear
from models.qwen3_tts.network.mlx_ops import HeadNorms, Ops
from models.qwen3_tts.network.reader import Reader
from models.qwen3_tts.network.talker import Talker

# Our layers that are several of the checkpoint's.
FUSED = {
    "qkv_proj": ("q_proj", "k_proj", "v_proj"),
    "gate_up_proj": ("gate_proj", "up_proj"),
    "qk_norm": ("q_norm", "k_norm"),
}


def load_networks(config: TalkerConfig, reader: Reader, ops: Ops) -> tuple[Talker, CodePredictor]:
    """The talker and the code predictor, their weights still lazy; the tables of codes are the talker's."""
    talker, predictor = Talker(config, ops, dtype=reader.dtype), CodePredictor(config, ops, dtype=reader.dtype)
    shape = (config.text_vocab_size, config.text_hidden_size)
    talker.text_embedding = reader.rows_of_table("talker.model.text_embedding.weight", shape)
    width, size = config.hidden_size, config.code_predictor_config.vocab_size
    tables = {"talker.model.codec_embedding.weight": (config.vocab_size, width)}
    for group in range(config.num_code_groups - 1):
        tables[f"talker.code_predictor.model.codec_embedding.{group}.weight"] = (size, width)
    talker.codec_table = reader.tables(tables)
    load_weights(talker, reader, path="talker")
    load_weights(predictor, reader, path="talker.code_predictor")
    return talker, predictor


def load_weights(network: nn.Module, reader: Reader, *, path: str) -> None:
    """Give each layer of `network` its weights, still lazy, which the checkpoint names as we do, below `path`."""

    def loaded(name: str, leaf: nn.Module) -> nn.Module:
        parent, _, own = f"{path}.{name}".rpartition(".")
        return _loaded(leaf, reader, [f"{parent}.{part}" for part in FUSED.get(own, (own,))])

    network.update_modules(tree_map_with_path(loaded, network.leaf_modules(), is_leaf=nn.Module.is_module))


def _loaded(leaf: nn.Module, reader: Reader, paths: Sequence[str]) -> nn.Module:
    """A layer with its weights: itself, or the kind of linear that the checkpoint has in its place."""
    if isinstance(leaf, Linear):
        return reader.linear(paths, leaf.shapes, bias=leaf.has_bias, rows=leaf.rows)
    if isinstance(leaf, HeadNorms):
        leaf.lay_out(*(reader.tensor(f"{path}.weight", (leaf.head_dim,)) for path in paths))
    else:
        leaf.weight = reader.tensor(f"{paths[0]}.weight", leaf.weight.shape)
    return leaf


def materialize(network: Talker | CodePredictor) -> bool:
    """Read the lazy weights from the disk, a layer at a time, and give back what reading them needed.

    Returns whether all numbers are finite.
    """
    are_finite = True
    for part in (*network.model.layers, network):
        mx.eval(part.parameters())
        parameters: Any = tree_flatten(part.parameters())
        floats = [value for name, value in parameters if name != "mask" and mx.issubdtype(value.dtype, mx.floating)]
        are_finite &= all(mx.all(mx.isfinite(value)).item() for value in floats)
        mx.clear_cache()
    return are_finite
