"""Weights that stay packed on CPUs: the numbers of MLX's own quantised products, and of the unpacked weights."""

from __future__ import annotations

import re

import llvmlite.binding as llvm
import mlx.core as mx
import numpy as np
import pytest
from llvmlite import ir

from models.checkpoint_format.fit import Quantization
from models.qwen3_tts import Sampling, SpeechRequest, load_speech_model
from models.qwen3_tts.network.linear import PackedLinear, QuantizedLinear
from models.qwen3_tts.network.packed_weight import INPUTS_PER_LANE, LANES, PackedWeight, can_pack
from models.qwen3_tts.network_cpu.bf16_linear import MOST_PANEL_ROWS
from models.qwen3_tts.network_cpu.linear import linear_for
from models.qwen3_tts.network_cpu.machine_code import (
    AVX,
    AVX512,
    AVX_VNNI,
    NEON,
    NEON_DOT,
    OTHER,
    VNNI,
    DotProducts,
    dot_products_of,
    optimized,
)
from models.qwen3_tts.network_cpu.packed_kernels import packed_kernels, write_kernels
from models.qwen3_tts.network_cpu.packed_linear import NumpyPackedLinear
from models.qwen3_tts.network_cpu.packed_row import DIGIT_WORDS, DIGITS, PackedRowProduct, Packing
from models.qwen3_tts.quantize import quantize_checkpoint
from models.qwen3_tts.worker_threads import Workers
from tests.checkpoints import write_checkpoint

# Relative to the largest number of a result: float32 sums of as many as 1,024 products, in another order.
TOLERANCE = 2e-6
PACKINGS = [Quantization(bits=bits, group_size=group) for bits in (4, 6, 8) for group in (32, 64, 128)]
PLAIN_DOTS = DotProducts("plain_dots", 16, signed=True, by_bytes=True)
TEXTS = ("Hello.", "Seven wizards judge the boxing match.", "你好，世界。")


def named(packing):
    return f"{packing.bits} bits by {packing.group_size}"


def a_weight(packing, *, outputs, inputs, dtype=mx.bfloat16):
    """MLX's arrays of a quantised weight, and the same in our order."""
    plain = mx.random.normal((outputs, inputs), key=mx.random.key(outputs)).astype(dtype)
    words, scales, biases = mx.quantize(plain, group_size=packing.group_size, bits=packing.bits)
    in_bfloat16 = dtype == mx.bfloat16
    packed = PackedWeight.empty((outputs, inputs), packing, in_bfloat16=in_bfloat16)
    stored = [np.array(each.view(mx.uint16) if in_bfloat16 else each) for each in (scales, biases)]
    packed.fill(np.array(words), *stored)
    return (words, scales.astype(mx.float32), biases.astype(mx.float32)), packed


def numbers(rows, inputs):
    return np.random.default_rng(rows).standard_normal((rows, inputs), np.float32)


def assert_equal_to_rounding(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())


@pytest.mark.parametrize("packing", PACKINGS, ids=named)
def test_the_plain_formulation_unpacks_what_mlx_has_packed(packing):
    stored, packed = a_weight(packing, outputs=11, inputs=384)
    exact = mx.dequantize(*stored, group_size=packing.group_size, bits=packing.bits)
    np.testing.assert_allclose(packed.floats(), np.array(exact), atol=1e-6)


@pytest.mark.parametrize("rows", [1, 2, 8, 9, 33, MOST_PANEL_ROWS + 1])
@pytest.mark.parametrize("packing", PACKINGS, ids=named)
def test_products_are_those_of_mlx(packing, rows):
    stored, packed = a_weight(packing, outputs=67, inputs=384)
    x, bias = numbers(rows, 384), mx.arange(67, dtype=mx.float32)
    linear = linear_for(PackedLinear(packed, bias), Workers(8))
    assert isinstance(linear, NumpyPackedLinear)
    names = ("weight", "scales", "biases")
    theirs = QuantizedLinear(packing, bias=bias, **dict(zip(names, stored, strict=True)))
    assert_equal_to_rounding(linear(x), np.array(theirs(mx.array(x))))


@pytest.mark.parametrize("rows", [1, 16, MOST_PANEL_ROWS + 1])
def test_scales_in_float32_and_shares_of_several_threads(rows):
    _, packed = a_weight(PACKINGS[1], outputs=1_025, inputs=512, dtype=mx.float32)
    x = numbers(rows, 512)
    assert_equal_to_rounding(linear_for(PackedLinear(packed), Workers(3))(x), x @ packed.floats().T)


