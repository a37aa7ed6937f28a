"""Kernels in LLVM's language → functions of machine code for this processor."""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import llvmlite.binding as llvm
import numpy as np
import numpy.typing as npt

from models.qwen3_tts.network_cpu.kernel_builder import Kernel

Floats = npt.NDArray[np.float32]
ARCH_PRCTL, ASK_FOR_PERMISSION, TILE_DATA = 158, 0x1023, 18  # Linux's call, on x86 with 64 bits


@dataclass(frozen=True)
class Registers:
    """A processor's vector registers."""

    floats: int  # that one holds
    count: int


AVX512, AVX, NEON, OTHER = Registers(16, 32), Registers(8, 16), Registers(4, 32), Registers(4, 16)


def registers_of(triple: str, features: Mapping[str, bool]) -> Registers:
    """By the processor's name and features, as LLVM has them."""
    if triple.startswith(("aarch64", "arm64")):
        return NEON
    return AVX512 if features.get("avx512f") else AVX if features.get("avx") else OTHER


@dataclass(frozen=True)
class DotProducts:
    """An instruction that multiplies bytes and adds the products of every four to a word."""

    function: str  # as LLVM has it
    words: int  # of its vectors
    signed: bool  # both factors; otherwise the first is not
    by_bytes: bool  # vectors of bytes are given, instead of words


VNNI = DotProducts("llvm.x86.avx512.vpdpbusd.512", 16, signed=False, by_bytes=False)
AVX_VNNI = DotProducts("llvm.x86.avx512.vpdpbusd.256", 8, signed=False, by_bytes=False)
NEON_DOT = DotProducts("llvm.aarch64.neon.sdot.v4i32.v16i8", 4, signed=True, by_bytes=True)


def dot_products_of(triple: str, features: Mapping[str, bool]) -> DotProducts | None:
    """By the processor's name and features, as LLVM has them; None where there is none."""
    if triple.startswith(("aarch64", "arm64")):
        return NEON_DOT if features.get("dotprod") else None
    if features.get("avx512vnni"):
        return VNNI
    return AVX_VNNI if features.get("avxvnni") else None


class MachineCode:
    """The functions of compiled kernels by name, which keep it alive."""

    def __init__(self, module: Any, kernels: Sequence[Kernel]) -> None:
        machine = this_machine()
        self._engine = llvm.create_mcjit_compiler(optimized(str(module), machine), machine)
        self._engine.finalize_object()
        self._functions: dict[str, Any] = {
            kernel.name: ctypes.CFUNCTYPE(None, *kernel.kinds)(self._engine.get_function_address(kernel.name))
            for kernel in kernels
        }
        for function in self._functions.values():
            function.code = self

    def __getitem__(self, name: str) -> Callable[..., None]:
        function: Callable[..., None] = self._functions[name]
        return function


def this_machine() -> Any:
    """LLVM's target machine of this processor."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = llvm.get_host_cpu_features().flatten()
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(cpu=llvm.get_host_cpu_name(), features=features, opt=3, jit=True)


def this_dot_products() -> DotProducts | None:
    """The dot products of this processor."""
    return dot_products_of(llvm.get_default_triple(), llvm.get_host_cpu_features())


def this_registers() -> Registers:
    """The vector registers of this processor."""
    return registers_of(llvm.get_default_triple(), llvm.get_host_cpu_features())


@functools.cache
def has_matrix_tiles() -> bool:
    """Whether this processor has matrix tiles for bfloat16 (AMX), and the system lets this process use them."""
    if sys.platform != "linux" or not llvm.get_host_cpu_features().get("amx-bf16", False):
        return False
    return bool(ctypes.CDLL(None).syscall(ARCH_PRCTL, ASK_FOR_PERMISSION, TILE_DATA) == 0)


def optimized(source: str, machine: Any) -> Any:
    """LLVM's text -> a module as LLVM improves it for a processor."""
    module = llvm.parse_assembly(source)
    module.triple, module.data_layout = machine.triple, str(machine.target_data)
    passes = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=3))
    passes.getModulePassManager().run(module, passes)
    return module


def address(array: npt.NDArray[Any]) -> int:
    """Where an array begins, which must be contiguous and outlive its use."""
    assert array.flags.c_contiguous
    return array.ctypes.data
