"""The codec's operations by NumPy equal those by MLX, one by one."""

import math

import mlx.core as mx
import numpy as np
import pytest

from models.qwen3_tts.codec.causal_conv import transposed_conv_layout
from models.qwen3_tts.codec.ops import ops_named
from models.qwen3_tts.codec.ops_numpy import erf
from registry.errors import InvalidInput

FAST, PLAIN = ops_named("numpy"), ops_named("mlx")


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


def both(operation, value, *weights, **options):
    """The operation on one input by both backends, as arrays of the host."""
    arrays = [mx.array(weight) for weight in weights]
    return [ops.to_numpy(getattr(ops, operation)(ops.from_numpy(value), *arrays, **options)) for ops in (FAST, PLAIN)]


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("positions", [30, 2500])
@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(7, 1, 1), (7, 1, 9), (8, 4, 1), (1, 1, 1), (4, 2, 1)])
def test_convolutions_agree(rows, positions, kernel, stride, dilation):
    value, weight, bias = normal(rows, positions + 60, 5), normal(6, kernel, 5, seed=1), normal(6, seed=2)
    fast, plain = both("conv1d", value, weight, bias, stride=stride, dilation=dilation)
    np.testing.assert_allclose(fast, plain, atol=2e-5)


def test_convolution_of_each_channel_agrees():
    fast, plain = both("depthwise_conv1d", normal(2, 40, 6), normal(6, 7, 1, seed=1), normal(6, seed=2))
    np.testing.assert_allclose(fast, plain, atol=1e-5)


@pytest.mark.parametrize(("kernel", "stride"), [(16, 8), (3, 3), (6, 2)])
def test_transposed_convolution_is_mlx_own(kernel, stride):
    value, stored = normal(2, 11, 6), normal(6, 4, kernel, seed=1)  # (in, out, kernel), as PyTorch stores it
    theirs = mx.conv_transpose1d(mx.array(value), mx.array(stored.transpose(1, 2, 0)), stride=stride)
    weight = transposed_conv_layout(mx.array(stored), stride=stride)
    _, out, taps, channels = weight.shape
    padded = np.pad(value, [(0, 0), (taps - 1, 0), (0, 0)])
    ours = FAST.conv1d(padded, weight.reshape(stride * out, taps, channels)).reshape(2, 11 * stride, out)
    np.testing.assert_allclose(ours, np.array(theirs)[:, : 11 * stride], atol=1e-5)


@pytest.mark.parametrize(
    "operation", ["elu", "gelu", "silu", "relu", "sigmoid", "tanh", "softmax_over_positions", "clip"]
)
def test_activations_agree(operation):
    fast, plain = both(operation, 8 * normal(2, 50, 30))
    np.testing.assert_allclose(fast, plain, atol=2e-6)


def test_snakes_agree():
    fast, plain = both("snake", 20 * normal(2, 900, 40), np.exp(normal(40, seed=1)), normal(40, seed=2))
    np.testing.assert_allclose(fast, plain, atol=1e-5)


def test_norms_agree():
    value, weight, bias = 5 * normal(2, 9, 30) + 3, normal(30, seed=1), normal(30, seed=2)
    for fast, plain in (
        both("rms_norm", value, weight, epsilon=1e-5),
        both("layer_norm", value, weight, bias, epsilon=1e-6),
    ):
        np.testing.assert_allclose(fast, plain, atol=1e-5)


@pytest.mark.parametrize("offset", [0, 71])
def test_rotations_agree(offset):
    fast, plain = both("apply_rotary", normal(2, 3, 20, 16), base=10_000.0, offset=offset)
    np.testing.assert_allclose(fast, plain, atol=1e-5)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_attention_agrees(groups):
    queries, keys, values = normal(2, 4, 5, 16), normal(2, groups, 9, 16, seed=1), normal(2, groups, 9, 16, seed=2)
    mask = np.tril(np.ones((2, 1, 5, 9), bool), k=4)
    fast = FAST.attend(queries, keys, values, mask)
    plain = PLAIN.attend(*(mx.array(part) for part in (queries, keys, values)), mask)
    np.testing.assert_allclose(fast, np.array(plain), atol=1e-5)


def test_sums_of_codewords_agree():
    table, codes = mx.array(normal(3, 8, 5)), np.array([[[0, 7, 3], [1, 1, 1]]], np.int32)
    np.testing.assert_allclose(FAST.embed_codes(table, codes), np.array(PLAIN.embed_codes(table, codes)), atol=1e-6)


def test_the_error_function_is_exact_to_single_precision():
    places = np.linspace(-6, 6, 4001, dtype=np.float32)
    exact = np.array([math.erf(place) for place in places.tolist()])
    assert np.abs(erf(places) - exact).max() < 5e-7


def test_the_last_positions_do_not_keep_the_rest_in_memory():
    value = normal(1, 100, 4)
    assert FAST.tail(value, 3).base is None
    np.testing.assert_array_equal(FAST.tail(value, 3), value[:, -3:])


def test_an_unknown_backend_is_refused():
    with pytest.raises(InvalidInput, match="cuda"):
        ops_named("cuda")
