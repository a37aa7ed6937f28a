"""Memory before a model is loaded: bytes it needs against bytes that are free → a verdict.

This module reads the system's counters. It asks no accelerator; that happens in the engine process, which passes
its own figure as `free_bytes`.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from models.errors import NotEnoughMemory
from models.store.availability import weight_files
from models.store.catalog import MEMORY_FACTOR

GIGABYTE = 1_000_000_000


@dataclass(frozen=True, kw_only=True)
class MemoryVerdict:
    """Memory that a model needs against memory that is free now."""

    weights_bytes: int
    needed_bytes: int
    free_bytes: int
    source: str  # of the figure: "mach", "meminfo", "cgroup", "device"

    @property
    def fits(self) -> bool:
        return self.needed_bytes <= self.free_bytes

    @property
    def warning(self) -> str | None:
        """One sentence for the receipt; None when there is room."""
        if self.fits:
            return None
        return (
            f"The model wants {self.needed_bytes / GIGABYTE:.1f} GB of memory "
            f"and {self.free_bytes / GIGABYTE:.1f} GB are free ({self.source})."
        )


def memory_verdict(
    folder: Path,
    *,
    factor: float = MEMORY_FACTOR,
    policy: str = "warn",
    free_bytes: int | None = None,
    source: str | None = None,
) -> MemoryVerdict:
    """Compare the real size of the weights in `folder`, times `factor`, with free memory.

    `free_bytes` replaces the system's own figure, for memory of a device. Raises NotEnoughMemory when the model
    does not fit and `policy` is "refuse"; with "warn" the verdict carries the warning.
    """
    weights_bytes = bytes_of_weights(folder)
    if free_bytes is None:
        free_bytes, source = available_bytes()
    verdict = MemoryVerdict(
        weights_bytes=weights_bytes,
        needed_bytes=round(weights_bytes * factor),
        free_bytes=free_bytes,
        source=source or "device",
    )
    if policy == "refuse" and verdict.warning:
        hint = 'Choose a smaller or quantised model, close other programs, or set memory_check = "warn".'
        raise NotEnoughMemory(verdict.warning, hint=hint)
    return verdict


def bytes_of_weights(folder: Path) -> int:
    """Size of the weight files that loading a model reads."""
    return sum(path.stat().st_size for path in weight_files(folder))


def available_bytes() -> tuple[int, str]:
    """Memory that can be used now without swapping, and the source of the figure."""
    if sys.platform == "darwin":
        return _mach_available_bytes(), "mach"
    return linux_available_bytes()


def total_bytes() -> int:
    """The machine's memory, or this process's share of it where a control group limits that."""
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limits = [] if sys.platform == "darwin" else [limit for limit, _ in _cgroup_limits(Path("/"))]
    return min([physical, *limits])


def linux_available_bytes(root: Path = Path("/")) -> tuple[int, str]:
    """MemAvailable, or what the tightest control group above this process still allows, if that is less.

    `root` stands for `/` in tests. Page cache that the kernel can drop counts as free in both.
    """
    free_bytes = _meminfo_bytes(root / "proc/meminfo", "MemAvailable")
    source = "meminfo"
    for limit_bytes, used_bytes in _cgroup_limits(root):
        left_bytes = max(0, limit_bytes - used_bytes)
        if left_bytes < free_bytes:
            free_bytes, source = left_bytes, "cgroup"
    return free_bytes, source


def _meminfo_bytes(path: Path, key: str) -> int:
    for line in path.read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return int(value.split()[0]) * 1024
    raise OSError(f"{path} has no {key}")


def _cgroup_limits(root: Path) -> Iterator[tuple[int, int]]:
    """(limit, bytes in use that cannot be dropped) of each control group that holds this process."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return  # no control groups on this system
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            base, names = root / "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            base = root / "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        group = base / path.lstrip("/")
        for folder in (group, *group.parents):
            yield from _limit_of(folder, *names)
            if folder == base:
                break


def _limit_of(folder: Path, limit_name: str, used_name: str, droppable_name: str) -> Iterator[tuple[int, int]]:
    limit_bytes, used_bytes = _number_in(folder / limit_name), _number_in(folder / used_name)
    if limit_bytes is None or used_bytes is None or limit_bytes >= 1 << 62:
        return  # "max", or the older interface's way to say so
    yield limit_bytes, max(0, used_bytes - _stat_value(folder / "memory.stat", droppable_name))


def _number_in(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None  # absent at the root of the tree, or "max"


def _stat_value(path: Path, key: str) -> int:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{key} ")), 0)


class _VMStatistics64(ctypes.Structure):
    """`vm_statistics64` of <mach/vm_statistics.h>, up to the counters that we use and those in between."""

    _fields_ = (
        ("free_count", ctypes.c_uint32),
        ("active_count", ctypes.c_uint32),
        ("inactive_count", ctypes.c_uint32),
        ("wire_count", ctypes.c_uint32),
        ("zero_fill_count", ctypes.c_uint64),
        ("reactivations", ctypes.c_uint64),
        ("pageins", ctypes.c_uint64),
        ("pageouts", ctypes.c_uint64),
        ("faults", ctypes.c_uint64),
        ("cow_faults", ctypes.c_uint64),
        ("lookups", ctypes.c_uint64),
        ("hits", ctypes.c_uint64),
        ("purges", ctypes.c_uint64),
        ("purgeable_count", ctypes.c_uint32),
        ("speculative_count", ctypes.c_uint32),
        ("rest", ctypes.c_uint64 * 16),  # room for the counters after those, whatever the system's version adds
    )


HOST_VM_INFO64 = 4
_COUNTERS_IN_INTS = 38  # HOST_VM_INFO64_COUNT of revision 1, which every supported system accepts


def _mach_available_bytes() -> int:
    """Free, inactive, purgeable and speculative pages; the kernel counts speculative pages as free as well."""
    libc = ctypes.CDLL("/usr/lib/libSystem.B.dylib")
    libc.mach_host_self.restype = ctypes.c_uint32
    statistics = _VMStatistics64()
    count = ctypes.c_uint32(_COUNTERS_IN_INTS)
    libc.host_statistics64.argtypes = (ctypes.c_uint32, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    status = libc.host_statistics64(
        libc.mach_host_self(), HOST_VM_INFO64, ctypes.byref(statistics), ctypes.byref(count)
    )
    if status != 0:
        raise OSError(f"host_statistics64 failed with status {status}")
    pages = _usable_pages(statistics)
    return pages * os.sysconf("SC_PAGE_SIZE")


def _usable_pages(statistics: _VMStatistics64) -> int:
    return int(
        statistics.free_count + statistics.inactive_count + statistics.purgeable_count + statistics.speculative_count
    )
