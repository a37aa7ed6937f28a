"""Weights that stay bfloat16 on CPUs: the same numbers as by plain float32 products, which is their reference."""

from __future__ import annotations

import re
import sys

import llvmlite.binding as llvm
import mlx.core as mx
import numpy as np
import pytest
from llvmlite import ir

from models.qwen3_tts import Sampling, SpeechRequest, load_speech_model
from models.qwen3_tts.network.linear import Bfloat16Linear
from models.qwen3_tts.network_cpu.bf16_kernels import bfloat16_kernels, rows_kernel, write_tile_kernels
from models.qwen3_tts.network_cpu.bf16_linear import NumpyBfloat16Linear
from models.qwen3_tts.network_cpu.linear import NumpyLinear, linear_for
from models.qwen3_tts.network_cpu.machine_code import AVX, AVX512, NEON, OTHER, optimized, registers_of
from models.qwen3_tts.network_cpu.panel_kernels import ROWS, outputs_at_once
from models.qwen3_tts.network_cpu.tile_kernels import MOST_ROWS
from models.qwen3_tts.worker_threads import Workers
from registry.errors import InvalidInput
from tests.checkpoints import write_checkpoint

TEXTS = ("Hello.", "Seven wizards judge the boxing match.", "你好，世界。", "One more, with some words to it.", "No?")


def bfloat16_weight(outputs, inputs):
    return mx.random.normal((outputs, inputs), key=mx.random.key(outputs)).astype(mx.bfloat16)


def kept(weight, bias=None):
    return Bfloat16Linear(np.array(weight.view(mx.uint16)), bias)


def test_registers_and_the_outputs_whose_sums_they_hold_are_the_processors():
    assert [outputs_at_once(each) for each in (AVX512, NEON, AVX, OTHER)] == [4, 4, 2, 2]
    features = {"avx": True, "avx512f": False, "neon": True}
    assert registers_of("x86_64-unknown-linux-gnu", features) is AVX
    assert registers_of("arm64-apple-darwin", features) is registers_of("aarch64-linux-gnu", {}) is NEON


@pytest.mark.parametrize(
    ("triple", "cpu", "registers", "product"),
    [
        ("aarch64-linux-gnu", "neoverse-n1", NEON, "fmla"),
        ("arm64-apple-macosx", "apple-m1", NEON, "fmla"),
        ("x86_64-linux-gnu", "haswell", AVX, "vfmadd"),
        ("x86_64-linux-gnu", "skylake-avx512", AVX512, "vfmadd"),
    ],
)
def test_no_sum_of_a_panel_leaves_the_registers_of_its_processor(triple, cpu, registers, product):
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, opt=3)
    module = ir.Module()
    rows_kernel(module, registers)
    assembly = machine.emit_assembly(optimized(str(module), machine))
    block = max(re.split(r"^\S+:", assembly, flags=re.MULTILINE), key=lambda block: block.count(product))
    inner_loop = block[: block.rindex(product)]  # sums are stored after it
    assert inner_loop.count(product) >= ROWS * outputs_at_once(registers) - 1
    assert not re.search(r"\tst[rp]\tq\d+|\tvmov\S+\t%[xyz]mm\d+, -?\d*\(%[a-z]+", inner_loop)


def test_processors_with_matrix_tiles_have_code_for_them():
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    target = llvm.Target.from_triple("x86_64-linux-gnu")
    machine, module = target.create_target_machine(cpu="sapphirerapids", opt=3), ir.Module()
    write_tile_kernels(module)
    assembly = machine.emit_assembly(optimized(str(module), machine))
    inner_loop = max(re.split(r"^\S+:", assembly, flags=re.MULTILINE), key=lambda block: block.count("tdpbf16ps"))
    assert inner_loop.count("\ttdpbf16ps") >= 4 and inner_loop.count("\ttilestored") <= 4
    assert assembly.count("\ttilerelease") == assembly.count("\tldtilecfg") == 1


@pytest.mark.parametrize("rows", [1, 2, 8, 33, MOST_ROWS + 1])
@pytest.mark.parametrize(("outputs", "inputs"), [(8, 2), (67, 34), (37, 8192), (1024, 300)])
def test_products_are_those_of_float32(outputs, inputs, rows):
    stored, x, exact = a_product(outputs, inputs, rows=rows)
    np.testing.assert_allclose(stored(x), exact, atol=2e-6 * inputs, rtol=1e-6)


