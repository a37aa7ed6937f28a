"""Vectors of a kernel → vectors: exponential, SwiGLU, RMS norm and rotation, as `numpy_ops.py` has them."""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from models.qwen3_tts.network_cpu.kernel_builder import FLOAT, SIZE, Array, Kernel, Value

LANES = 16
LOG2_E = 1.44269504088896341
LN_2_HIGH, LN_2_LOW = 0.693359375, -2.12194440e-4  # together ln 2, the first without rounding
EXP_COEFFICIENTS = (
    1.9875691500e-4,
    1.3981999507e-3,
    8.3334519073e-3,
    4.1665795894e-2,
    1.6666665459e-1,
    5.0000001201e-1,
)
LEAST, GREATEST = -87.0, 88.0  # beyond, the result would be no ordinary number

Read = Callable[[Value], Value]  # an index -> a vector from there on


def exp(x: Value) -> Value:
    """`e ** x` within 2 units of the last place, x cut to -87 … 88: a polynomial, and a power of 2 in the exponent."""
    x = x.at_least(LEAST).at_most(GREATEST)
    whole = (x * LOG2_E).rounded()
    rest = whole.times_plus(-LN_2_LOW, whole.times_plus(-LN_2_HIGH, x))
    series = x.kernel.constant(EXP_COEFFICIENTS[0], x.raw.type)
    for coefficient in EXP_COEFFICIENTS[1:]:
        series = series.times_plus(rest, coefficient)
    series = series.times_plus(rest * rest, rest + 1.0)
    return series * ((whole.to_whole() + 127) << 23).as_float()


def swiglu(gate: Value, up: Value) -> Value:
    """`silu(gate) * up`."""
    one = gate.kernel.constant(1.0, gate.raw.type)
    return gate * up / (exp(gate * -1.0) + one)


def inverse_root_mean_square(kernel: Kernel, read: Read, count: int, *, eps: float) -> Value:
    """The factor, in every lane, that brings the numbers 0 to `count` to a mean square of 1."""
    squares = kernel.variable(kernel.zeros(LANES))
    with kernel.loop(0, count, LANES) as index:
        numbers = read(index)
        squares.set(squares.get() + numbers * numbers)
    mean = squares.get().sum() * (1 / count)
    one = kernel.constant(1.0, FLOAT)
    return (one / (mean + eps).root()).in_every_lane(LANES)


def normed_and_rotated_head(
    kernel: Kernel, source: Array, start: Value, *, weight: Array, weight_start: Value, rope: tuple[Array, Array],
    head_dim: int, eps: float, target: Array, target_start: Value,
) -> None:  # fmt: skip
    """One query or key head, normalised, weighted and rotated: see `numpy_ops.apply_rotary`."""
    cosines, sines = rope
    inverse = inverse_root_mean_square(kernel, lambda index: source.load(start + index, LANES), head_dim, eps=eps)
    half = head_dim // 2

    def normed(index: Value) -> Value:
        return source.load(start + index, LANES) * inverse * weight.load(weight_start + index, LANES)

    with kernel.loop(0, half, LANES) as index:
        first, second = normed(index), normed(index + half)
        for at, own, other in ((index, first, second), (index + half, second, first)):
            target.store(target_start + at, own * cosines.load(at, LANES) + other * sines.load(at, LANES))


def attend(
    kernel: Kernel, query: Array, *, keys: Array, values: Array, positions: Value, head_dim: int,
    target: Array, target_start: Value,
) -> None:  # fmt: skip
    """One head's attention of a scaled query to `positions` keys and values, sixteen positions at a time."""
    vectors = head_dim // LANES
    least = -3.0e38  # instead of minus infinity, of which differences are no numbers
    scores = kernel.scratch(LANES)
    highest, total = kernel.variable(kernel.constant(least, FLOAT)), kernel.variable(kernel.zeros(LANES))
    context = [kernel.variable(kernel.zeros(LANES)) for _ in range(vectors)]
    with kernel.loop(0, positions, LANES) as start:
        count = (positions - start).at_most(LANES)
        scores.store(kernel.constant(0, SIZE), kernel.constant(least, ir.VectorType(FLOAT, LANES)))
        with kernel.loop(0, count) as index:
            dot = kernel.variable(kernel.zeros(LANES))
            with kernel.loop(0, head_dim, LANES) as at:
                dot.set(dot.get() + query.load(at, LANES) * keys.load((start + index) * head_dim + at, LANES))
            scores.store(index, dot.get().sum())
        own = scores.load(kernel.constant(0, SIZE), LANES)
        now = own.greatest().at_least(highest.get())
        # What was summed so far counts for less once a higher score has come.
        kept = exp((highest.get() - now).in_every_lane(LANES))
        weights = exp(own - now.in_every_lane(LANES))
        scores.store(kernel.constant(0, SIZE), weights)
        highest.set(now)
        # Lanes beyond the count hold e ** -87, which is nothing beside the 1 of the highest.
        total.set(total.get() * kept + weights)
        for one in context:
            one.set(one.get() * kept)
        with kernel.loop(0, count) as index:
            weight = scores.load(index).in_every_lane(LANES)
            for number, one in enumerate(context):
                place = (start + index) * head_dim + number * LANES
                one.set(one.get() + weight * values.load(place, LANES))
    inverse = (kernel.constant(1.0, FLOAT) / total.get().sum()).in_every_lane(LANES)
    for number, one in enumerate(context):
        target.store(target_start + number * LANES, one.get() * inverse)
