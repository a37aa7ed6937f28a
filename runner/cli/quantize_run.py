"""A model's name and a number of bits → a smaller model beside it, written by a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from models.errors import ModelNotInstalled, UnsupportedCheckpoint
from models.migrate.move_folder import check_space
from models.store.availability import Available, availability, folder_bytes
from models.store.installed import InstalledModel, describe, resolve_model
from models.store.manifest import make_manifest, write_manifest, write_provenance
from models.store.safetensors_check import VerdictCache
from models.store.shared_directory import INCOMING_FOLDER, lock_of, slug_of
from registry.durable_files import rename_durably
from registry.errors import Busy, Conflict, InvalidInput
from runner.errors import WorkFailed

PACKAGE_ROOT = Path(__file__).resolve().parents[2]
ENGINE_MODULE = "models.processes.quantize"
ERRORS = {error.code: error for error in (UnsupportedCheckpoint, InvalidInput, Conflict, Busy)}
PLAIN_SUFFIXES = ("-bf16", "-fp16", "-fp32")
OWN_ORGANISATION = "local"


def quantized_id(model_id: str, *, bits: int) -> str:
    """Id of a model with fewer bits: `org/Name-bf16` → `org/Name-8bit`; of a folder, `local/<name>-8bit`."""
    if Path(model_id).is_absolute() or model_id.count("/") != 1:
        model_id = f"{OWN_ORGANISATION}/{Path(model_id).name.replace('_', '-')}"
    for suffix in PLAIN_SUFFIXES:
        model_id = model_id.removesuffix(suffix)
    return f"{model_id}-{bits}bit"


def quantize_model(source: str, *, bits: int, target: str | None, directory: Path) -> InstalledModel:
    """Write `source` with `bits` bits per weight into the directory, as a separate model that appears whole.

    Raises ModelNotInstalled, Conflict when the target exists, or WorkFailed with the engine's own words.
    """
    choice = resolve_model(source, directory=directory)
    if choice.folder is None or not isinstance(availability(choice.folder), Available):
        hint = f"`voicejobs models pull {choice.id}` fetches it."
        raise ModelNotInstalled(f"{choice.id} is not usable in {directory}.", hint=hint)
    new_id = target or quantized_id(choice.id, bits=bits)
    folder = directory / slug_of(new_id)
    with lock_of(folder):
        if os.path.lexists(folder):
            raise Conflict(f"{folder} exists already.", hint="Remove it first, or name another with --to.")
        staging = directory / INCOMING_FOLDER / f"{folder.name}.quantize"
        shutil.rmtree(staging, ignore_errors=True)
        staging.parent.mkdir(parents=True, exist_ok=True)
        check_space(staging.parent, folder_bytes(choice.folder))
        try:
            _run_engine(choice.folder, staging, bits=bits)
            _check(staging, new_id)
            write_provenance(staging, repository=new_id, revision=None, source=f"quantized from {choice.id}")
            write_manifest(staging, make_manifest(staging, model_id=new_id))
            rename_durably(staging, folder)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return describe(folder, model_id=new_id, cache=VerdictCache(directory))


def _run_engine(source: Path, target: Path, *, bits: int) -> None:
    command = [sys.executable, "-m", ENGINE_MODULE, str(source.absolute()), str(target.absolute())]
    finished = subprocess.run(
        [*command, "--bits", str(bits)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        cwd=PACKAGE_ROOT,  # not the instance: a folder `models` there would shadow our package
        text=True,
        check=False,
    )
    if finished.returncode == 0:
        return
    try:
        error = json.loads(finished.stdout)["error"]
    except (ValueError, KeyError):
        raise WorkFailed(f"Quantising {source} ended with status {finished.returncode}.") from None
    raise ERRORS.get(error["code"], WorkFailed)(error["message"], hint=error["hint"])


def _check(folder: Path, model_id: str) -> None:
    state = availability(folder)
    if not isinstance(state, Available):
        raise UnsupportedCheckpoint(f"The model written for {model_id} is incomplete: {state}.")
