"""Machine code of all layers of a transformer for one position of one row, computed by several threads together.

Every thread calls the same function. A layer has five steps; the work of each is cut into chunks, which threads claim
by counting, and nobody begins the next step before all chunks of this one are done. A thread that comes late finds
everything claimed and goes through; none is waited for that has not claimed a chunk. What all chunks of a step read
(the normalised input in the order of the weights) each thread computes for itself.

The plain formulation is `decoder_layer.NumpyDecoderLayer`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from llvmlite import ir

from models.checkpoint_format.config import TransformerConfig
from models.qwen3_tts.network_cpu.kernel_builder import FLOAT, SIZE, Array, Kernel, Value
from models.qwen3_tts.network_cpu.machine_code import MachineCode
from models.qwen3_tts.network_cpu.vector_math import (
    LANES,
    attend,
    inverse_root_mean_square,
    normed_and_rotated_head,
    swiglu,
)

OUTPUTS = 8  # of a product that are computed one after the other
CHUNKS = 24  # of a product
STEPS = 5  # of a layer
NATURAL_STEP = 256  # floats: inputs have room for the zeros that a product may add
COUNTER_STRIDE = 16  # whole numbers: counters of different steps are in different lines of the caches
PATIENCE = 2_000  # looks at a counter before another thread may have the core

# Addresses of a layer's arrays, by their index in its row of the table; a product has two: weights or words, factors.
QKV, O_PROJ, GATE_UP, DOWN, INPUT_NORM, POST_NORM, QK_NORM, KEYS, VALUES = 0, 2, 4, 6, 8, 9, 10, 11, 12
TABLE_COLUMNS = 13


@dataclass(frozen=True, kw_only=True)
class LayerShape:
    """Sizes of a layer."""

    width: int
    inner: int
    heads: int
    kv_heads: int
    head_dim: int
    eps: float

    @classmethod
    def of(cls, config: TransformerConfig) -> LayerShape:
        return cls(
            width=config.hidden_size,
            inner=config.intermediate_size,
            heads=config.num_attention_heads,
            kv_heads=config.num_key_value_heads,
            head_dim=config.head_dim,
            eps=config.rms_norm_eps,
        )

    @property
    def fits(self) -> bool:
        """Whether vectors and blocks of outputs fit into the sizes."""
        attention = (self.heads + 2 * self.kv_heads) * self.head_dim
        whole = all(size % LANES == 0 for size in (self.width, self.inner, self.head_dim // 2))
        return whole and self.head_dim % 2 == 0 and all(size % OUTPUTS == 0 for size in (attention, self.width))


class RowProduct(Protocol):
    """Blocks of a product's outputs for one row, by the way its weights are stored."""

    def __hash__(self) -> int: ...

    def input_floats(self, inputs: int) -> int:
        """Floats of room that an input in the order of the weights needs."""
        ...

    def order_input(self, kernel: Kernel, natural: Array, ordered: Array, *, inputs: int) -> None:
        """Write the code that brings an input into the order of the weights."""
        ...

    def write_block(
        self, kernel: Kernel, weights: tuple[Value, Value], ordered: Array, *, inputs: int, block: Value,
        store: Callable[[Value, Value], None],
    ) -> None:  # fmt: skip
        """Write the code of one block of outputs; `store` takes the index of an output, and its sum."""
        ...


def address_table_shape(layers: int) -> tuple[int, int]:
    return layers, TABLE_COLUMNS


def counters_size(layers: int) -> int:
    return layers * STEPS * COUNTER_STRIDE


@dataclass(frozen=True)
class _Threads:
    """Chunks of one step, shared among threads."""

    kernel: Kernel
    counters: Array

    def share(self, step: Value, chunks: int, *, prepare: Callable[[], None], work: Callable[[Value], None]) -> None:
        """Write a step: claim chunks and work on them, then wait until all are done."""
        kernel, claims, done = self.kernel, step * COUNTER_STRIDE, step * COUNTER_STRIDE + COUNTER_STRIDE // 2
        every = kernel.constant(chunks, SIZE)
        claimed = kernel.variable(self.counters.add_atomically(claims, 1))
        with kernel.when(claimed.get() < every):
            prepare()
        with kernel.loop_while(lambda: claimed.get() < every):
            work(claimed.get())
            self.counters.add_atomically(done, 1)
            claimed.set(self.counters.add_atomically(claims, 1))
        looks = kernel.variable(kernel.constant(0, SIZE))
        with kernel.loop_while(lambda: self.counters.load_atomically(done) < every):
            looks.set(looks.get() + 1)
            with kernel.when(kernel.constant(PATIENCE, SIZE) < looks.get()):
                kernel.yield_processor()


@functools.cache
def layers_kernel(shape: LayerShape, product: RowProduct) -> MachineCode:
    """The function `run_layers`, made once a process.

    It takes the addresses of: the table of layers, counters (zeros), x `(D,)`, which is changed in place, qkv, the
    attention's output, gate and up, cosines and signed sines `(E,)`; then the number of layers, the position, and the
    distance between the keys of two heads.
    """
    module = ir.Module()
    return MachineCode(module, [write_layers(module, shape, product)])


def write_layers(module: ir.Module, shape: LayerShape, product: RowProduct) -> Kernel:
    """The kernel in LLVM's language."""
    arrays = [SIZE, SIZE, *[FLOAT] * 6]
    with Kernel(module, "run_layers", arrays=arrays, sizes=3, shared=True) as kernel:
        table, counters = kernel.arrays[:2]
        layers = kernel.sizes[0]
        writer = _LayerWriter(kernel, shape, product, table, _Threads(kernel, counters))
        with kernel.loop(0, layers) as layer:
            writer.write(layer)
    return kernel


