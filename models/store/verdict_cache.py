"""Verdicts on weight files that have not changed since: a listing of hundreds of models reads no header twice.

This module touches the disk. The cache is one file in the models directory; a verdict counts only while the file's
inode, size and both times are the same, and any write to the file changes one of them. Losing the cache costs time.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from models.store.safetensors_check import safetensors_problem

CACHE_FILE = ".voicejobs-checks.json"
CACHE_VERSION = 1


class CheckCache:
    """What is known of the weight files below one models directory."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / CACHE_FILE
        self._known: dict[str, list[Any]] = self._read()
        self._seen: dict[str, list[Any]] = {}
        self._is_new = False

    def _read(self) -> dict[str, list[Any]]:
        try:
            content = json.loads(self.path.read_bytes())
        except (OSError, ValueError):
            return {}  # absent or damaged: everything is checked again
        files = content.get("files") if isinstance(content, dict) and content.get("version") == CACHE_VERSION else None
        return files if isinstance(files, dict) else {}

    def problem(self, path: Path) -> str | None:
        """As `safetensors_problem`, from memory where nothing has changed."""
        key = str(path)
        try:
            status = path.stat()
        except OSError:
            return safetensors_problem(path)
        stamp = [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]
        known = self._known.get(key)
        if isinstance(known, list) and known[:-1] == stamp:
            self._seen[key] = known
            found: str | None = known[-1]
            return found
        found = safetensors_problem(path)
        self._seen[key] = [*stamp, found]
        self._is_new = True
        return found

    def save(self) -> None:
        """Keep what was seen, if it is news. A directory that we may only read keeps nothing."""
        if not self._is_new and len(self._seen) == len(self._known):
            return
        temporary = self.path.with_name(f"{CACHE_FILE}.{os.getpid()}.tmp")
        with contextlib.suppress(OSError):
            temporary.write_text(json.dumps({"version": CACHE_VERSION, "files": self._seen}))
            temporary.replace(self.path)  # not synced: after a power cut a torn cache is only a slow listing
