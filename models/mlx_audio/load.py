"""A folder of the shared directory → a speech model of mlx-audio: offline, from safetensors, without code of its own.

The environment of the process is set before anything of mlx-audio is imported: hub functions answer from the hub
cache alone (`models.store.companions`), and no pickle that names code is read, and no sound library opened.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import os
import pickle
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.checkpoint_format.files import read_json
from models.errors import ModelIncomplete, UnsupportedCheckpoint, UnsupportedRequest
from models.extras import command_for, install_command
from models.store.companions import presets_in
from models.store.families import Family, companions_of, family_of
from models.store.foreign_checkpoint import loading_problems
from models.store.hub_cache import hub_folder

PACKAGE, MODULE, EXTRA = "mlx-audio", "mlx_audio", "mlx-audio"
SAMPLE_BYTES = 1 << 16


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """One model, and what its own code says of it."""

    network: Any
    family: Family
    folder: Path
    presets: tuple[str, ...]
    arguments: frozenset[str]  # that its `generate` names
    native_hz: int
    fingerprint: str
    package_version: str


def load_model(folder: Path, *, name: str, cache: Path | None) -> LoadedModel:
    """The model in a folder. Raises UnsupportedCheckpoint, ModelIncomplete or UnsupportedRequest, naming the cause."""
    config = read_json(folder / "config.json")
    known = family_of(config, name) or family_of(config, folder.name)
    refuse_unsafe(folder)
    companions = list(_companion_folders(known, config, name=name, cache=cache)) if known else []
    for package in known.packages if known else ():
        if importlib.util.find_spec(package.module) is None:
            raise UnsupportedRequest(
                f"{name} needs the package {package.module}, which is not installed.",
                hint=f"Install it: `{command_for([package.requirement])}`.",
            )
    prepare_process(cache)
    network = loaded_by("tts", folder, name=name, **({"model_type": known.name} if known else {}))
    parameters = inspect.signature(network.generate).parameters
    family = known or _family_seen(network, parameters)
    return LoadedModel(
        network=network,
        family=family,
        folder=folder,
        presets=presets_in(folder, family, found=lambda wanted: hub_folder(cache, wanted) if cache else None),
        arguments=frozenset(parameters),
        native_hz=int(network.sample_rate),
        fingerprint=fingerprint_of([folder, *companions]),
        package_version=importlib.metadata.version(PACKAGE),
    )


def _family_seen(network: Any, parameters: Mapping[str, inspect.Parameter]) -> Family:
    """A family that the table lacks, as the code of its network shows it."""
    recording = parameters.get("ref_audio")
    voices = getattr(network, "voices", None)
    abilities = [] if recording is None else ["clone"]
    if recording is None or recording.default is not inspect.Parameter.empty:
        abilities.append("presets")
    return Family(
        name=type(network).__module__.split(".")[3],
        abilities=tuple(abilities),
        presets=tuple(sorted(map(str, voices))) if isinstance(voices, dict) else (),
    )


def loaded_by(part: str, folder: Path, *, name: str, **told: str) -> Any:
    """The network in a folder, by mlx-audio's part for it: `tts` or `stt`. Raises as `load_model` does."""
    try:
        loader = importlib.import_module(f"{MODULE}.{part}.utils")
    except ImportError as error:
        raise not_installed() from error
    try:
        return loader.load(folder, strict=True, **told)
    except ImportError as error:
        raise UnsupportedRequest(
            f"{name} needs the package {error.name}, which is not installed.",
            hint=f"Install it: `{command_for([str(error.name)])}`.",
        ) from error
    except (ValueError, TypeError, LookupError, AttributeError, OSError, pickle.UnpicklingError) as error:
        raise UnsupportedCheckpoint(
            f"mlx-audio cannot load {name}: {_short(error)}",
            hint="`voicejobs models verify` checks its files; docs/engines.md lists the families.",
        ) from error


def not_installed() -> UnsupportedRequest:
    """The error for a machine without the package."""
    return UnsupportedRequest(
        f"The engine {PACKAGE} needs the package of that name, which is not installed.",
        hint=f"Install it: `{install_command(EXTRA)}`.",
    )


def fingerprint_of(folders: Sequence[Path]) -> str:
    """SHA-256 over the names, sizes, and first and last bytes of all files: training changes every tensor."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")):
            size_bytes = path.stat().st_size
            digest.update(f"{path.relative_to(folder).as_posix()}\n{size_bytes}\n".encode())
            with path.open("rb") as file:
                for start in (0, size_bytes // 2, max(0, size_bytes - SAMPLE_BYTES)):
                    file.seek(start)
                    digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()


def refuse_unsafe(folder: Path, *, needs_weights: bool = True) -> None:
    """Raise UnsupportedCheckpoint for pickled weights and code of the repository."""
    for path, problem in loading_problems(folder, needs_weights=needs_weights):
        raise UnsupportedCheckpoint(
            f"{folder / path} {problem}.", hint="Use a repository with safetensors weights and no code of its own."
        )


def _companion_folders(family: Family, config: Any, *, name: str, cache: Path | None) -> Iterator[Path]:
    for companion in companions_of(family, config):
        folder = hub_folder(cache, companion.repository) if cache is not None else None
        if folder is None:
            raise ModelIncomplete(
                f"{name} needs {companion.repository}, which is not in the shared model directory.",
                hint=f"`voicejobs models pull {name}` fetches both.",
            )
        refuse_unsafe(folder, needs_weights=not companion.files)
        yield folder.resolve()


def prepare_process(cache: Path | None) -> None:
    """Set the environment for what mlx-audio imports, once a process."""
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    os.environ["HF_HUB_CACHE"] = str(cache or Path(os.devnull) / "no-hub-cache")
    sys.modules.setdefault("sounddevice", None)  # type: ignore[arg-type]  # importing it fails: it opens sound libraries
    _forbid_pickles()


@functools.cache
def _forbid_pickles() -> None:
    """Have this process refuse every pickle that names code: some models would read one beside their weights."""

    def refuse(event: str, _arguments: tuple[Any, ...]) -> None:
        if event == "pickle.find_class":
            raise pickle.UnpicklingError("Pickles can run any code when they are read, and are never loaded.")

    sys.addaudithook(refuse)


def _short(error: Exception) -> str:
    return " ".join((str(error).strip() or repr(error)).split())[:300].rstrip(".") + "."
