"""Machine code for products of bfloat16 weights with float32 numbers on CPUs, made by LLVM when it is first needed.

A bfloat16 number is the upper half of a float32, so widening it is exact. The kernels are written in LLVM's own
language: making them takes a tenth of a second and nothing is kept, where a compiler of Python (Numba) takes more than
a second even to find machine code that it kept. They release the interpreter's lock.

All arrays are given as addresses of contiguous memory. Weights are `(O, I)` uint16; every kernel fills the outputs
`first` to `last`.
"""

from __future__ import annotations

import ctypes
import functools
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import llvmlite.binding as llvm
import numpy as np
import numpy.typing as npt

OUTPUTS_AT_ONCE = 8  # outputs come in blocks of at most so many
FEWEST_OUTPUTS = 4  # below, a panel does little but spread weights
LANES = (8, 16)  # rows of a panel
COLUMNS, SPARE = 2, 3  # vectors of inputs that a block holds beside its sums, and registers for what it computes
SUMS = "reassoc contract nsz"  # sums may be taken in another order; NaN and infinity keep their meaning

Floats = npt.NDArray[np.float32]
Bfloat16Bits = npt.NDArray[np.uint16]


@dataclass(frozen=True, kw_only=True)
class Bfloat16Kernels:
    """Addresses and sizes in, results written in place."""

    # weight, x (I,), result (O,), inputs, first, last
    one_row: Callable[[int, int, int, int, int, int], None]
    # by lanes: weight, panels x (P, I, lanes), result (P, O, lanes), inputs, first, last, panels, outputs;
    # I even, and at least 8 outputs from first to last
    rows: dict[int, Callable[[int, int, int, int, int, int, int, int], None]]
    # bfloat16 bits, float32 bits, count
    widen: Callable[[int, int, int], None]
    engine: Any  # the machine code lives as long as it does


