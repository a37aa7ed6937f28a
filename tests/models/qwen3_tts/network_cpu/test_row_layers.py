"""One row's layers by machine code: the numbers of the plain formulation, whoever helps, and however late."""

from __future__ import annotations

import llvmlite.binding as llvm
import mlx.core as mx
import numpy as np
import pytest
from llvmlite import ir

from models.checkpoint_format.fit import Quantization
from models.qwen3_tts import Sampling, SpeechRequest, load_speech_model
from models.qwen3_tts.network_cpu.kernel_builder import FLOAT, Kernel
from models.qwen3_tts.network_cpu.layer_kernels import LayerShape, write_layers
from models.qwen3_tts.network_cpu.machine_code import MachineCode, address, optimized
from models.qwen3_tts.network_cpu.packed_row import PackedRowProduct, Packing
from models.qwen3_tts.network_cpu.vector_math import LANES, exp, swiglu
from models.qwen3_tts.numpy_ops import swiglu as plain_swiglu
from models.qwen3_tts.worker_threads import Workers
from tests.checkpoints import write_checkpoint

WIDE = {
    "talker": {"hidden_size": 128, "intermediate_size": 192, "text_hidden_size": 64, "head_dim": 64},
    "predictor": {"hidden_size": 64, "intermediate_size": 128, "head_dim": 32},
}
DTYPES = ("float32", "int8", "int4")  # with "float32" weights stay bfloat16


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_checkpoint(
        tmp_path_factory.mktemp("wide") / "model", variant="custom_voice", dtype=mx.bfloat16, **WIDE
    )


def decoders(model):
    return model.network.model, model.network.predictor.model


@pytest.mark.parametrize("dtype", DTYPES)
def test_hidden_states_keys_and_values_are_those_of_the_plain_formulation(folder, dtype):
    for decoder in decoders(load_speech_model(folder, dtype, backend="llvm")):
        layer, by_machine_code = decoder.layers[0], decoder._row_layers
        assert by_machine_code is not None
        shape = (2, 3, layer.kv_heads, 128, layer.head_dim)
        ours, plain = ([np.zeros(shape, np.float32) for _ in decoder.layers] for _ in range(2))
        random = np.random.default_rng(1)
        for position in range(35):  # more than two vectors of scores
            x = random.standard_normal((1, layer.o_proj.outputs), np.float32)
            found = decoder.of_one(x, position=position, kv=ours, slot=1)
            decoder._row_layers = None
            expected = decoder.of_one(x, position=position, kv=plain, slot=1)
            decoder._row_layers = by_machine_code
            np.testing.assert_allclose(found, expected, atol=2e-5)
        np.testing.assert_allclose(ours, plain, atol=2e-5)
        assert not np.any(ours[0][:, [0, 2]])


@pytest.mark.parametrize("dtype", DTYPES)
def test_speech_has_the_codes_of_the_plain_formulation_by_any_number_of_threads(folder, dtype):
    request = SpeechRequest("Seven wizards judge.", speaker="ryan", max_frames=12)
    expected = load_speech_model(folder, dtype, backend="numpy").synthesize(request, Sampling.greedy()).codes
    model = load_speech_model(folder, dtype, backend="llvm")
    for threads in (1, 2, 5):
        for decoder in decoders(model):
            decoder._row_layers._workers = Workers(threads)
        np.testing.assert_array_equal(model.synthesize(request, Sampling.greedy()).codes, expected)


def test_a_thread_that_comes_when_all_is_done_changes_nothing(folder):
    decoder = load_speech_model(folder, "int4", backend="llvm").network.model
    layer, late = decoder.layers[0], []

    class Alone:
        def together(self, work):
            work()
            late.append(work)

    decoder._row_layers._workers = Alone()
    kv = [np.zeros((2, 1, layer.kv_heads, 16, layer.head_dim), np.float32) for _ in decoder.layers]
    x = np.ones((1, layer.o_proj.outputs), np.float32)
    found, stored = decoder.of_one(x, position=0, kv=kv, slot=0).copy(), np.array(kv)
    late[0]()
    np.testing.assert_array_equal(np.array(kv), stored)
    np.testing.assert_array_equal(decoder.of_one(x, position=0, kv=kv, slot=0), found)


@pytest.mark.parametrize(
    ("triple", "cpu", "fused_product"),
    [("aarch64-linux-gnu", "neoverse-n1", "fmla"), ("arm64-apple-macosx", "apple-m1", "fmla"),
     ("x86_64-linux-gnu", "haswell", "vfmadd")],
)  # fmt: skip
def test_other_processors_have_code_for_the_layers(triple, cpu, fused_product):
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, opt=3)
    shape, module = LayerShape(width=64, inner=96, heads=4, kv_heads=2, head_dim=32, eps=1e-6), ir.Module()
    write_layers(module, shape, PackedRowProduct(Packing(Quantization(bits=4, group_size=64), True), None))
    assembly = machine.emit_assembly(optimized(str(module), machine))
    assert assembly.count(fused_product) > 16 and "sched_yield" in assembly


def test_sizes_that_vectors_do_not_fill_are_left_to_the_plain_formulation(tmp_path):
    narrow = {"head_dim": 16}  # half of a head is less than a vector
    folder = write_checkpoint(tmp_path, variant="custom_voice", dtype=mx.bfloat16, talker=narrow, predictor=narrow)
    model = load_speech_model(folder, "float32", backend="llvm")
    assert [decoder._row_layers for decoder in decoders(model)] == [None, None]


def of_vectors(function, *arrays):
    """A function of vectors, computed over whole arrays by a kernel of its own."""
    module = ir.Module()
    with Kernel(module, "each", arrays=[FLOAT] * (len(arrays) + 1), sizes=1) as kernel:
        *sources, target = kernel.arrays
        with kernel.loop(0, kernel.sizes[0], LANES) as index:
            target.store(index, function(*(source.load(index, LANES) for source in sources)))
    result = np.empty_like(arrays[0])
    MachineCode(module, [kernel])["each"](*map(address, arrays), address(result), len(result))
    return result


def test_the_exponential_is_that_of_numpy():
    x = np.linspace(-87, 88, 16 * 4_000, dtype=np.float32)
    np.testing.assert_allclose(of_vectors(exp, x), np.exp(x.astype(np.float64)), rtol=3e-7)
    edges = np.repeat(np.array([-1e30, -200, 0, 1e30], np.float32), 4)
    assert np.all(np.isfinite(of_vectors(exp, edges)))
    assert of_vectors(exp, edges)[8] == 1


def test_swiglu_is_that_of_the_plain_formulation_also_far_out():
    gate, up = (np.random.default_rng(seed).normal(0, 60, 1_600).astype(np.float32) for seed in (1, 2))
    with np.errstate(over="ignore"):
        expected = plain_swiglu(np.concatenate([gate, up])[None])[0]
    np.testing.assert_allclose(of_vectors(swiglu, gate, up), expected, rtol=2e-6, atol=1e-30)
