"""`python -m models.processes.selftest`: this machine → reports of the self-test, in a process a faulty driver may end.

Without flags: float32, by every backend that this device has; run it with MLX_ENABLE_TF32=0 to test the
arithmetic itself. With `--production`: as the engine would compute. Prints one JSON object: `{"choices", "reports"}`.
"""

from __future__ import annotations

import argparse
import dataclasses
import faulthandler
import json
import sys
from typing import Any

from models.hardware import compute
from models.hardware.blas import AUTO, load_blas, loaded_blas
from registry.errors import VoiceJobsError

HUNG_S = 90.0  # it takes a few seconds
GPU_DTYPE = "bfloat16"  # of the published checkpoints, in which a GPU computes by rule


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--production", action="store_true")
    parser.add_argument("--dtype")
    parser.add_argument("--formulation")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--blas", default=AUTO)
    arguments = parser.parse_args()
    faulthandler.dump_traceback_later(HUNG_S, exit=True)  # tells a device that hangs from one that is slow
    try:
        load_blas(arguments.blas)  # before the self-test imports mlx
        answer = examine(
            production=arguments.production,
            dtype=arguments.dtype,
            backend=arguments.formulation,
            batch=arguments.batch,
        )
    except VoiceJobsError as error:
        sys.stderr.write(f"{error.message} {error.hint}\n")
        return 2
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0 if all(report["passed"] for report in answer["reports"]) else 1


def examine(*, production: bool, dtype: str | None, backend: str | None, batch: int | None) -> dict[str, Any]:
    """Choices for this machine, and a report for each run. Imports mlx."""
    from models.qwen3_tts.selftest import run_selftest

    device, blas = compute.mlx_device(), loaded_blas().name
    if production:
        choices = compute.choose(device, dtype=dtype, backend=backend, batch=batch, blas=blas)
        dtype = choices.dtype or GPU_DTYPE
        reports = [run_selftest(dtype=dtype, backend=choices.backend, codec=choices.codec)]
    else:
        choices = compute.choose(device, blas=blas)
        by_llvm = ("llvm",) if compute.has_llvm() else ()
        backends = (*by_llvm, "numpy", "mlx") if device == compute.CPU else ("mlx",)
        codecs = {each: compute.choose(device, dtype=compute.FLOAT32, backend=each).codec for each in backends}
        reports = [run_selftest(backend=each, codec=codec) for each, codec in codecs.items()]
    return {"choices": dataclasses.asdict(choices), "reports": [dataclasses.asdict(report) for report in reports]}


if __name__ == "__main__":
    sys.exit(main())
