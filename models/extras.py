"""The name of an extra whose packages are not installed → the command that adds them where voicejobs runs."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from packaging.requirements import Requirement

PROGRAM = "voicejobs"
IS_OF_UV, IS_OF_PIPX = "uv-receipt.toml", "pipx_metadata.json"  # what `uv tool` and `pipx` leave in their environments


def install_command(extra: str) -> str:
    """A command for a shell. An extra by name would need the place that voicejobs itself was installed from."""
    return command_for(packages_of(extra))


def command_for(packages: Sequence[str]) -> str:
    """A command for a shell that installs packages where voicejobs runs."""
    environment = Path(sys.prefix)
    if (environment / IS_OF_PIPX).exists():
        command = ["pipx", "inject", PROGRAM]
    elif (environment / IS_OF_UV).exists() or importlib.util.find_spec("pip") is None:
        command = ["uv", "pip", "install", "--python", shlex.quote(sys.executable)]
    else:
        command = [shlex.quote(sys.executable), "-m", "pip", "install"]
    return " ".join([*command, *map(shlex.quote, packages)])


def packages_of(extra: str) -> list[str]:
    """The packages of an extra on this machine, with the versions that voicejobs asks for."""
    return [
        _shown(one)
        for one in _required()
        if one.marker is not None and one.marker.evaluate({"extra": extra}) and not one.marker.evaluate({"extra": ""})
    ]


def with_versions(packages: Sequence[str]) -> list[str]:
    """Some of the packages that voicejobs always needs, with the versions that it asks for."""
    return [_shown(one) for one in _required() if one.name in packages and one.marker is None]


def _required() -> list[Requirement]:
    from packaging.requirements import Requirement  # only where something is missing

    return [Requirement(text) for text in importlib.metadata.requires(PROGRAM) or ()]


def _shown(one: Requirement) -> str:
    extras = f"[{','.join(sorted(one.extras))}]" if one.extras else ""
    return f"{one.name}{extras}{one.specifier}"
