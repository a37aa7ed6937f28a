"""Loops over numbers and vectors, written in Python → kernels in LLVM's language.

A kernel is written once, as a Python function that runs while the machine code is made: its own loops repeat
instructions, those of `Kernel.loop` become loops of the machine. Vectors may be longer than the processor's; LLVM
splits them. Making a kernel takes some hundredths of a second and nothing is kept, where a compiler of Python (Numba)
takes more than a second even to find machine code that it kept. Kernels release the interpreter's lock.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

FLOAT, HALF, WORD, SIZE = ir.FloatType(), ir.IntType(16), ir.IntType(32), ir.IntType(64)
REORDERED = ("reassoc", "contract", "nsz")  # sums may be taken in another order; NaN and infinity keep their meaning


@dataclass(frozen=True)
class Value:
    """A number, or a vector of numbers, of a kernel; its operators write instructions."""

    kernel: Kernel
    raw: Any

    def __add__(self, other: Value | float) -> Value:
        return self._either("add", "fadd", other)

    def __sub__(self, other: Value | float) -> Value:
        return self._either("sub", "fsub", other)

    def __mul__(self, other: Value | float) -> Value:
        return self._either("mul", "fmul", other)

    def __truediv__(self, other: Value) -> Value:
        return self._either("sdiv", "fdiv", other)

    def __lt__(self, other: Value) -> Value:
        write = self.kernel.builder.icmp_signed if self.raw.type == SIZE else self.kernel.builder.fcmp_ordered
        return Value(self.kernel, write("<", self.raw, other.raw))

    def __rshift__(self, places: int) -> Value:
        return self._whole("lshr", places)

    def __lshift__(self, places: int) -> Value:
        return self._whole("shl", places)

    def __and__(self, other: Value | int) -> Value:
        return self._whole("and_", other)

    def __xor__(self, other: int) -> Value:
        return self._whole("xor", other)

    def __or__(self, other: Value | int) -> Value:
        return self._whole("or_", other)

    def _either(self, whole: str, floating: str, other: Value | float) -> Value:
        if _element(self.raw.type) != FLOAT:
            return self._whole(whole, other)
        write = getattr(self.kernel.builder, floating)
        return Value(self.kernel, write(self.raw, self._like(other).raw, flags=REORDERED))

    def _whole(self, instruction: str, other: Value | float) -> Value:
        return Value(self.kernel, getattr(self.kernel.builder, instruction)(self.raw, self._like(other).raw))

    def _like(self, other: Value | float) -> Value:
        return other if isinstance(other, Value) else self.kernel.constant(other, self.raw.type)

    def to_float(self) -> Value:
        """Whole numbers as floats of the same value."""
        return Value(self.kernel, self.kernel.builder.sitofp(self.raw, _of_lanes(FLOAT, self.raw.type)))

    def as_float(self) -> Value:
        """The floats that have these bits."""
        return Value(self.kernel, self.kernel.builder.bitcast(self.raw, _of_lanes(FLOAT, self.raw.type)))

    def bits(self) -> Value:
        """The words whose bits are these floats."""
        return Value(self.kernel, self.kernel.builder.bitcast(self.raw, _of_lanes(WORD, self.raw.type)))

    def widened(self) -> Value:
        """bfloat16 as the float32 whose upper half it is."""
        words = self.kernel.builder.zext(self.raw, _of_lanes(WORD, self.raw.type))
        return (Value(self.kernel, words) << 16).as_float()

    def at_most(self, other: Value | float) -> Value:
        other, builder = self._like(other), self.kernel.builder
        if _element(self.raw.type) == FLOAT:
            return self._intrinsic("minnum", self, other)
        is_less = builder.icmp_signed("<", self.raw, other.raw)
        return Value(self.kernel, builder.select(is_less, self.raw, other.raw))

    def lanes(self, chosen: Sequence[int]) -> Value:
        """A vector of the chosen lanes of this one."""
        mask = ir.Constant(ir.VectorType(WORD, len(chosen)), list(chosen))
        undefined = ir.Constant(self.raw.type, ir.Undefined)
        return Value(self.kernel, self.kernel.builder.shuffle_vector(self.raw, undefined, mask))

    def lane(self, number: int) -> Value:
        """One number of a vector."""
        return Value(self.kernel, self.kernel.builder.extract_element(self.raw, ir.Constant(WORD, number)))

    def mixed(self, other: Value, chosen: Sequence[int]) -> Value:
        """A vector of the chosen lanes of this one and, counted on, of another."""
        mask = ir.Constant(ir.VectorType(WORD, len(chosen)), list(chosen))
        return Value(self.kernel, self.kernel.builder.shuffle_vector(self.raw, other.raw, mask))

    def in_every_lane(self, lanes: int) -> Value:
        """A vector of this number."""
        kind = ir.VectorType(self.raw.type, lanes)
        one = ir.Constant(kind, ir.Undefined)
        single = self.kernel.builder.insert_element(one, self.raw, ir.Constant(WORD, 0))
        return Value(self.kernel, single).lanes([0] * lanes)

    def sum(self) -> Value:
        """The sum of a vector's lanes."""
        zero = self.kernel.constant(-0.0, FLOAT)
        return self._intrinsic("vector.reduce.fadd", zero, self, result=FLOAT)

    def greatest(self) -> Value:
        """The greatest of a vector's lanes."""
        return self._intrinsic("vector.reduce.fmax", self, result=FLOAT)

    def at_least(self, other: Value | float) -> Value:
        return self._intrinsic("maxnum", self, self._like(other))

    def root(self) -> Value:
        return self._intrinsic("sqrt", self)

    def magnitude(self) -> Value:
        return self._intrinsic("fabs", self)

    def rounded(self) -> Value:
        """The nearest whole number, still a float."""
        return self._intrinsic("rint", self)

    def times_plus(self, factor: Value | float, summand: Value | float) -> Value:
        """Product and sum rounded once, in this very order."""
        return self._intrinsic("fma", self, self._like(factor), self._like(summand))

    def to_whole(self) -> Value:
        """Floats that are whole as words."""
        return Value(self.kernel, self.kernel.builder.fptosi(self.raw, _of_lanes(WORD, self.raw.type)))

    def _intrinsic(self, name: str, *arguments: Value, result: Any = None) -> Value:
        kind = self.raw.type
        suffix = f"v{kind.count}f32" if isinstance(kind, ir.VectorType) else "f32"
        function = self.kernel.outside(
            f"llvm.{name}.{suffix}", result or kind, [argument.raw.type for argument in arguments]
        )
        flags = REORDERED if name.startswith("vector.") else ()
        call = self.kernel.builder.call(function, [argument.raw for argument in arguments], fastmath=flags)
        return Value(self.kernel, call)