@pytest.mark.parametrize("rows", [3, 16, 33])
@pytest.mark.parametrize("registers", [AVX512, AVX, NEON, OTHER], ids=["AVX-512", "AVX", "NEON", "other"])
def test_products_are_the_same_by_the_panels_of_other_processors(monkeypatch, registers, rows):
    kernels = packed_kernels(PackedRowProduct.here(PACKINGS[0], in_bfloat16=True), registers)
    assert kernels.tiles is None
    monkeypatch.setattr("models.qwen3_tts.network_cpu.packed_linear.packed_kernels", lambda _: kernels)
    _, packed = a_weight(PACKINGS[0], outputs=67, inputs=256)
    x = numbers(rows, 256)
    assert_equal_to_rounding(linear_for(PackedLinear(packed), Workers(1))(x), x @ packed.floats().T)


@pytest.mark.parametrize(
    ("triple", "cpu", "product"),
    [
        ("aarch64-linux-gnu", "neoverse-n1", "fmla"),
        ("arm64-apple-macosx", "apple-m1", "fmla"),
        ("x86_64-linux-gnu", "haswell", "vfmadd"),
        ("x86_64-linux-gnu", "skylake-avx512", "vfmadd"),
    ],
)
def test_the_product_of_one_row_stays_in_the_registers_of_other_processors(triple, cpu, product):
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, opt=3)
    for packing in PACKINGS[1::3]:
        module = ir.Module()
        write_kernels(module, PackedRowProduct(Packing(packing, True), None), registers=NEON)
        assembly = machine.emit_assembly(optimized(str(module), machine))
        one_row = re.search(r"^_?one_row:.*?^_?unpack:", assembly, re.MULTILINE | re.DOTALL).group()
        inner_loop = max(re.split(r"^\S+:", one_row, flags=re.MULTILINE), key=lambda block: block.count(product))
        totals = inner_loop.count(product) // INPUTS_PER_LANE  # written once a row of a block
        assert totals >= 1
        assert len(re.findall(r"\tst[rp]\tq\d+.*\[sp|%[xyz]mm\d+, -?\d*\(%rsp\)", inner_loop)) <= totals


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize(
    ("triple", "cpu", "dots", "instruction"),
    [
        ("aarch64-linux-gnu", "neoverse-n1", NEON_DOT, "sdot"),
        ("arm64-apple-macosx", "apple-m1", NEON_DOT, "sdot.4s"),
        ("x86_64-linux-gnu", "alderlake", AVX_VNNI, "vpdpbusd"),
        ("x86_64-linux-gnu", "znver4", VNNI, "vpdpbusd"),
    ],
)
def test_bytes_are_multiplied_by_the_instructions_of_processors_that_have_them(triple, cpu, dots, instruction, bits):
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, opt=3)
    module, packing = ir.Module(), Packing(Quantization(bits=bits, group_size=64), True)
    write_kernels(module, PackedRowProduct(packing, dots), registers=NEON)
    assembly = machine.emit_assembly(optimized(str(module), machine))
    inner_loop = max(re.split(r"^\S+:", assembly, flags=re.MULTILINE), key=lambda block: block.count(instruction))
    assert inner_loop.count(f"{instruction}\t") % (DIGITS * DIGIT_WORDS * LANES // dots.words) == 0
    assert "cvtdq2ps" not in inner_loop or inner_loop.count("cvtdq2ps") < inner_loop.count(instruction)


def test_processors_have_the_dot_products_of_their_features():
    assert dot_products_of("aarch64-linux-gnu", {"dotprod": True}) is NEON_DOT
    assert dot_products_of("arm64-apple-darwin", {}) is dot_products_of("x86_64-linux-gnu", {"avx2": True}) is None
    assert dot_products_of("x86_64-linux-gnu", {"avx512vnni": True, "avxvnni": True}) is VNNI
    assert dot_products_of("x86_64-linux-gnu", {"avxvnni": True}) is AVX_VNNI


@pytest.mark.parametrize("bits", [8, 4])
def test_one_row_has_the_same_numbers_where_a_processor_multiplies_no_bytes(monkeypatch, bits):
    assert_one_row_is_right(monkeypatch, PackedRowProduct(Packing(Quantization(bits=bits, group_size=64), True), None))


@pytest.mark.parametrize("bits", [8, 4])
def test_signed_bytes_give_the_numbers_too(monkeypatch, bits):
    """By plain instructions, since only ARM has one for both factors signed."""
    quantization, written = Quantization(bits=bits, group_size=64), write_kernels

    def with_plain_dots(module, product, *, registers):
        add_plain_dots(module)
        return written(module, product, registers=registers)

    monkeypatch.setattr("models.qwen3_tts.network_cpu.packed_kernels.write_kernels", with_plain_dots)
    assert_one_row_is_right(monkeypatch, PackedRowProduct(Packing(quantization, True), PLAIN_DOTS))


def add_plain_dots(module):
    words, signed_bytes = ir.VectorType(ir.IntType(32), 16), ir.VectorType(ir.IntType(8), 64)
    function = ir.Function(module, ir.FunctionType(words, [words, signed_bytes, signed_bytes]), PLAIN_DOTS.function)
    builder = ir.IRBuilder(function.append_basic_block())
    total, wide = function.args[0], ir.VectorType(ir.IntType(32), 64)
    products = builder.mul(*(builder.sext(factor, wide) for factor in function.args[1:]))
    for place in range(4):
        chosen = ir.Constant(words, list(range(place, 64, 4)))
        total = builder.add(total, builder.shuffle_vector(products, ir.Constant(wide, ir.Undefined), chosen))
    builder.ret(total)


def assert_one_row_is_right(monkeypatch, product):
    monkeypatch.setattr(PackedRowProduct, "here", lambda *_, **__: product)
    _, packed = a_weight(product.packing.quantization, outputs=67, inputs=384)
    x = numbers(1, 384) ** 5  # of very different sizes
    x[0, 32:64] = 0
    assert_equal_to_rounding(linear_for(PackedLinear(packed), Workers(1))(x), x @ packed.floats().T)


def test_the_kernels_know_the_packings_of_the_community():
    assert can_pack(Quantization(bits=6, group_size=32))
    assert not can_pack(Quantization(bits=5, group_size=64)) and not can_pack(Quantization(bits=4, group_size=16))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Wide enough for groups of 64, and stored in bfloat16 as published ones are."""
    folder = tmp_path_factory.mktemp("plain") / "model"
    talker = {"hidden_size": 128, "intermediate_size": 192, "text_hidden_size": 64}
    predictor = {"hidden_size": 64, "intermediate_size": 128}
    return write_checkpoint(folder, variant="custom_voice", dtype=mx.bfloat16, talker=talker, predictor=predictor)


def spoken(model, *, batch):
    requests = [SpeechRequest(text, speaker="ryan", max_frames=6 + index) for index, text in enumerate(TEXTS)]
    return dict(model.synthesize_batch(requests, sampling=Sampling.greedy(), batch=batch))


@pytest.mark.parametrize("bits", [8, 6, 4])
def test_speech_has_the_codes_of_mlx_and_its_own_quantised_products(checkpoint, tmp_path, bits):
    folder = quantize_checkpoint(checkpoint, tmp_path / "small", bits=bits)
    theirs = load_speech_model(folder, "float32", backend="mlx", dequantize=False)
    ours = load_speech_model(folder, "float32", backend="llvm")
    assert (theirs.network.name, ours.network.name) == ("mlx", "llvm")
    expected = spoken(theirs, batch=1)
    for batch in (1, 3):
        for index, speech in spoken(ours, batch=batch).items():
            np.testing.assert_array_equal(speech.codes, expected[index].codes)


def test_an_unpacked_checkpoint_gives_the_same_codes(checkpoint, tmp_path):
    folder = quantize_checkpoint(checkpoint, tmp_path / "small", bits=4)
    packed, unpacked = (load_speech_model(folder, "float32", backend=name) for name in ("llvm", "numpy"))
    assert packed.host_bytes < unpacked.network.model.layers[0].gate_up_proj.outputs * 10_000
    for index, speech in spoken(packed, batch=3).items():
        np.testing.assert_array_equal(speech.codes, spoken(unpacked, batch=1)[index].codes)


def test_on_a_cpu_quantised_weights_stay_packed_without_being_asked(checkpoint, tmp_path):
    if mx.default_device() != mx.Device(mx.cpu):
        pytest.skip("this machine has a GPU")
    model = load_speech_model(quantize_checkpoint(checkpoint, tmp_path / "small", bits=4))
    assert (model.network.name, model.dtype) == ("llvm", "float32")
    assert isinstance(model.network.model.layers[0].qkv_proj, NumpyPackedLinear)
