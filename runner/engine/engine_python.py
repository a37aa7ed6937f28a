"""The Python of an engine's own environment → whether the engine can run in it; and a new environment for an engine.

This module starts processes: the Python in question, `venv` and `pip`.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.engine_kinds import kind_of_model
from models.extras import packages_of, with_versions
from models.hardware.compute import likely_device
from models.named_paths import shown_path
from runner.config.instance import Instance
from runner.config.model_names import engine_python
from runner.errors import SettingsInvalid, WorkFailed

# What the processes that speak and listen import besides the packages of engines.
NEEDED = ("numpy", "packaging", "safetensors", "sentencex", "soundfile", "soxr", "tokenizers")
HELPERS = (
    "draft",
    "listen",
)  # extras with which they read eSpeak NG, compare what is heard, and tell speech from noise
OLDEST = (3, 10)
ANSWER_S = 60.0
STDERR = 2
PROBE = """
import importlib.metadata, json, sys
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps([sys.version_info[:3], found]))
"""


@dataclass(frozen=True, kw_only=True)
class EnginePython:
    """A Python that can run an engine."""

    path: Path
    version: str
    package_version: str  # of the engine's own package


def check_python(model: str, instance: Instance) -> None:
    """Raise SettingsInvalid where the engine of a model has a Python of its own that cannot run it."""
    engine = kind_of_model(model).name
    if (python := engine_python(engine, instance)) is not None:
        examined(python, engine)


def examined(python: Path, engine: str) -> EnginePython:
    """Facts about the Python of an engine. Raises SettingsInvalid where it cannot run it."""
    from packaging.requirements import Requirement

    own = [Requirement(text) for text in packages_of(engine)]
    version, found = _probed(python, engine, [*NEEDED, *(one.name for one in own)])
    said = f"The setting engines.{engine}.python: {shown_path(python)}"
    hint = f"`voicejobs models env {engine}` makes an environment that has everything."
    if tuple(version) < OLDEST:
        shown = ".".join(map(str, version))
        raise SettingsInvalid(f"{said} is Python {shown}; voicejobs needs {_dotted(OLDEST)} or newer.", hint=hint)
    if missing := [one for one in (*(one.name for one in own), *NEEDED) if one not in found]:
        raise SettingsInvalid(f"{said} lacks {', '.join(missing)}.", hint=hint)
    for one in own:
        if not one.specifier.contains(found[one.name], prereleases=True):
            raise SettingsInvalid(f"{said} has {one.name} {found[one.name]}, and not {one.specifier}.", hint=hint)
    return EnginePython(path=python, version=_dotted(version), package_version=found[own[0].name])


def _dotted(version: Sequence[int]) -> str:
    return ".".join(map(str, version))


def _probed(python: Path, engine: str, packages: Sequence[str]) -> tuple[list[int], Mapping[str, str]]:
    """Version of a Python, and those of the packages that it has. Raises SettingsInvalid."""
    said = f"The setting engines.{engine}.python: {shown_path(python)}"
    hint = f"Name the Python of an environment; `voicejobs models env {engine}` makes one."
    try:
        done = subprocess.run(
            [str(python), "-I", "-c", PROBE, *packages],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=ANSWER_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise SettingsInvalid(f"{said} gave no answer in {ANSWER_S:.0f} s.", hint=hint) from None
    except OSError as error:
        raise SettingsInvalid(f"{said} cannot be run: {error.strerror}.", hint=hint) from None
    with contextlib.suppress(ValueError, TypeError):
        version, found = json.loads(done.stdout)
        return list(version), dict(found)
    raise SettingsInvalid(f"{said} is no Python.", hint=hint)


def make_environment(place: Path, engine: str, *, base: str | None = None) -> EnginePython:
    """Make or complete the environment of an engine in a folder, by `venv` and `pip`, which talk on stderr.

    `base` is the Python that it is made with; None: the one of voicejobs. Raises WorkFailed.
    """
    python = place / "bin" / "python"
    if not os.access(python, os.X_OK) or base is not None:
        place.parent.mkdir(parents=True, exist_ok=True)
        _run([base or sys.executable, "-m", "venv", "--clear", str(place)], "the environment could not be made")
    packages = [*packages_of(engine), *with_versions(NEEDED), *_packages_of_device()]
    packages += [one for extra in HELPERS for one in packages_of(extra)]
    pip = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--upgrade"]
    _run([*pip, *packages], "pip could not install what the engine needs")
    return examined(python, engine)


def _packages_of_device() -> list[str]:
    """MLX's backend on Linux; elsewhere it has its own."""
    extras = ("cuda", "cpu") if likely_device() == "cuda" else ("cpu",)
    return [one for extra in extras for one in packages_of(extra) if one.startswith("mlx[")]


def _run(command: Sequence[str], failure: str) -> None:
    try:
        status = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=STDERR, check=False).returncode
    except OSError as error:
        raise WorkFailed(f"{failure}: {shown_path(command[0])}: {error.strerror}.") from None
    if status != 0:
        raise WorkFailed(f"{failure} (status {status}).", hint="Its own words are above; try again when that is done.")