@dataclass(frozen=True)
class Array:
    """Numbers of one type in memory, by their index."""

    kernel: Kernel
    base: Any
    element: Any

    def at(self, index: Value) -> Any:
        """The pointer to a number."""
        return self.kernel.builder.gep(self.base, [index.raw], source_etype=self.element)

    def of(self, element: Any) -> Array:
        """The same memory as numbers of another type."""
        return Array(self.kernel, self.base, element)

    def load(self, index: Value, lanes: int | None = None) -> Value:
        """The number at `index`, or a vector of those from there on."""
        kind = self.element if lanes is None else ir.VectorType(self.element, lanes)
        size_bytes = 2 if self.element == HALF else 4
        return Value(self.kernel, self.kernel.builder.load(self.at(index), typ=kind, align=size_bytes))

    def store(self, index: Value, value: Value) -> None:
        self.kernel.builder.store(value.raw, self.at(index), align=4)

    def add_atomically(self, index: Value, number: int) -> Value:
        """Add a whole number, also where other threads do; the number before."""
        one = ir.Constant(self.element, number)
        return Value(self.kernel, self.kernel.builder.atomic_rmw("add", self.at(index), one, "acq_rel"))

    def load_atomically(self, index: Value) -> Value:
        """A whole number that other threads change, with all that they stored before they did."""
        return Value(self.kernel, self.kernel.builder.load_atomic(self.at(index), "acquire", 8, typ=self.element))

    def prefetch(self, index: Value) -> None:
        """Have the memory at `index` fetched; it may lie beyond the array."""
        fetch = self.kernel.outside("llvm.prefetch.p0", ir.VoidType(), [ir.PointerType(), WORD, WORD, WORD])
        to_read, keep, data = (ir.Constant(WORD, number) for number in (0, 3, 1))
        self.kernel.builder.call(fetch, [self.at(index), to_read, keep, data])


@dataclass(frozen=True)
class Variable:
    """A value that changes in a loop; LLVM keeps it in a register."""

    kernel: Kernel
    slot: Any

    def get(self) -> Value:
        return Value(self.kernel, self.kernel.builder.load(self.slot, typ=self.slot.allocated_type))

    def set(self, value: Value) -> None:
        self.kernel.builder.store(value.raw, self.slot)


