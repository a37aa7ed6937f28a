"""The machine → the BLAS library that MLX multiplies by on a CPU: found, measured, loaded.

`load_blas()` must run before `mlx.core` is imported: MLX's Linux CPU wheel is linked to a reference BLAS, and a faster
library loaded globally before it takes its place for the whole process. Everything works without one, slowly.
This module touches the dynamic loader, and starts processes when it calibrates; importing it does nothing.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.metadata
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from models.extras import install_command
from registry.durable_files import write_durably
from registry.errors import InvalidInput

OWN = "wheel"  # MLX's own: a reference BLAS in the Linux wheel, Accelerate on macOS
OPENBLAS, MKL = "openblas", "mkl"
AUTO = "auto"
OVERRIDE = "VOICEJOBS_BLAS"
OPENBLAS_PLACES = ("usr/lib/*/libopenblas.so.0", "usr/lib64/libopenblas*.so.0", "usr/lib/libopenblas.so.0")
CALIBRATION_FILE = "blas-calibration.json"
CALIBRATION_TIMEOUT_S = 60.0
MEASURED_ROWS = (1, 8, 32)
MEASURED_SHAPE = (3072, 1024)  # a talker's feed-forward layer
MEASURED_FOR_S = 0.2


@dataclass(frozen=True, kw_only=True)
class Blas:
    """A library that can compute MLX's matrix products on a CPU."""

    name: str  # OWN, OPENBLAS, MKL, or "file" for a path that the user gave
    path: str | None = None
    why: str = ""


_loaded: list[Blas] = []  # the one choice of this process


def load_blas(wanted: str = AUTO) -> Blas:
    """Load the BLAS library for MLX, once a process. `wanted`: auto, wheel, openblas, mkl or a file.

    The environment variable VOICEJOBS_BLAS wins over `wanted`. A second call returns what the first one loaded.
    Raises InvalidInput when a library that was asked for by name is not there, or comes too late.
    """
    if not _loaded:
        _loaded.append(_load(os.environ.get(OVERRIDE) or wanted))
    return _loaded[0]


def loaded_blas() -> Blas:
    """The library that MLX multiplies by in this process."""
    return _loaded[0] if _loaded else Blas(name=OWN, why="nothing else was asked for")


def _load(wanted: str) -> Blas:
    if sys.platform != "linux":
        return Blas(name=OWN, why=f"MLX brings a fast library on {platform.system()}")
    if wanted == OWN:
        return Blas(name=OWN, why="asked for")
    late = "mlx.core" in sys.modules
    if wanted == AUTO:
        if late:
            return Blas(name=OWN, why="mlx was imported before a library could be chosen")
        return _load_first(_in_order())
    if late:
        raise InvalidInput(f"BLAS {wanted!r} cannot be loaded: mlx is imported already.")
    found = {each.name: each for each in blas_libraries()}
    choice = found.get(wanted) or Blas(name="file", path=wanted, why="asked for")
    if wanted in (OPENBLAS, MKL) and wanted not in found:
        raise InvalidInput(f"There is no {wanted} on this machine.", hint=how_to_install(wanted))
    return _open(choice)


def _in_order() -> list[Blas]:
    """Libraries, the calibrated choice first; without one OpenBLAS, which is ahead with many rows, as jobs have."""
    calibrated = (read_calibration() or {}).get("choice")
    known = blas_libraries()
    return sorted(known, key=lambda each: (each.name != calibrated, [OPENBLAS, MKL].index(each.name)))


def _load_first(choices: list[Blas]) -> Blas:
    broken = []  # must not keep the engine from speaking, but is named where people look
    for choice in choices:
        try:
            opened = _open(choice)
        except InvalidInput as error:
            broken.append(error.message)
            continue
        return replace(opened, why=" ".join([opened.why, *broken]))
    return Blas(name=OWN, why=" ".join([*broken, "No faster library is installed.", how_to_install(OPENBLAS)]))


def _open(choice: Blas) -> Blas:
    """Load a library globally, so that its `cblas_sgemm` comes before that of the library MLX is linked to."""
    assert choice.path is not None
    try:
        library = ctypes.CDLL(choice.path, mode=ctypes.RTLD_GLOBAL)
    except OSError as error:
        raise InvalidInput(f"The BLAS library {choice.path} cannot be loaded: {error}.") from None
    if not hasattr(library, "cblas_sgemm"):
        raise InvalidInput(f"{choice.path} is not a BLAS library: it has no cblas_sgemm.")
    return choice


def blas_libraries() -> tuple[Blas, ...]:
    """The faster libraries on this machine; none is loaded."""
    if sys.platform != "linux":
        return ()
    found = []
    if path := _openblas_path():
        found.append(Blas(name=OPENBLAS, path=path, why="installed on the system"))
    if path := _mkl_path():
        found.append(Blas(name=MKL, path=path, why="installed as a Python package"))
    return tuple(found)


def _openblas_path() -> str | None:
    if name := ctypes.util.find_library("openblas"):  # asks ldconfig or a compiler, and a machine may have neither
        return name
    usual = (path for pattern in OPENBLAS_PLACES for path in sorted(Path("/").glob(pattern)))
    return next((str(path) for path in usual), None)


