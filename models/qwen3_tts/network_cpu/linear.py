"""Linear layers of the network for CPUs: how NumPy multiplies by a weight, its outputs shared among the cores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from models.qwen3_tts.checkpoint.tensor_file import BFLOAT16, as_floats
from models.qwen3_tts.checkpoint.weight_reader import Linear, StoredLinear
from models.qwen3_tts.worker_threads import Workers
from registry.errors import InvalidInput

Floats = npt.NDArray[np.float32]


def seen(array: mx.array) -> Floats:
    """The array's own memory."""
    mx.eval(array)
    view = np.asarray(array)
    assert view.dtype == np.float32
    return view


class Product:
    """A linear layer, its outputs shared among the cores."""

    def __init__(self, linear: Linear, workers: Workers) -> None:
        weight = seen(linear.weight)  # (out, in)
        self.bias = None if linear.bias is None else seen(linear.bias)
        self.outputs, self._workers = len(weight), workers
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


def product_of(linear: Any, workers: Workers) -> Callable[[Floats], Floats]:
    """The linear layer `(N, in)` -> `(N, out)`, by the means that its weight asks for."""
    assert isinstance(linear, Linear | StoredLinear)  # `can_compute` has looked
    if isinstance(linear, StoredLinear):
        weight = linear.weight
    elif linear.weight.dtype == mx.bfloat16:
        weight = np.array(linear.weight.view(mx.uint16))
    else:
        return Product(linear, workers)
    try:
        from models.qwen3_tts.network_cpu.bf16_linear import StoredProduct, fits  # needs LLVM
    except (ImportError, OSError) as error:  # it is installed, and its library cannot be loaded
        hint = 'Install voicejobs\' environment anew, or set formulation = "numpy".'
        raise InvalidInput(f"LLVM cannot be used here: {error}.", hint=hint) from None

    if fits(weight):
        return StoredProduct(weight, None if linear.bias is None else seen(linear.bias), workers)
    return Product(Linear.of(mx.array(as_floats(weight, dtype=BFLOAT16)), linear.bias), workers)
