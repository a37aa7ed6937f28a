"""The few settings that read-only commands need, without the time that checking all of them takes.

A `voicejobs.toml` that sets only these is read here; any other, and any doubtful one, is read by
`runner.config.settings`, which names every mistake.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from models.named_paths import named_path

SETTINGS_FILE = "voicejobs.toml"
PLAIN_VARIABLES = ("VOICEJOBS_ROOT", "VOICEJOBS_MODELS_DIR", "VOICEJOBS_CRASH_AT", "VOICEJOBS_SHARED")
DEFAULTS: dict[str, Any] = {"models_dir": "", "state_dir": ".voicejobs", "offline": False, "migrate": "auto"}


@dataclass(frozen=True, kw_only=True)
class QuickSettings:
    """Settings of an instance that `models …` needs."""

    root: Path
    models_dir: Path | None
    state_dir: Path
    offline: bool
    migrate: str


def quick_settings(
    root: Path | None = None, *, environ: Mapping[str, str] | None = None, flags: Mapping[str, Any] | None = None
) -> QuickSettings | None:
    """Settings of the instance at `root`, at VOICEJOBS_ROOT, or found upward from here; None outside of any.

    Raises InstanceNotFound when a named root is not an instance, and SettingsInvalid.
    """
    environ = os.environ if environ is None else environ
    given = root or environ.get("VOICEJOBS_ROOT")
    named = named_path(given).absolute() if given else None
    found = named or _upward(Path.cwd())
    if found is None:
        return None
    values = None if flags else _plain_values(found / SETTINGS_FILE, environ)
    if values is None:
        return _thorough(named or found, environ, flags or {})
    return _settings(found, values)


def _upward(start: Path) -> Path | None:
    return next((folder for folder in (start, *start.parents) if (folder / SETTINGS_FILE).is_file()), None)


def _plain_values(path: Path, environ: Mapping[str, str]) -> dict[str, Any] | None:
    """Values of the file if it and the environment only set keys known here; else None."""
    if not path.is_file() or any(name.startswith("VOICEJOBS_") and name not in PLAIN_VARIABLES for name in environ):
        return None
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return None
    known = all(key in DEFAULTS and type(value) is type(DEFAULTS[key]) for key, value in values.items())
    merged = {**DEFAULTS, **values}
    return merged if known and merged["state_dir"] and merged["migrate"] in ("auto", "off") else None


def _thorough(root: Path, environ: Mapping[str, str], flags: Mapping[str, Any]) -> QuickSettings:
    from runner.config.instance import open_instance

    instance = open_instance(root, environment=environ, flags=flags)
    settings = instance.settings
    return _settings(instance.root, {key: getattr(settings, key) for key in DEFAULTS})


def _settings(root: Path, values: Mapping[str, Any]) -> QuickSettings:
    def path(value: str) -> Path:
        return named_path(value, below=root)

    return QuickSettings(
        root=root,
        models_dir=path(values["models_dir"]) if values["models_dir"] else None,
        state_dir=path(values["state_dir"]),
        offline=values["offline"],
        migrate=values["migrate"],
    )
