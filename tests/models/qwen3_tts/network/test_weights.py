"""Stored tensors of several linears become one layer, whichever way each is stored."""

from __future__ import annotations

import json

import mlx.core as mx
import numpy as np
import pytest

from models.checkpoint_format.fit import LoadErrors
from models.errors import UnsupportedCheckpoint
from models.qwen3_tts.checkpoint.checkpoint import read_checkpoint
from models.qwen3_tts.network.linear import Linear, QuantizedLinear, UnfusedLinear
from models.qwen3_tts.network.reader import Reader

PLAIN = None
PARTS = ("weight", "scales", "biases")
EIGHT, FOUR = ({"bits": bits, "group_size": 32} for bits in (8, 4))


def write_folder(folder, tensors, quantization=None):
    (folder / "config.json").write_text(json.dumps({"quantization": quantization or {}}))
    mx.save_safetensors(str(folder / "model.safetensors"), tensors, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("stored", "kind"),
    [
        ({"a": PLAIN, "b": PLAIN}, Linear),
        ({"a": EIGHT, "b": EIGHT}, QuantizedLinear),
        ({"a": EIGHT, "b": FOUR}, UnfusedLinear),
        ({"a": PLAIN, "b": FOUR}, UnfusedLinear),
    ],
    ids=["plain", "quantised", "quantised differently", "partly quantised"],
)
def test_linears_compute_together_what_they_compute_alone(tmp_path, stored, kind):
    x, tensors, expected = mx.random.normal((3, 64), key=mx.random.key(0)), {}, []
    for seed, (name, way) in enumerate(stored.items()):
        weight, bias = mx.random.normal((8, 64), key=mx.random.key(seed)), mx.arange(8) * 1.0
        parts = {"weight": weight} if way is PLAIN else dict(zip(PARTS, mx.quantize(weight, **way), strict=True))
        tensors |= {f"{name}.{part}": value for part, value in parts.items()} | {f"{name}.bias": bias}
        expected.append(x @ (weight if way is PLAIN else mx.dequantize(*parts.values(), **way)).T + bias)
    write_folder(tmp_path, tensors, {name: way for name, way in stored.items() if way is not PLAIN})
    linear = Reader(read_checkpoint(tmp_path), mx.float32).linear(["a", "b"], [(8, 64), (8, 64)], bias=True)
    assert type(linear) is kind
    np.testing.assert_allclose(np.array(linear(x)), np.array(mx.concatenate(expected, axis=-1)), atol=1e-4)
    np.testing.assert_allclose(np.array(linear.add_to(1.0, x)), 1 + np.array(linear(x)), atol=1e-5)


def test_chosen_and_fused_outputs_are_those_of_the_stored_weights(tmp_path):
    one, other = (mx.random.normal((6, 4), key=mx.random.key(seed)).astype(mx.bfloat16) for seed in (1, 2))
    write_folder(tmp_path, {"a.weight": one, "b.weight": other, "c.weight": one})
    reader = Reader(read_checkpoint(tmp_path), mx.float32, keep_stored=True)
    fused = reader.linear(["a", "b"], [(6, 4), (6, 4)])
    some = reader.linear(["c"], [(6, 4)], rows=[0, 1, 2, 5])
    reader.reads.finish()
    for linear, expected in ((fused, mx.concatenate([one, other])), (some, one[mx.array([0, 1, 2, 5])])):
        np.testing.assert_array_equal(linear.weight, np.array(expected.view(mx.uint16)))


def test_stored_weights_that_do_not_fit_are_named_before_any_is_read(tmp_path):
    write_folder(tmp_path, {"a.weight": mx.ones((6, 4), dtype=mx.bfloat16), "b": mx.ones((1,))})
    reader = Reader(read_checkpoint(tmp_path), mx.float32, keep_stored=True)
    reader.linear(["a"], [(6, 8)])
    reader.linear(["gone"], [(6, 8)])
    errors = LoadErrors()
    reader.finish("the test", errors)
    with pytest.raises(
        UnsupportedCheckpoint, match=r"missing: gone.weight; unexpected: b; misshapen: a.weight \(6, 4\)"
    ):
        errors.raise_if_any()