def _mkl_path() -> str | None:
    """MKL in the environment's own `lib`, where the package `mkl` puts it."""
    libraries = sorted((Path(sys.prefix) / "lib").glob("libmkl_rt.so.*"))
    return str(libraries[-1]) if libraries else None


def how_to_install(name: str) -> str:
    if name == MKL:
        return f"`{install_command('blas')}` (x86 only, about 1 GB unpacked)."
    return "`apt install libopenblas0` (Debian, Ubuntu), `dnf install openblas` (Fedora)."


def cache_folder() -> Path:
    """The folder of the calibration: VOICEJOBS_CACHE_DIR, or the user's cache folder."""
    if stated := os.environ.get("VOICEJOBS_CACHE_DIR"):
        return Path(stated)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "voicejobs"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "voicejobs"


def calibrate(*, fresh: bool = False) -> dict[str, Any]:
    """Every library's speed, measured in a process of its own (1 s each); kept for the processes that start later.

    While machine and libraries are the same, the kept one is returned. `{"machine", "measured": {name: {rows:
    GFLOP/s}}, "choice"}`; one that could not be kept says why, as `"not_kept"`.
    """
    if not fresh and (kept := read_calibration()):
        return kept
    choices = (Blas(name=OWN), *blas_libraries())
    measured = {choice.name: _measured_apart(choice) for choice in choices}
    usable = {name: rates for name, rates in measured.items() if rates}
    choice = max(usable, key=lambda name: _worth(usable[name]), default=OWN)
    result = {"machine": machine(), "measured": measured, "choice": choice}
    path = cache_folder() / CALIBRATION_FILE
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, json.dumps(result, indent=2).encode())
    except OSError as error:
        return {**result, "not_kept": f"{path} cannot be written: {error.strerror}."}
    return result


def _worth(rates: Mapping[str, float]) -> float:
    """One number for a library: the harmonic mean over row counts, as if each had the same amount of work."""
    return len(rates) / sum(1 / rate for rate in rates.values())


def read_calibration() -> dict[str, Any] | None:
    """The kept calibration, if it was made on this machine with these libraries."""
    try:
        kept = json.loads((cache_folder() / CALIBRATION_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None  # none yet, or broken: it is only a cache
    return kept if isinstance(kept, dict) and kept.get("machine") == machine() else None


def machine() -> dict[str, Any]:
    """The facts that a calibration depends on."""
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "mlx": package_version("mlx"),
        "libraries": [[each.name, each.path] for each in blas_libraries()],
    }


def package_version(package: str) -> str | None:
    """The version of an installed package, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _measured_apart(choice: Blas) -> dict[str, float]:
    """GFLOP/s by rows in a fresh process, where nothing has been loaded yet; empty when it fails."""
    environment = {**os.environ, OVERRIDE: choice.path or choice.name}
    command = [sys.executable, "-m", "models.hardware.blas"]
    root = Path(__file__).parents[2]
    try:
        finished = subprocess.run(
            command, env=environment, cwd=root, capture_output=True, timeout=CALIBRATION_TIMEOUT_S, check=True
        )
        rates: dict[str, float] = json.loads(finished.stdout)
    except (subprocess.SubprocessError, OSError, ValueError):
        return {}
    return rates


def measure_mlx() -> dict[str, float]:
    """GFLOP/s of MLX's matrix products in this process, by number of rows."""
    import mlx.core as mx  # not at the top: the library must be chosen first

    mx.set_default_device(mx.cpu)
    weight = mx.random.normal(MEASURED_SHAPE)

    def product_of(rows: int) -> Callable[[], object]:
        value = mx.random.normal((rows, MEASURED_SHAPE[1]))
        mx.eval(weight, value)
        return lambda: mx.eval(value @ weight.T)

    return _measured(product_of)


def measure_numpy() -> dict[str, float]:
    """The same products by NumPy, weight on the left as our CPU network has it."""
    outputs, inputs = MEASURED_SHAPE
    weight = np.ones((outputs, inputs), np.float32)

    def product_of(rows: int) -> Callable[[], object]:
        value = np.ones(inputs if rows == 1 else (inputs, rows), np.float32)
        return lambda: weight @ value

    return _measured(product_of)


def _measured(product_of: Callable[[int], Callable[[], object]]) -> dict[str, float]:
    """GFLOP/s by number of rows; `product_of(rows)` gives the product that is timed."""
    operations = 2 * math.prod(MEASURED_SHAPE)
    return {str(rows): round(rows * operations / _best_s(product_of(rows)) / 1e9, 2) for rows in MEASURED_ROWS}


def _best_s(run: Callable[[], object]) -> float:
    """The shortest of the runs that fit `MEASURED_FOR_S`: the machine's speed when nothing disturbs it."""
    run()
    best_s = float("inf")
    end_s = time.perf_counter() + MEASURED_FOR_S
    while best_s == float("inf") or time.perf_counter() < end_s:
        start_s = time.perf_counter()
        run()
        best_s = min(best_s, time.perf_counter() - start_s)
    return best_s


def likely_blas(wanted: str = AUTO) -> str:
    """Name of the library that `load_blas` will probably load."""
    wanted = os.environ.get(OVERRIDE) or wanted
    if wanted != AUTO:
        return wanted
    return next((each.name for each in _in_order()), OWN)


if __name__ == "__main__":  # the process of one measurement
    load_blas()
    print(json.dumps(measure_mlx()))
