"""Linear layers of the network for CPUs: how NumPy multiplies by a weight, its outputs shared among the cores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from models.qwen3_tts.checkpoint.tensor_file import BFLOAT16, as_floats
from models.qwen3_tts.network.linear import Bfloat16Linear, Linear, PackedLinear, UnfusedLinear
from models.qwen3_tts.worker_threads import Workers
from registry.errors import InvalidInput

Floats = npt.NDArray[np.float32]


def numpy_view(array: mx.array) -> Floats:
    """The array's own memory."""
    mx.eval(array)
    view = np.asarray(array)
    assert view.dtype == np.float32
    return view


class NumpyLinear:
    """A linear layer, its outputs shared among the cores. `weight` is `(out, in)`."""

    def __init__(self, weight: Floats, bias: Floats | None, workers: Workers) -> None:
        self.bias, self.outputs, self._workers = bias, len(weight), workers
        ranges = workers.ranges(self.outputs, weights=weight.size)
        self._parts = [(weight[first:last], first) for first, last in ranges]

    def __call__(self, x: Floats) -> Floats:
        """`(N, in)` -> `(N, out)`; more than one position comes back transposed in memory."""
        alone = len(x) == 1
        columns = x[0] if alone else np.ascontiguousarray(x.T)
        result = np.empty((self.outputs, *columns.shape[1:]), np.float32)

        def compute(part: tuple[Floats, int]) -> None:
            weight, first = part
            np.matmul(weight, columns, out=result[first : first + len(weight)])

        self._workers.run(compute, self._parts)
        product: Floats = result[None] if alone else result.T
        return product if self.bias is None else product + self.bias


class NumpyUnfusedLinear:
    """Linear layers over the same input, outputs side by side, which a checkpoint stores in different ways."""

    def __init__(self, parts: Sequence[Callable[[Floats], Floats]]) -> None:
        self._parts = parts

    def __call__(self, x: Floats) -> Floats:
        return np.concatenate([part(x) for part in self._parts], axis=1)


def linear_for(linear: Any, workers: Workers) -> Callable[[Floats], Floats]:
    """The linear layer `(N, in)` -> `(N, out)`, by the means that its weight needs."""
    if isinstance(linear, UnfusedLinear):
        return NumpyUnfusedLinear([linear_for(part, workers) for part in linear.parts])
    assert isinstance(linear, Linear | Bfloat16Linear | PackedLinear)  # `can_compute` has looked
    bias = None if linear.bias is None else numpy_view(linear.bias)
    if isinstance(linear, Linear):
        return NumpyLinear(numpy_view(linear.weight), bias, workers)
    try:
        from models.qwen3_tts.network_cpu.bf16_linear import NumpyBfloat16Linear, fits  # needs LLVM
        from models.qwen3_tts.network_cpu.packed_linear import NumpyPackedLinear
    except (ImportError, OSError) as error:  # it is installed, and its library cannot be loaded
        hint = 'Install voicejobs\' environment again, or set formulation = "numpy".'
        raise InvalidInput(f"LLVM cannot be used here: {error}.", hint=hint) from None

    if isinstance(linear, PackedLinear):
        return NumpyPackedLinear(linear.weight, bias, workers)
    if fits(linear.weight):
        return NumpyBfloat16Linear(linear.weight, bias, workers)
    return NumpyLinear(as_floats(linear.weight, dtype=BFLOAT16), bias, workers)
