"""Operations of the codec and the speaker encoder, by two backends: MLX (GPU) and NumPy (CPU).

The layers are written once, over `Ops`. Arrays between them are of the backend's own kind; weights are MLX arrays
with either, whose memory NumPy reads in place.

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

from models.qwen3_tts.codec.ops_mlx import MlxOps
from models.qwen3_tts.codec.ops_numpy import NumpyOps
from registry.errors import InvalidInput

Array = Any  # mx.array or np.ndarray, by backend


class Ops(Protocol):
    """One backend, in float32. Signals are `(B, S, C)`: rows, positions, channels."""

    name: str
    frames_at_once: int  # codec frames of all rows together that one pass through the decoder computes

    def from_numpy(self, value: npt.NDArray[Any]) -> Array: ...

    def to_numpy(self, value: Array) -> npt.NDArray[Any]: ...

    def zeros(self, *shape: int) -> Array: ...

    def concat(self, parts: Sequence[Array], *, axis: int = 1) -> Array: ...

    def tail(self, value: Array, positions: int, *, axis: int = 1) -> Array:
        """A copy of the last `positions` of an axis; the rest of `value` can be freed."""
        ...

    def eval(self, values: Sequence[Array]) -> None:
        """Compute lazy arrays."""
        ...

    def embed_codes(self, table: mx.array, codes: npt.NDArray[np.int32]) -> Array:
        """The sum of one codeword of each codebook: table `(Q, K, C)`, codes `(B, T, Q)` -> `(B, T, C)`."""
        ...

    def linear(self, value: Array, weight: mx.array, bias: mx.array | None = None) -> Array:
        """`(…, C)` with a weight `(O, C)` -> `(…, O)`."""
        ...

    def conv1d(
        self, value: Array, weight: mx.array, bias: mx.array | None = None, *, stride: int = 1, dilation: int = 1
    ) -> Array:
        """Valid convolution: `(B, S, C)` with a weight `(O, K, C)` -> `(B, S', O)`."""
        ...

    def depthwise_conv1d(self, value: Array, weight: mx.array, bias: mx.array | None = None) -> Array:
        """Valid convolution of every channel by itself: weight `(C, K, 1)`."""
        ...

    def rms_norm(self, value: Array, weight: mx.array, *, epsilon: float) -> Array: ...

    def layer_norm(self, value: Array, weight: mx.array, bias: mx.array, *, epsilon: float) -> Array: ...

    def multiply(self, value: Array, factor: mx.array) -> Array:
        """Each channel times its factor `(C,)`."""
        ...

    def snake(self, value: Array, frequency: mx.array, strength: mx.array) -> Array:
        """`value + strength * sin(frequency * value)**2`; frequency and strength `(C,)`."""
        ...

    def elu(self, value: Array) -> Array: ...

    def gelu(self, value: Array) -> Array:
        """GELU by erf, not by tanh."""
        ...

    def silu(self, value: Array) -> Array: ...

    def relu(self, value: Array) -> Array: ...

    def sigmoid(self, value: Array) -> Array: ...

    def tanh(self, value: Array) -> Array: ...

    def sqrt(self, value: Array, *, at_least: float) -> Array:
        """Square root; smaller values count as `at_least`."""
        ...

    def softmax_over_positions(self, value: Array) -> Array: ...

    def clip(self, value: Array) -> Array:
        """Values limited to -1 … 1."""
        ...

    def apply_rotary(self, value: Array, *, base: float, offset: int) -> Array:
        """Rotary embedding of positions from `offset` on, the two halves of a head as pairs: `(B, H, T, E)`."""
        ...

    def attend(self, queries: Array, keys: Array, values: Array, mask: npt.NDArray[np.bool_]) -> Array:
        """Attention of queries `(B, H, T, E)` to `(B, G, L, E)`, G dividing H; mask `(B or 1, 1, T, L)`."""
        ...


def ops_named(name: str) -> Ops:
    """The operations by `mlx` or `numpy`. Raises InvalidInput for another name."""
    if name == "numpy":
        return NumpyOps()
    if name == "mlx":
        return MlxOps(fused=mx.default_device() == mx.gpu)
    raise InvalidInput(f"There is no backend {name!r} of the codec; known are mlx and numpy.")


def default_ops() -> Ops:
    """MLX's own operations on a GPU, NumPy's on a CPU."""
    return ops_named("mlx" if mx.default_device() == mx.gpu else "numpy")