class Kernel:
    """A function of machine code that takes the addresses of arrays, and then sizes.

    The arrays do not overlap, and nobody else changes them, unless they are `shared`.
    """

    def __init__(self, module: Any, name: str, *, arrays: Sequence[Any], sizes: int, shared: bool = False) -> None:
        kinds = [ir.PointerType()] * len(arrays) + [SIZE] * sizes
        self.name, self.kinds = name, [ctypes.c_void_p] * len(arrays) + [ctypes.c_int64] * sizes
        self._function = ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), name)
        self._module = module
        self.builder = ir.IRBuilder(self._function.append_basic_block())
        given = self._function.args
        for argument in given[: 0 if shared else len(arrays)]:
            argument.add_attribute("noalias")
        self.arrays = [Array(self, base, element) for base, element in zip(given, arrays, strict=False)]
        self.sizes = [Value(self, argument) for argument in given[len(arrays) :]]

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *failure: object) -> None:
        if failure[0] is None:
            self.builder.ret_void()

    def constant(self, number: float, kind: Any) -> Value:
        numbers = number if not isinstance(kind, ir.VectorType) else [ir.Constant(kind.element, number)] * kind.count
        return Value(self, ir.Constant(kind, numbers))

    def zeros(self, lanes: int) -> Value:
        return self.constant(0.0, ir.VectorType(FLOAT, lanes))

    def variable(self, start: Value) -> Variable:
        with self.builder.goto_entry_block():
            slot = self.builder.alloca(start.raw.type)
        self.builder.store(start.raw, slot)
        return Variable(self, slot)

    def scratch(self, floats: int) -> Array:
        """Room for so many floats, which only this kernel sees."""
        with self.builder.goto_entry_block():
            slot = self.builder.alloca(ir.ArrayType(FLOAT, floats))
            slot.align = 64
            # llvmlite lets only floats be stored through the pointer that it gives, and not vectors.
            base = self.builder.inttoptr(self.builder.ptrtoint(slot, SIZE), ir.PointerType())
        return Array(self, base, FLOAT)

    def array(self, base: Value, element: Any) -> Array:
        """The array at an address."""
        return Array(self, self.builder.inttoptr(base.raw, ir.PointerType()), element)

    def outside(self, name: str, result: Any, arguments: Sequence[Any]) -> Any:
        """A function that is not written here, as LLVM's own are."""
        known = self._module.globals.get(name)
        return known or ir.Function(self._module, ir.FunctionType(result, arguments), name)

    @contextlib.contextmanager
    def loop(self, first: Value | int, last: Value | int, step: int = 1) -> Iterator[Value]:
        """Write the body of a loop; its value is the index, from `first` to below `last`."""
        first, last = (side if isinstance(side, Value) else self.constant(side, SIZE) for side in (first, last))
        index = self.variable(first)
        head, body, done = (self._function.append_basic_block() for _ in range(3))
        self.builder.branch(head)
        self.builder.position_at_end(head)
        goes_on = self.builder.icmp_signed("<", index.get().raw, last.raw)
        self.builder.cbranch(goes_on, body, done)
        self.builder.position_at_end(body)
        yield index.get()
        index.set(index.get() + step)
        self.builder.branch(head)
        self.builder.position_at_end(done)

    @contextlib.contextmanager
    def loop_while(self, condition: Callable[[], Value]) -> Iterator[None]:
        """Write the body of a loop that goes on as long as a condition, which writes its own instructions, holds."""
        head, body, done = (self._function.append_basic_block() for _ in range(3))
        self.builder.branch(head)
        self.builder.position_at_end(head)
        self.builder.cbranch(condition().raw, body, done)
        self.builder.position_at_end(body)
        yield
        self.builder.branch(head)
        self.builder.position_at_end(done)

    @contextlib.contextmanager
    def when(self, condition: Value) -> Iterator[None]:
        """Write what is done where a condition holds."""
        with self.builder.if_then(condition.raw):
            yield

    def yield_processor(self) -> None:
        """Let another thread run."""
        self.builder.call(self.outside("sched_yield", ir.IntType(32), []), [])


def _element(kind: Any) -> Any:
    return kind.element if isinstance(kind, ir.VectorType) else kind


def _of_lanes(element: Any, kind: Any) -> Any:
    """The element's vector of as many lanes as `kind` has."""
    return ir.VectorType(element, kind.count) if isinstance(kind, ir.VectorType) else element
