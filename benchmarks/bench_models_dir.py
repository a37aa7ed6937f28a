"""How long the model directory takes: listing 200 models, judging one of 4 GB, hashing, adopting, importing.

    python benchmarks/bench_models_dir.py [--folder DIR] [--models 200] [--gigabytes 4]

Prints a table for people and one JSON line for scripts. Folders are made in DIR (default: a temporary one) with
headers as long as those of the published models, and removed again.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from models.checkpoint_format.codec_config import speaker_encoder_config  # noqa: E402 - after the path is set
from models.checkpoint_format.config import model_config  # noqa: E402
from models.checkpoint_format.tensor_plan import Plan, model_plan  # noqa: E402
from models.migrate.migration import plan_migration, run_plan  # noqa: E402
from models.store.availability import Available, availability  # noqa: E402
from models.store.installed import list_models  # noqa: E402
from models.store.manifest import make_manifest, write_manifest  # noqa: E402

LAYERS = 28  # as many as the published files describe
SOURCE = ROOT / "tests" / "data" / "reference" / "base"
CHUNK_BYTES = 1 << 24


def write_weights(path: Path, plan: Plan) -> None:
    """A safetensors file with the tensors of a plan, and any numbers that are really on the disk."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, tensor in plan.items():
        start, end = end, end + 4 * math.prod(tensor.shape)
        header[name] = {"dtype": "F32", "shape": tensor.shape, "data_offsets": [start, end]}
    encoded = json.dumps(header, separators=(",", ":")).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(encoded)) + encoded)
        block, left = os.urandom(min(CHUNK_BYTES, end)), end
        while left:
            left -= file.write(block[:left])


def write_model(folder: Path, *, data_bytes: int = 0) -> Path:
    """A whole Qwen3-TTS model of as many layers as a published one; of so many bytes, or of some 3 MB."""
    shutil.copytree(SOURCE, folder)
    raw = json.loads((SOURCE / "config.json").read_text("utf-8"))
    talker = raw["talker_config"]
    widest = data_bytes // (LAYERS * 3 * talker["hidden_size"] * 4)
    talker |= {"num_hidden_layers": LAYERS, "intermediate_size": max(talker["intermediate_size"], widest)}
    (folder / "config.json").write_text(json.dumps(raw), "utf-8")
    plan = model_plan(model_config(raw), speaker_encoder_config(raw["speaker_encoder_config"]))
    write_weights(folder / "model.safetensors", plan)
    return folder


def median_s(run: Callable[[], Any], *, rounds: int = 5) -> float:
    run()
    return statistics.median(_timed_s(run) for _ in range(rounds))


def _timed_s(run: Callable[[], Any]) -> float:
    start_s = time.perf_counter()
    run()
    return time.perf_counter() - start_s


def python_s(*arguments: str, environ: dict[str, str]) -> float:
    """Wall time of a Python process of our own, median of several."""

    def run() -> None:
        subprocess.run([sys.executable, *arguments], cwd=ROOT, env=environ, check=True, stdout=subprocess.DEVNULL)

    return median_s(run, rounds=7)


def _first_listing_s(cache: Path, command: str, *, environ: dict[str, str]) -> float:
    cache.unlink(missing_ok=True)
    arguments = [sys.executable, "-c", command]
    return _timed_s(lambda: subprocess.run(arguments, cwd=ROOT, env=environ, check=True, stdout=subprocess.DEVNULL))


def measure_listing(folder: Path, *, models: int) -> dict[str, float]:
    directory = folder / "SharedModels"
    for index in range(models):
        write_model(directory / f"org_Qwen3-TTS-{index:03}")
    environ = {**os.environ, "VOICEJOBS_MODELS_DIR": str(directory), "PYTHONPATH": str(ROOT)}
    bare_s = python_s("-c", "pass", environ=environ)
    command = "from runner.cli.commands.models import models; models(['list'])"
    cache = directory / ".voicejobs-checks.json"
    first_s = statistics.median(_first_listing_s(cache, command, environ=environ) for _ in range(5))
    whole_s = python_s("-c", command, environ=environ)
    listed_s = median_s(lambda: list_models(directory))
    for path in directory.glob("org_*"):
        write_manifest(path, make_manifest(path, model_id=path.name.replace("_", "/", 1)))
    return {
        "list_in_process_s": listed_s,
        "list_with_manifests_s": median_s(lambda: list_models(directory)),
        "interpreter_s": bare_s,
        "first_list_command_beyond_interpreter_s": first_s - bare_s,
        "list_command_beyond_interpreter_s": whole_s - bare_s,
    }


def measure_large_model(folder: Path, *, gigabytes: float) -> dict[str, float]:
    home = folder / "home"
    legacy = home / "Documents/huggingface/models/org/Large"
    write_model(legacy, data_bytes=int(gigabytes * 1e9))
    found_s = median_s(lambda: availability(legacy), rounds=21)
    assert isinstance(availability(legacy), Available)
    plan = plan_migration(folder / "Adopted", environ={"HOME": str(home)})
    adopt_s = _timed_s(lambda: run_plan(plan))
    hash_s = _timed_s(lambda: make_manifest(folder / "Adopted/org_Large", model_id="org/Large"))
    return {"availability_s": found_s, "adopt_s": adopt_s, "hash_s": hash_s, "hash_gigabytes_per_s": gigabytes / hash_s}


GOALS = {"list_command_beyond_interpreter_s": 0.3, "availability_s": 0.02}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where to make the folders; default: a temporary one")
    parser.add_argument("--models", type=int, default=200)
    parser.add_argument("--gigabytes", type=float, default=4.0)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-models-", dir=arguments.folder))
    try:
        results = measure_listing(folder, models=arguments.models)
        results |= measure_large_model(folder, gigabytes=arguments.gigabytes)
    finally:
        shutil.rmtree(folder)
    for name, value in results.items():
        goal = f"   (goal: under {GOALS[name]})" if name in GOALS else ""
        print(f"{name:36} {value:10.4f}{goal}")
    facts = {"machine": platform.machine(), "system": platform.platform(), "python": platform.python_version()}
    print(json.dumps({"benchmark": "models_dir", **facts, "models": arguments.models, **results}))


if __name__ == "__main__":
    main()
