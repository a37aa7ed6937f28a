"""A message with commands in it → the same, whose commands reach the instance of this command line.

A command in a message is written `voicejobs …` between backticks. This module looks for the instance's root.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from models.named_paths import named_path
from registry.errors import VoiceJobsError
from runner.config.instance import find_root

PROGRAM = "voicejobs"
PLACES = ("inbox", "outbox", "state_dir", "models_dir")  # settings without which a command looks elsewhere
# Commands that need no instance, name their own, or have the flag already.
_COMMAND = re.compile(rf"`{PROGRAM} (?!--root\b|demo\b|completion\b|schema\b|init\b(?! --))(?=[a-z-])(?=[^`]*`)")


def with_flags(text: str, flags: Sequence[str]) -> str:
    """Text with `flags` behind `voicejobs` in each of its commands."""
    return _COMMAND.sub(lambda _: f"`{PROGRAM} {shlex.join(flags)} ", text) if flags else text


def flags_to_reach(
    root: Path | None, settings: Mapping[str, Any] | None = None, *, environment: Mapping[str, str] | None = None
) -> tuple[str, ...]:
    """Flags with which another command, in the same working directory, works on the same instance.

    `root` and `settings` are those of the flags that this command was given.
    """
    environment = os.environ if environment is None else environment
    if root is None and (named := environment.get("VOICEJOBS_ROOT")):
        root = _root_unless_found(named)
    places = [f"{key}={value}" for key, value in (settings or {}).items() if key in PLACES]
    return (*(("--root", str(root)) if root else ()), *(part for place in places for part in ("--set", place)))


def flags_for_logs(root: Path) -> tuple[str, ...]:
    """Flags for commands in a log that is read where this process works, or anywhere."""
    return flags_to_reach(_root_unless_found(str(root)), environment={})


def _root_unless_found(root: str) -> Path | None:
    """Absolute root, unless commands find it from the working directory by themselves."""
    try:
        path = named_path(root).absolute()
        return None if find_root(Path.cwd()) == path else path
    except (OSError, VoiceJobsError):  # there is no instance here, or not even a folder
        return Path(root)
