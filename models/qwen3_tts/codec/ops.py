"""The operations of the codec and the speaker encoder, in two formulations: MLX (GPU) and NumPy (CPU).

The layers are written once over a `Kernels`. Arrays between them are of the formulation's own kind; weights are MLX
arrays in either case, whose memory NumPy reads in place.

Why two: on the CPU, MLX computes sin, exp and erf one element at a time (30 to 60 ns each, where NumPy's vector
code needs 1 to 3), and runs dilated convolutions at 1 GFLOP/s, where NumPy's own OpenBLAS reaches about 100 on the
same two cores. On a GPU the plain MLX operations are the fast ones, and nothing may wait for the host.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from models.qwen3_tts.codec.ops_mlx import MlxKernels
from models.qwen3_tts.codec.ops_numpy import NumpyKernels
from registry.errors import InvalidInput

Array = Any  # mx.array or np.ndarray, as the formulation has it


class Kernels(Protocol):
    """One formulation. Signals are `(B, S, C)`: rows, positions, channels."""

    name: str
    frames_at_once: int  # codec frames of all rows together that one pass through the decoder should compute

    def array(self, value: npt.NDArray[Any], dtype: mx.Dtype) -> Array:
        """From the host. `dtype` is that of the weights; NumPy computes in float32 whatever it is."""
        ...

    def host(self, value: Array) -> npt.NDArray[Any]:
        """To the host, floats as float32."""
        ...

    def zeros(self, shape: tuple[int, ...], *, like: Array) -> Array: ...

    def join(self, parts: Sequence[Array], *, axis: int = 1) -> Array: ...

    def last(self, value: Array, positions: int, *, axis: int = 1) -> Array:
        """A copy of the last `positions` of an axis, which keeps nothing else of `value` in memory."""
        ...

    def evaluate(self, values: Sequence[Array]) -> None:
        """Compute what is lazy."""
        ...

    def words(self, table: mx.array, codes: npt.NDArray[np.int32]) -> Array:
        """The sum of one codeword of each codebook: table `(Q, K, C)`, codes `(B, T, Q)` -> `(B, T, C)`."""
        ...

    def linear(self, value: Array, weight: mx.array, bias: mx.array | None = None) -> Array:
        """Weight `(O, C)`."""
        ...

    def convolve(
        self, value: Array, weight: mx.array, bias: mx.array | None = None, *, stride: int = 1, dilation: int = 1
    ) -> Array:
        """Valid convolution: `(B, S, C)` with a weight `(O, K, C)` -> `(B, S', O)`."""
        ...

    def convolve_each(self, value: Array, weight: mx.array, bias: mx.array | None = None) -> Array:
        """Valid convolution of every channel by itself: weight `(C, K, 1)`."""
        ...

    def rms_norm(self, value: Array, weight: mx.array, *, epsilon: float) -> Array: ...

    def layer_norm(self, value: Array, weight: mx.array, bias: mx.array, *, epsilon: float) -> Array: ...

    def multiply(self, value: Array, factor: mx.array) -> Array:
        """Channel by channel; factor `(C,)`."""
        ...

    def snake(self, value: Array, frequency: mx.array, strength: mx.array) -> Array:
        """`value + strength * sin(frequency * value)**2`; frequency and strength `(C,)`."""
        ...

    def elu(self, value: Array) -> Array: ...

    def gelu(self, value: Array) -> Array:
        """The exact one, by erf."""
        ...

    def silu(self, value: Array) -> Array: ...

    def relu(self, value: Array) -> Array: ...

    def sigmoid(self, value: Array) -> Array: ...

    def tanh(self, value: Array) -> Array: ...

    def root(self, value: Array, *, at_least: float) -> Array:
        """The square root of what is at least this."""
        ...

    def softmax_over_positions(self, value: Array) -> Array: ...

    def clip(self, value: Array) -> Array:
        """Limited to -1 … 1."""
        ...

    def rotate(self, value: Array, *, base: float, offset: int) -> Array:
        """Rotary positions from `offset` on, halves as pairs: `(B, H, T, E)`."""
        ...

    def attend(self, queries: Array, keys: Array, values: Array, mask: npt.NDArray[np.bool_]) -> Array:
        """Scaled attention: `(B, H, T, E)` to `(B, G, L, E)`, G dividing H; mask `(B or 1, 1, T, L)`, true = seen."""
        ...


def kernels_named(name: str) -> Kernels:
    """The formulation `mlx` or `numpy`. Raises InvalidInput for another name."""
    if name == "numpy":
        return NumpyKernels()
    if name == "mlx":
        return MlxKernels(fused=mx.default_device() == mx.gpu)
    raise InvalidInput(f"There is no formulation {name!r} of the codec; known are mlx and numpy.")


def default_kernels() -> Kernels:
    """MLX's own operations on a GPU, NumPy's on a CPU."""
    return kernels_named("mlx" if mx.default_device() == mx.gpu else "numpy")