@dataclass(frozen=True)
class Registers:
    """A processor's vector registers."""

    floats: int  # that one holds
    count: int

    def blocks(self) -> dict[int, int]:
        """By lanes, the outputs whose sums stay in registers; wide panels only where some do."""
        found: dict[int, int] = {}
        for lanes in LANES:
            vectors = -(-lanes // self.floats)
            room = (self.count - SPARE - COLUMNS * vectors) // vectors
            if room >= FEWEST_OUTPUTS or not found:
                found[lanes] = OUTPUTS_AT_ONCE if room >= OUTPUTS_AT_ONCE else FEWEST_OUTPUTS
        return found


AVX512, AVX, NEON, OTHER = Registers(16, 32), Registers(8, 16), Registers(4, 32), Registers(4, 16)


def registers_of(triple: str, features: Mapping[str, bool]) -> Registers:
    """By the processor's name and features, as LLVM has them."""
    if triple.startswith(("aarch64", "arm64")):
        return NEON
    return AVX512 if features.get("avx512f") else AVX if features.get("avx") else OTHER


def address(array: npt.NDArray[Any]) -> int:
    """Where an array begins, which must be contiguous and outlive its use."""
    assert array.flags.c_contiguous
    return array.ctypes.data


# The compiler takes the inputs as lanes by itself, since their sum may be taken in any order.
_ONE_ROW = f"""
define void @one_row(ptr noalias %weight, ptr noalias %x, ptr noalias %result, i64 %inputs, i64 %first, i64 %last) {{
enter:
  %any = icmp slt i64 %first, %last
  br i1 %any, label %row, label %done
row:
  %output = phi i64 [ %first, %enter ], [ %next_output, %end_row ]
  %before = mul i64 %output, %inputs
  %weights = getelementptr i16, ptr %weight, i64 %before
  br label %product
product:
  %index = phi i64 [ 0, %row ], [ %next, %product ]
  %sum = phi float [ 0.0, %row ], [ %more, %product ]
  %half_at = getelementptr i16, ptr %weights, i64 %index
  %half = load i16, ptr %half_at, align 2
  %word = zext i16 %half to i32
  %bits = shl i32 %word, 16
  %wide = bitcast i32 %bits to float
  %number_at = getelementptr float, ptr %x, i64 %index
  %number = load float, ptr %number_at, align 4
  %one = fmul {SUMS} float %wide, %number
  %more = fadd {SUMS} float %sum, %one
  %next = add nuw nsw i64 %index, 1
  %last_input = icmp eq i64 %next, %inputs
  br i1 %last_input, label %end_row, label %product
end_row:
  %place = getelementptr float, ptr %result, i64 %output
  store float %more, ptr %place, align 4
  %next_output = add nsw i64 %output, 1
  %goes_on = icmp slt i64 %next_output, %last
  br i1 %goes_on, label %row, label %done
done:
  ret void
}}
"""

_WIDEN = """
define void @widen(ptr noalias %bits16, ptr noalias %wide, i64 %count) {
enter:
  %any = icmp sgt i64 %count, 0
  br i1 %any, label %one, label %done
one:
  %index = phi i64 [ 0, %enter ], [ %next, %one ]
  %half_at = getelementptr i16, ptr %bits16, i64 %index
  %half = load i16, ptr %half_at, align 2
  %word = zext i16 %half to i32
  %bits = shl i32 %word, 16
  %place = getelementptr i32, ptr %wide, i64 %index
  store i32 %bits, ptr %place, align 4
  %next = add nuw nsw i64 %index, 1
  %all = icmp eq i64 %next, %count
  br i1 %all, label %done, label %one
done:
  ret void
}
"""


# Panels of so many rows. Compilers do not find this by themselves: the rows are the lanes of vectors, the sums of as
# many outputs as fit stay in registers, and one word of memory, spread over the lanes, is two weights: a shift gives
# the first, a mask the second.
_ROWS = string.Template("""
define void @rows_by_$lanes(ptr noalias %weight, ptr noalias %x, ptr noalias %result,
                             i64 %inputs, i64 %first, i64 %last, i64 %panels, i64 %outputs) {
enter:
  %last_block = sub i64 %last, $at_once
  %pairs = lshr i64 %inputs, 1
  br label %block
block:
  %start = phi i64 [ %first, %enter ], [ %next_start, %end_block ]
  %beyond = icmp sgt i64 %start, %last_block
  %output = select i1 %beyond, i64 %last_block, i64 %start ; the last block may repeat some of the one before
  %before = mul i64 %output, %inputs
  %weights = getelementptr i16, ptr %weight, i64 %before
  br label %panel
panel:
  %number = phi i64 [ 0, %block ], [ %next_panel, %end_panel ]
  %columns_before = mul i64 %number, %inputs
  %columns = getelementptr $wide, ptr %x, i64 %columns_before
  br label %product
product:
  %pair = phi i64 [ 0, %panel ], [ %next, %product ]
$sums
  %column = shl i64 %pair, 1
  %even_at = getelementptr $wide, ptr %columns, i64 %column
  %even = load $wide, ptr %even_at, align 4
  %odd_at = getelementptr $wide, ptr %even_at, i64 1
  %odd = load $wide, ptr %odd_at, align 4
$products
  %next = add nuw nsw i64 %pair, 1
  %goes_on = icmp ult i64 %next, %pairs
  br i1 %goes_on, label %product, label %end_panel
end_panel:
  %results_before = mul i64 %number, %outputs
  %at = add i64 %results_before, %output
  %target = getelementptr $wide, ptr %result, i64 %at
$stores
  %next_panel = add i64 %number, 1
  %more_panels = icmp slt i64 %next_panel, %panels
  br i1 %more_panels, label %panel, label %end_block
end_block:
  %next_start = add i64 %start, $at_once
  %more_blocks = icmp slt i64 %next_start, %last
  br i1 %more_blocks, label %block, label %done
done:
  ret void
}
""")


def rows_kernel(lanes: int, at_once: int) -> str:
    """The kernel `rows_by_<lanes>`, for blocks of so many outputs."""
    wide, outputs = f"<{lanes} x float>", range(at_once)
    shift, mask = (f"<{', '.join([f'i32 {number}'] * lanes)}>" for number in (16, -65536))
    return _ROWS.substitute(
        lanes=lanes,
        at_once=at_once,
        wide=wide,
        sums="\n".join(f"  %sum{k} = phi {wide} [ zeroinitializer, %panel ], [ %more{k}, %product ]" for k in outputs),
        products="\n".join(_pair_of_products(k, lanes=lanes, shift=shift, mask=mask) for k in outputs),
        stores="\n".join(
            f"  %place{k} = getelementptr {wide}, ptr %target, i64 {k}\n  store {wide} %more{k}, ptr %place{k}, align 4"
            for k in outputs
        ),
    )


def _pair_of_products(k: int, *, lanes: int, shift: str, mask: str) -> str:
    """Two weights of output `k` times two columns, added to its sum."""
    wide, words = f"<{lanes} x float>", f"<{lanes} x i32>"
    return f"""  %row{k} = mul i64 %inputs, {k}
  %half{k} = add i64 %row{k}, %column
  %word_at{k} = getelementptr i16, ptr %weights, i64 %half{k}
  %word{k} = load i32, ptr %word_at{k}, align 2
  %single{k} = insertelement {words} poison, i32 %word{k}, i32 0
  %both{k} = shufflevector {words} %single{k}, {words} poison, {words} zeroinitializer
  %low_bits{k} = shl {words} %both{k}, {shift}
  %high_bits{k} = and {words} %both{k}, {mask}
  %low{k} = bitcast {words} %low_bits{k} to {wide}
  %high{k} = bitcast {words} %high_bits{k} to {wide}
  %first{k} = fmul contract {wide} %low{k}, %even
  %half_sum{k} = fadd contract {wide} %sum{k}, %first{k}
  %second{k} = fmul contract {wide} %high{k}, %odd
  %more{k} = fadd contract {wide} %half_sum{k}, %second{k}"""


@functools.cache
def bfloat16_kernels(registers: Registers | None = None) -> Bfloat16Kernels:
    """The kernels for this processor, made once a process; `registers` None are its own."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target, features = llvm.Target.from_default_triple(), llvm.get_host_cpu_features()
    blocks = (registers or registers_of(target.triple, features)).blocks()
    machine = target.create_target_machine(cpu=llvm.get_host_cpu_name(), features=features.flatten(), opt=3, jit=True)
    engine = _compile(_ONE_ROW + _WIDEN + "".join(rows_kernel(*block) for block in blocks.items()), machine)

    def kernel(name: str, *, addresses: int, sizes: int) -> Any:
        kinds = [ctypes.c_void_p] * addresses + [ctypes.c_int64] * sizes
        return ctypes.CFUNCTYPE(None, *kinds)(engine.get_function_address(name))

    return Bfloat16Kernels(
        one_row=kernel("one_row", addresses=3, sizes=3),
        rows={lanes: kernel(f"rows_by_{lanes}", addresses=3, sizes=5) for lanes in blocks},
        widen=kernel("widen", addresses=2, sizes=1),
        engine=engine,
    )


def _compile(source: str, machine: Any) -> Any:
    """LLVM's text -> an engine that holds its machine code."""
    module = optimized(source, machine)
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    return engine


def optimized(source: str, machine: Any) -> Any:
    """LLVM's text -> a module as LLVM improves it for a processor."""
    module = llvm.parse_assembly(source)
    module.triple, module.data_layout = machine.triple, str(machine.target_data)
    passes = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=3))
    passes.getModulePassManager().run(module, passes)
    return module
