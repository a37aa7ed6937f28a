"""Our own record of where a model's files came from: a small hidden file in its folder.

This module touches the disk. Acervo's manifest has no place for a commit, and skips hidden names.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from registry.durable_files import write_durably

PROVENANCE_FILE = ".voicejobs.json"


def write_provenance(folder: Path, *, repository: str, revision: str | None, source: str) -> None:
    """Record the repository, the commit and how the files came here ("download", "adopted", "quantized")."""
    record = {"repository": repository, "revision": revision, "source": source}
    write_durably(folder / PROVENANCE_FILE, (json.dumps(record, indent=2, sort_keys=True) + "\n").encode("utf-8"))


def read_provenance(folder: Path) -> dict[str, Any] | None:
    """The record of `folder`; None when it has none that can be read."""
    try:
        record = json.loads((folder / PROVENANCE_FILE).read_bytes())
    except (OSError, ValueError):
        return None  # absent or damaged: it is only a record, the model stands without it
    return record if isinstance(record, dict) else None
