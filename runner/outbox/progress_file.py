"""A small file of the runner → how far the lines in flight are, for the commands that show progress.

A line may take many minutes. `runner/worker/progress_writer.py` writes the file.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

FILE = "progress.json"
OUT_OF_DATE_S = 30.0


@dataclass(frozen=True, kw_only=True)
class UnderWay:
    """What has been spoken of lines that have not ended, as a part of one line or more, and since when (epoch)."""

    lines: float = 0.0
    since_s: float = 0.0


NOTHING = UnderWay()


def lines_under_way(state_dir: Path, *, now_s: float) -> dict[int, UnderWay]:
    """By the job's ledger id; empty where no runner has told anything lately."""
    try:
        content = json.loads((state_dir / FILE).read_bytes())
        if abs(now_s - content["at_s"]) > OUT_OF_DATE_S:
            return {}
        return {int(job_id): UnderWay(**values) for job_id, values in content["jobs"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}  # absent, or of another version: nothing depends on it
