"""Convolutions by matrix tiles: NumPy's own numbers, where the processor has tiles, and code for those that do."""

from __future__ import annotations

import llvmlite.binding as llvm
import mlx.core as mx
import numpy as np
import pytest
from llvmlite import ir

from models.qwen3_tts.codec.ops_numpy import SHARED_PRODUCTS, NumpyOps
from models.qwen3_tts.network_cpu.machine_code import optimized
from models.qwen3_tts.network_cpu.tile_convolution import BLOCK_POSITIONS, tile_convolution, write_kernels

needs_tiles = pytest.mark.skipif(tile_convolution() is None, reason="this processor has no matrix tiles")


def normal(*shape, seed):
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


@needs_tiles
@pytest.mark.parametrize(
    ("rows", "positions", "channels", "outputs", "taps", "dilation"),
    [
        (1, 32, 32, 32, 1, 1),
        (3, 45, 64, 96, 7, 9),
        (1, BLOCK_POSITIONS + 33, 32, 64, 3, 1),
        (2, 1_100, 96, 32, 2, 1),
        (1, 40, 768, 64, 7, 3),
    ],
)
def test_convolutions_are_those_of_numpy(rows, positions, channels, outputs, taps, dilation):
    value = normal(rows, positions + (taps - 1) * dilation, channels, seed=1)
    weight, bias = normal(outputs, taps, channels, seed=2), normal(outputs, seed=3)
    tiles, plain = NumpyOps(threads=3, find_convolution=tile_convolution), NumpyOps()
    for added in (None, mx.array(bias)):
        found, expected = (ops.conv1d(value, mx.array(weight), added, dilation=dilation) for ops in (tiles, plain))
        assert found.shape == (rows, positions, outputs)
        np.testing.assert_allclose(found, expected, atol=3e-6 * np.abs(expected).max())


@needs_tiles
def test_linear_layers_of_many_positions_are_those_of_numpy():
    value, weight, bias = normal(2, 100, 256, seed=1), mx.array(normal(512, 256, seed=2)), mx.array(normal(512, seed=3))
    assert value[..., 0].size * weight.size >= SHARED_PRODUCTS
    found, expected = (
        ops.linear(value, weight, bias) for ops in (NumpyOps(find_convolution=tile_convolution), NumpyOps())
    )
    np.testing.assert_allclose(found, expected, atol=3e-6 * np.abs(expected).max())


@needs_tiles
def test_shapes_that_tiles_do_not_fill_are_left_to_numpy():
    weight = np.zeros((64, 3, 32), np.float32)
    convolution = tile_convolution()
    assert convolution.fits(weight, positions=32)
    assert not convolution.fits(weight, positions=31)
    assert not convolution.fits(weight[:48], positions=32) and not convolution.fits(weight[..., :31], positions=32)


def test_processors_with_matrix_tiles_have_code_for_convolutions():
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    target, module = llvm.Target.from_triple("x86_64-linux-gnu"), ir.Module()
    write_kernels(module)
    machine = target.create_target_machine(cpu="sapphirerapids", opt=3)
    assembly = machine.emit_assembly(optimized(str(module), machine))
    assert assembly.count("\ttdpbf16ps") >= 24 and assembly.count("\ttilestored") >= 4