class _LayerWriter:
    """Writes the steps of one layer, whose number is known when the code runs."""

    def __init__(self, kernel: Kernel, shape: LayerShape, product: RowProduct, table: Array, threads: _Threads) -> None:
        self.kernel, self.shape, self.product, self.table, self.threads = kernel, shape, product, table, threads
        self.x, self.qkv, self.attn_out, self.gate_up, *self.rope = kernel.arrays[2:]
        _, self.position, self.head_stride = kernel.sizes
        self.most_inputs = max(shape.width, shape.heads * shape.head_dim, shape.inner)
        self.natural = kernel.scratch(-(-self.most_inputs // NATURAL_STEP) * NATURAL_STEP)
        self.ordered = kernel.scratch(product.input_floats(self.most_inputs))

    def write(self, layer: Value) -> None:
        shape, row = self.shape, layer * TABLE_COLUMNS
        first = layer * STEPS
        attention = shape.heads * shape.head_dim
        self._product(
            first, row + QKV, inputs=shape.width, outputs=attention + 2 * shape.kv_heads * shape.head_dim,
            read=self._normed(row + INPUT_NORM), store=self.qkv.store,
        )  # fmt: skip
        self.threads.share(first + 1, shape.kv_heads, prepare=lambda: None, work=lambda group: self._attend(row, group))
        self._product(
            first + 2, row + O_PROJ, inputs=attention, outputs=shape.width, read=lambda: self._vectors(self.attn_out),
            store=self._add,
        )  # fmt: skip
        self._product(
            first + 3, row + GATE_UP, inputs=shape.width, outputs=2 * shape.inner,
            read=self._normed(row + POST_NORM), store=self.gate_up.store,
        )  # fmt: skip
        self._product(
            first + 4, row + DOWN, inputs=shape.inner, outputs=shape.width, read=lambda: self._activated,
            store=self._add,
        )  # fmt: skip

    def _address(self, place: Value) -> Value:
        return self.table.load(place)

    def _array(self, place: Value) -> Array:
        return self.kernel.array(self._address(place), FLOAT)

    def _add(self, output: Value, number: Value) -> None:
        self.x.store(output, self.x.load(output) + number)

    def _vectors(self, array: Array) -> Callable[[Value], Value]:
        return lambda index: array.load(index, LANES)

    def _normed(self, norm: Value) -> Callable[[], Callable[[Value], Value]]:
        def read() -> Callable[[Value], Value]:
            weight, vectors = self._array(norm), self._vectors(self.x)
            inverse = inverse_root_mean_square(self.kernel, vectors, self.shape.width, eps=self.shape.eps)
            return lambda index: vectors(index) * inverse * weight.load(index, LANES)

        return read

    def _activated(self, index: Value) -> Value:
        return swiglu(self.gate_up.load(index, LANES), self.gate_up.load(index + self.shape.inner, LANES))

    def _product(
        self, step: Value, place: Value, *, inputs: int, outputs: int, read: Callable[[], Callable[[Value], Value]],
        store: Callable[[Value, Value], None],
    ) -> None:  # fmt: skip
        kernel, blocks = self.kernel, outputs // OUTPUTS
        chunk_blocks = -(-blocks // CHUNKS)

        def prepare() -> None:
            vector = read()
            with kernel.loop(0, inputs, LANES) as index:
                self.natural.store(index, vector(index))
            self.product.order_input(kernel, self.natural, self.ordered, inputs=inputs)

        def work(chunk: Value) -> None:
            weights = self._address(place), self._address(place + 1)
            first = chunk * chunk_blocks
            with kernel.loop(first, (first + chunk_blocks).at_most(blocks)) as block:
                self.product.write_block(kernel, weights, self.ordered, inputs=inputs, block=block, store=store)

        self.threads.share(step, -(-blocks // chunk_blocks), prepare=prepare, work=work)

    def _attend(self, row: Value, group: Value) -> None:
        """One key/value head and its query heads: new keys and values, then attention."""
        shape, kernel = self.shape, self.kernel
        keys, values = (
            kernel.array(self._address(row + place) + group * self.head_stride * 4, FLOAT) for place in (KEYS, VALUES)
        )
        weight, place = self._array(row + QK_NORM), self.position * shape.head_dim
        query_heads = shape.heads // shape.kv_heads

        def turn(head: Value, *, target: Array, start: Value) -> None:
            at = head * shape.head_dim
            normed_and_rotated_head(
                kernel, self.qkv, at, weight=weight, weight_start=at, rope=(self.rope[0], self.rope[1]),
                head_dim=shape.head_dim, eps=shape.eps, target=target, target_start=start,
            )  # fmt: skip

        turn(group + shape.heads, target=keys, start=place)
        value_at = (group + (shape.heads + shape.kv_heads)) * shape.head_dim
        with kernel.loop(0, shape.head_dim, LANES) as at:
            values.store(place + at, self.qkv.load(value_at + at, LANES))
        query = self.natural
        with kernel.loop(0, query_heads) as number:
            head = group * query_heads + number
            turn(head, target=query, start=kernel.constant(0, SIZE))
            attend(
                kernel, query, keys=keys, values=values, positions=self.position + 1, head_dim=shape.head_dim,
                target=self.attn_out, target_start=head * shape.head_dim,
            )  # fmt: skip
