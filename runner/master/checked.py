"""Audio files that somebody names, and a preset → their entries as in `mastering.json`, and what could not be read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.named_paths import shown_path
from registry.errors import NotFound, VoiceJobsError
from runner.master.errors import SoundRefused
from runner.master.measured_file import measured_file
from runner.master.presets import PRESETS, judged


@dataclass(frozen=True, kw_only=True)
class CheckedFiles:
    """Measured and judged files, and why others were not."""

    files: Sequence[dict[str, Any]]
    problems: Sequence[VoiceJobsError]

    @property
    def passed(self) -> bool:
        return not self.problems and all(file["passed"] for file in self.files)


def check_files(paths: Sequence[Path], *, preset: str) -> CheckedFiles:
    """Measure and judge files. Raises NotFound when one of them is missing, ExtraMissing for one that needs PyAV."""
    missing = [path for path in paths if not path.exists()]
    if missing:
        raise NotFound(f"There is no file {', '.join(map(shown_path, missing))}.")
    files: list[dict[str, Any]] = []
    problems: list[VoiceJobsError] = []
    for path in paths:
        try:
            entry = measured_file(path)
        except SoundRefused as error:
            problems.append(error)
            continue
        first = files[0]["channels"] if files else None
        files.append(judged(PRESETS[preset], entry, channels_of_all=first))
    return CheckedFiles(files=files, problems=problems)
