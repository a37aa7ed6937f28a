"""Free memory of the accelerator, and Metal's wired limit around generation.

Loaded in the engine process only, since it imports mlx when called. The paths for Metal and CUDA are untested here.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from typing import Any, Protocol

WORKING_SET_SHARE = 0.8  # of Metal's recommendation; the rest is for the system and other programs


class WiredMemory(Protocol):
    """The part of `mlx.core` that `wired_limit` needs."""

    def set_wired_limit(self, limit: int, /) -> int: ...


@contextlib.contextmanager
def wired_limit(limit_bytes: int, *, device: WiredMemory | None = None) -> Iterator[int]:
    """Keep up to `limit_bytes` resident on Metal inside the block; afterwards, and after exceptions, as before.

    Yields the limit in force. Nothing happens without Metal, or for a limit of 0 or less. `device` replaces
    `mlx.core`.
    """
    device, bounded_bytes = (device, limit_bytes) if device is not None else _metal(limit_bytes)
    if device is None or bounded_bytes <= 0:
        yield 0
        return
    before_bytes = device.set_wired_limit(bounded_bytes)
    try:
        yield bounded_bytes
    finally:
        device.set_wired_limit(before_bytes)


def _metal(limit_bytes: int) -> tuple[WiredMemory | None, int]:
    """`mlx.core` and the limit, bounded by the device's recommended working set; None without Metal."""
    import mlx.core as mx

    if not mx.metal.is_available() or mx.default_device() != mx.Device(mx.gpu):
        return None, 0
    recommended_bytes = int(mx.device_info().get("max_recommended_working_set_size", 0))
    return mx, min(limit_bytes, int(WORKING_SET_SHARE * recommended_bytes))


def free_device_bytes() -> int | None:
    """Free memory of the CUDA device that MLX computes on; None where computing shares the system's memory."""
    import mlx.core as mx

    if mx.default_device() != mx.Device(mx.gpu) or mx.metal.is_available():
        return None
    stated: Any = mx.device_info().get("free_memory")
    return int(stated) if stated is not None else _nvml_free_bytes()


class _NvmlMemory(ctypes.Structure):
    """`nvmlMemory_t`."""

    _fields_ = (("total", ctypes.c_uint64), ("free", ctypes.c_uint64), ("used", ctypes.c_uint64))


def _nvml_free_bytes() -> int | None:
    """Free bytes as NVIDIA's management library counts them; None when it is not installed or does not answer."""
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return None
    if library.nvmlInit_v2() != 0:
        return None
    try:
        handle, memory = ctypes.c_void_p(), _NvmlMemory()
        if library.nvmlDeviceGetHandleByIndex_v2(_visible_index(), ctypes.byref(handle)) != 0:
            return None
        return int(memory.free) if library.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory)) == 0 else None
    finally:
        library.nvmlShutdown()


def _visible_index() -> int:
    """Physical number of the first device that CUDA_VISIBLE_DEVICES leaves visible."""
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
    return int(first) if first.isdigit() else 0
