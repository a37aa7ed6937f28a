"""Packed weights and one row → the code that multiplies them: `layer_kernels.RowProduct` of packed weights.

Weights are in the order of `network/packed_weight.py`. A group adds `scale * sum(number * x) + bias * sum(x)`, which is
what unpacked weights would give, up to the order of sums. Numbers of 8 and 4 bits are multiplied as bytes where the
processor has an instruction for it: the sixteen inputs of a lane are then whole numbers of 24 bits times a step of
their own, in three digits of a byte, which is as exact as float32. Otherwise numbers are made floats.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from models.checkpoint_format.fit import BITS_PER_WORD, Quantization
from models.qwen3_tts.network.packed_weight import BLOCK, INPUTS_PER_LANE, LANES, TILE
from models.qwen3_tts.network_cpu.kernel_builder import FLOAT, HALF, SIZE, WORD, Array, Kernel, Value
from models.qwen3_tts.network_cpu.machine_code import DotProducts, this_dot_products

AHEAD = 16  # rows of a block that are fetched ahead: memory answers late, and does not guess this by itself
DIGITS = 3  # of an input
DIGIT_WORDS = INPUTS_PER_LANE // 4  # of a lane
GREATEST = 127 * 65_536 + 127 * 256 + 127  # whole number of three signed bytes
LEAST_STEP = 1e-30  # of inputs that are all zeros


@dataclass(frozen=True)
class Packing:
    """The places of one row of a block in memory, and what is in them."""

    quantization: Quantization
    in_bfloat16: bool  # scales and biases

    @property
    def words(self) -> int:
        """Words of a lane."""
        return INPUTS_PER_LANE * self.quantization.bits // BITS_PER_WORD

    @property
    def arrays(self) -> list[ir.Type]:
        return [WORD, HALF if self.in_bfloat16 else FLOAT]

    def read(self, words: Array, at: Value) -> list[Value]:
        """Row `at` of all blocks: its words, each a vector over the lanes."""
        start = at * (self.words * LANES)
        for place in range(self.words):
            words.prefetch(start + (AHEAD * self.words + place) * LANES)
        return [words.load(start + place * LANES, LANES) for place in range(self.words)]

    def number(self, words: Sequence[Value], place: int) -> Value:
        """The number of each lane at one place, from the lane's words."""
        bits = self.quantization.bits
        first, offset = divmod(place * bits, BITS_PER_WORD)
        found = words[first] >> offset if offset else words[first]
        if offset + bits > BITS_PER_WORD:
            found = found | (words[first + 1] << (BITS_PER_WORD - offset))
        return (found & ((1 << bits) - 1)).to_float()

    def bytes(self, words: Sequence[Value]) -> list[Value]:
        """The numbers of each lane as bytes, in the order of `byte_places`."""
        if self.quantization.bits == 8:
            return list(words)
        return [half & 0x0F0F0F0F for word in words for half in (word, word >> 4)]

    @property
    def byte_places(self) -> Sequence[int]:
        """Inputs of a lane in the order of `bytes`."""
        if self.quantization.bits == 8:
            return range(INPUTS_PER_LANE)
        return [start + odd + 2 * place for start in (0, 8) for odd in (0, 1) for place in range(4)]

    def factors(self, factors: Array, at: Value) -> tuple[Value, Value]:
        """Scale and bias of each lane in row `at` of all blocks."""
        groups = BLOCK // self.quantization.group_size
        stored = factors.load(at * (2 * groups), 2 * groups)
        both = stored.widened() if self.in_bfloat16 else stored
        own = [lane * INPUTS_PER_LANE // self.quantization.group_size for lane in range(LANES)]
        return both.lanes(own), both.lanes([groups + group for group in own])


@dataclass(frozen=True)
class PackedRowProduct:
    """Products with one row. A block of outputs is a tile."""

    packing: Packing
    dots: DotProducts | None  # None where numbers are made floats

    @classmethod
    def here(cls, quantization: Quantization, *, in_bfloat16: bool) -> PackedRowProduct:
        """By this processor's instruction, if it has one and the numbers are bytes or halves of bytes."""
        dots = this_dot_products() if quantization.bits in (4, 8) else None
        return cls(Packing(quantization, in_bfloat16), dots)

    @property
    def _of_inputs(self) -> int:
        """Floats, or words of digits, of a block of inputs; the sums of its lanes follow, then their steps."""
        return BLOCK if self.dots is None else DIGITS * DIGIT_WORDS * LANES

    @property
    def _of_block(self) -> int:
        return self._of_inputs + 2 * LANES

    def input_floats(self, inputs: int) -> int:
        return -(-inputs // BLOCK) * self._of_block

    def order_input(self, kernel: Kernel, natural: Array, ordered: Array, *, inputs: int) -> None:
        blocks = -(-inputs // BLOCK)
        with kernel.loop(inputs, blocks * BLOCK) as index:
            natural.store(index, kernel.constant(0.0, FLOAT))
        self.order_blocks(kernel, natural, ordered, blocks=kernel.constant(blocks, SIZE))

    def write_block(
        self, kernel: Kernel, weights: tuple[Value, Value], ordered: Array, *, inputs: int, block: Value,
        store: Callable[[Value, Value], None],
    ) -> None:  # fmt: skip
        words, factors = (kernel.array(base, kind) for base, kind in zip(weights, self.packing.arrays, strict=True))
        blocks = kernel.constant(-(-inputs // BLOCK), SIZE)
        totals = kernel.scratch(TILE * LANES)
        self.write_tile(kernel, words, factors, ordered, totals=totals, tile=block, blocks=blocks, store=store)

    def order_blocks(self, kernel: Kernel, natural: Array, ordered: Array, *, blocks: Value) -> None:
        """Write the code that brings whole blocks of inputs into the order of the weights."""
        with kernel.loop(0, blocks) as block, kernel.loop(0, LANES) as lane:
            numbers = natural.load(block * BLOCK + lane * INPUTS_PER_LANE, INPUTS_PER_LANE)
            start = block * self._of_block
            ordered.store(start + lane + self._of_inputs, numbers.sum())
            if self.dots is None:
                for place in range(INPUTS_PER_LANE):
                    ordered.store(start + place * LANES + lane, numbers.lane(place))
            else:
                self._store_digits(numbers, ordered, start + lane)

    def _store_digits(self, numbers: Value, ordered: Array, place: Value) -> None:
        """A lane's inputs as digits, and their step."""
        step = (numbers.magnitude().greatest() * (1 / GREATEST)).at_least(LEAST_STEP)
        ordered.store(place + (self._of_inputs + LANES), step)
        whole = (numbers / step.in_every_lane(LANES)).rounded().to_whole()
        words = ordered.of(WORD)
        for digit, own in enumerate(_digits(whole.lanes(self.packing.byte_places))):
            for word in range(DIGIT_WORDS):
                words.store(place + (digit * DIGIT_WORDS + word) * LANES, own.lane(word))

    def write_tile(
        self, kernel: Kernel, words: Array, factors: Array, ordered: Array, *, totals: Array, tile: Value,
        blocks: Value, store: Callable[[Value, Value], None],
    ) -> None:  # fmt: skip
        """Write the row's products with a tile; sums, each spread over the lanes, are kept in `totals`."""
        with kernel.loop(0, TILE) as row:
            totals.store(row * LANES, kernel.zeros(LANES))
        with kernel.loop(0, blocks) as block, kernel.loop(0, TILE) as row:
            at, start = (tile * blocks + block) * TILE + row, block * self._of_block
            own = self.packing.read(words, at)
            scales, biases = self.packing.factors(factors, at)
            if self.dots is not None:
                products = self._byte_products(own, ordered, start)
                if self.dots.signed and self.packing.quantization.bits == 8:
                    biases = biases + scales * 128.0
            else:
                products = self._float_products(own, ordered, start)
            sums = ordered.load(start + self._of_inputs, LANES)
            totals.store(row * LANES, totals.load(row * LANES, LANES) + products * scales + sums * biases)
        with kernel.loop(0, TILE) as row:
            store(tile * TILE + row, totals.load(row * LANES, LANES).sum())

    def _float_products(self, own: Sequence[Value], ordered: Array, start: Value) -> Value:
        sums = [start.kernel.zeros(LANES)] * 2  # two, so that none waits for the one before
        for place in range(INPUTS_PER_LANE):
            x = ordered.load(start + place * LANES, LANES)
            sums[place % 2] = sums[place % 2] + self.packing.number(own, place) * x
        return sums[0] + sums[1]

    def _byte_products(self, own: Sequence[Value], ordered: Array, start: Value) -> Value:
        assert self.dots is not None
        numbers, words = self.packing.bytes(own), ordered.of(WORD)
        if self.dots.signed and self.packing.quantization.bits == 8:
            numbers = [number ^ 0x80808080 for number in numbers]
        sums = []
        for digit in range(DIGITS):
            total = start.kernel.constant(0, ir.VectorType(WORD, LANES))
            for place, number in enumerate(numbers):
                x = words.load(start + (digit * DIGIT_WORDS + place) * LANES, LANES)
                total = _plus_dots(total, number, x, dots=self.dots)
            sums.append(total)
        low, middle, high = sums
        whole = ((high << 8) + middle).to_float() * 256.0 + low.to_float()
        return whole * ordered.load(start + (self._of_inputs + LANES), LANES)


def _digits(whole: Value) -> list[Value]:
    """Whole numbers -> for each digit, the lowest first, the words of its signed bytes."""
    kernel, builder, digits = whole.kernel, whole.kernel.builder, []
    bytes_kind, words_kind = ir.VectorType(ir.IntType(8), LANES), ir.VectorType(WORD, DIGIT_WORDS)
    for _ in range(DIGITS):
        lowest = builder.trunc(whole.raw, bytes_kind)
        digits.append(Value(kernel, builder.bitcast(lowest, words_kind)))
        rest = builder.sub(whole.raw, builder.sext(lowest, whole.raw.type))
        whole = Value(kernel, builder.ashr(rest, kernel.constant(8, whole.raw.type).raw))
    return digits


def _plus_dots(total: Value, numbers: Value, digits: Value, *, dots: DotProducts) -> Value:
    """Words, to each of which the products of four bytes of the same word are added."""
    kernel, kind = total.kernel, ir.VectorType(WORD, dots.words)
    factor: Any = ir.VectorType(ir.IntType(8), 4 * dots.words) if dots.by_bytes else kind
    function = kernel.outside(dots.function, kind, [kind, factor, factor])
    parts = []
    for start in range(0, LANES, dots.words):
        own = [each.lanes(range(start, start + dots.words)).raw for each in (total, numbers, digits)]
        factors = [kernel.builder.bitcast(each, factor) for each in own[1:]]
        parts.append(Value(kernel, kernel.builder.call(function, [own[0], *factors])))
    while len(parts) > 1:
        pairs = zip(parts[::2], parts[1::2], strict=True)
        parts = [first.mixed(second, range(2 * first.raw.type.count)) for first, second in pairs]
    return parts[0]