@pytest.mark.parametrize("rows", [3, 16, 33])
@pytest.mark.parametrize("registers", [AVX512, AVX, NEON, OTHER], ids=["AVX-512", "AVX", "NEON", "other"])
def test_products_are_the_same_by_the_blocks_of_other_processors(monkeypatch, registers, rows):
    kernels = bfloat16_kernels(registers)
    assert kernels.tiles is None
    monkeypatch.setattr("models.qwen3_tts.network_cpu.bf16_linear.bfloat16_kernels", lambda: kernels)
    stored, x, exact = a_product(67, 300, rows=rows)
    np.testing.assert_allclose(stored(x), exact, atol=6e-4, rtol=1e-6)


def a_product(outputs, inputs, *, rows):
    """A layer of bfloat16 weights, inputs, and what it should make of them."""
    weight, bias = bfloat16_weight(outputs, inputs), mx.arange(outputs, dtype=mx.float32)
    x = np.random.default_rng(rows).standard_normal((rows, inputs), np.float32)
    stored = linear_for(kept(weight, bias), Workers(8))
    assert isinstance(stored, NumpyBfloat16Linear)
    exact = x.astype(np.float64) @ np.array(weight.astype(mx.float32)).T.astype(np.float64) + np.arange(outputs)
    return stored, x, exact


@pytest.mark.parametrize(("outputs", "inputs"), [(7, 16), (64, 15)])
def test_weights_that_the_kernels_do_not_fit_are_widened(outputs, inputs):
    weight, x = bfloat16_weight(outputs, inputs), np.ones((3, inputs), np.float32)
    product = linear_for(kept(weight), Workers(1))
    assert isinstance(product, NumpyLinear)
    np.testing.assert_allclose(product(x)[0], np.array(weight.astype(mx.float32)).sum(1), rtol=1e-4, atol=1e-4)


def test_an_llvm_that_cannot_be_imported_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "models.qwen3_tts.network_cpu.bf16_linear", None)
    with pytest.raises(InvalidInput, match="LLVM cannot be used here"):
        linear_for(kept(bfloat16_weight(32, 2)), Workers(1))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Stored in bfloat16, as published ones are, and wide enough for the kernels."""
    folder = tmp_path_factory.mktemp("bfloat16")
    return write_checkpoint(folder, variant="custom_voice", dtype=mx.bfloat16, seed=3)


def spoken(model, *, batch):
    requests = [
        SpeechRequest(text, language="auto", speaker="ryan", max_frames=6 + index) for index, text in enumerate(TEXTS)
    ]
    return dict(model.synthesize_batch(requests, sampling=Sampling.greedy(), batch=batch))


def test_speech_has_the_codes_of_plain_float32(checkpoint):
    plain = spoken(load_speech_model(checkpoint, "float32", backend="numpy"), batch=1)
    model = load_speech_model(checkpoint, "float32", backend="llvm")
    for batch in (1, 3, len(TEXTS)):
        halved = spoken(model, batch=batch)
        for index, speech in plain.items():
            np.testing.assert_array_equal(halved[index].codes, speech.codes)
            np.testing.assert_allclose(halved[index].waveform, speech.waveform, atol=1e-6)


def test_a_code_predictor_as_wide_as_the_talker_reads_the_codes_embeddings_as_they_are(tmp_path):
    folder = write_checkpoint(tmp_path, variant="custom_voice", dtype=mx.bfloat16, predictor={"hidden_size": 64})
    request = SpeechRequest("Hello.", speaker="ryan", max_frames=3)
    models = [load_speech_model(folder, "float32", backend=name) for name in ("llvm", "numpy")]
    assert models[0].network.predictor.small_to_mtp_projection is None
    halved, plain = (model.synthesize(request, Sampling.greedy()).codes for model in models)
    np.testing.assert_array_equal(halved, plain)


def test_the_prompt_and_its_embeddings_are_those_of_plain_float32(checkpoint):
    request = SpeechRequest("Hello there.", language="english", speaker="ryan")
    plain, halved = (load_speech_model(checkpoint, "float32", backend=name) for name in ("numpy", "llvm"))
    assert (plain.network.name, halved.network.name) == ("numpy", "llvm")
    for expected, found in zip(plain.prefill(request), halved.prefill(request), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_on_a_cpu_it_is_what_computes_weights_in_bfloat16(checkpoint, tmp_path):
    if mx.default_device() != mx.Device(mx.cpu):
        pytest.skip("this machine has a GPU")
    assert load_speech_model(checkpoint, "float32").network.name == "llvm"
    full = write_checkpoint(tmp_path, variant="custom_voice", dtype=mx.float32)
    assert load_speech_model(full, "float32").network.name == "numpy"


def test_unknown_backends_are_refused_by_name(checkpoint):
    with pytest.raises(InvalidInput, match="llvm"):
        load_speech_model(checkpoint, backend="torch")
