"""The machine → how to compute on it: dtype, backends of network and codec, rows of a batch."""

from __future__ import annotations

import importlib.util
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

from models.extras import install_command
from models.hardware.blas import OWN, package_version
from registry.errors import InvalidInput

# Rows of a batch that are worth their memory: with these the machine is busy anyway.
CPU, FLOAT32 = "cpu", "float32"
ROWS = {CPU: 16, "metal": 16, "cuda": 64}
QUANTIZED_DTYPES = {"int8": 8, "int4": 4}  # bits of the linears of a plain checkpoint, quantised while it is loaded
CUDA_PACKAGES = ("mlx-cuda-12", "mlx-cuda-13")  # the extra `cuda` brings one of them


def mlx_device() -> str:
    """The device that MLX computes on: metal, cuda or cpu. Imports mlx."""
    import mlx.core as mx

    if mx.default_device() != mx.gpu:
        return CPU
    return "metal" if mx.metal.is_available() else "cuda"


@dataclass(frozen=True, kw_only=True)
class Choices:
    """Choices of how this machine computes, made by rule or by request."""

    device: str
    dtype: str | None  # None: the checkpoint's own
    dequantize: bool  # quantised weights are unpacked
    bits: int | None = None  # that plain linears are quantised to while they are loaded
    backend: str  # of the network: "llvm", "numpy" or "mlx"
    codec: str  # backend of the codec's convolutions, and of the speaker encoder
    blas: str | None  # computes products on a CPU: "numpy" is NumPy's own library; None on a GPU
    batch: int

    def __str__(self) -> str:
        products = {None: "the GPU's own products", "numpy": "NumPy's own BLAS"}.get(self.blas, f"BLAS {self.blas}")
        dtype = self.dtype or "the checkpoint's dtype"
        dtype += f", weights in {self.bits} bits" if self.bits else ""
        return (
            f"{self.device}, {dtype}, network by {self.backend}, convolutions by {self.codec}, {products}, "
            f"{self.batch} lines together"
        )


def choose(
    device: str, *, dtype: str | None = None, backend: str | None = None, batch: int | None = None, blas: str = OWN
) -> Choices:
    """Choices by rule, where None leaves them to it. `device` is what `mlx_device()` says, `blas` the library of MLX.

    A CPU computes in float32, because MLX has no fast kernels for anything else there. NumPy computes it faster than
    MLX, with quantised weights unpacked; with LLVM weights that are stored in bfloat16 or quantised stay so, which is
    faster still. A GPU computes in the checkpoint's own dtype. Raises InvalidInput for requests that do not go
    together. The dtypes int8 and int4 are those of the weights alone.
    """
    on_cpu, bits = device == CPU, QUANTIZED_DTYPES.get(dtype or "")
    dtype = None if bits else dtype
    dtype = dtype or (FLOAT32 if on_cpu else None)
    if backend in ("numpy", "llvm") and not on_cpu:
        raise InvalidInput(f"NumPy cannot compute on {device}.", hint='Set formulation = "auto".')
    if backend in ("numpy", "llvm") and dtype != FLOAT32:
        raise InvalidInput(f"NumPy computes speech in float32 only, not in {dtype}.", hint='Set dtype = "auto".')
    if backend == "llvm" and not has_llvm():
        how = f'Install it: `{install_command("cpu")}`, or set formulation = "auto".'
        raise InvalidInput("LLVM is not installed.", hint=how)
    by_rule = ("llvm" if has_llvm() else "numpy") if on_cpu and dtype == FLOAT32 else "mlx"
    network = backend or by_rule
    return Choices(
        device=device,
        dtype=dtype,
        dequantize=on_cpu and network != "llvm",
        bits=bits,
        backend=network,
        codec="numpy" if on_cpu and backend != "mlx" else "mlx",
        blas=None if not on_cpu else blas if network == "mlx" else "numpy",
        batch=batch or ROWS[device],
    )


def has_llvm() -> bool:
    """Whether LLVM is installed, as llvmlite; it is not imported."""
    return importlib.util.find_spec("llvmlite") is not None


def likely_device() -> str:
    """The device that `mlx_device()` will probably name, without importing mlx."""
    if sys.platform == "darwin":
        return "metal" if platform.machine() == "arm64" else CPU
    has_cuda = any(package_version(package) for package in CUDA_PACKAGES)
    return "cuda" if has_cuda and Path("/dev/nvidiactl").exists() else CPU
