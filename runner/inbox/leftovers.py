"""Names under which commands write into the inbox, and the removal of those that killed commands left.

This module touches the disk.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from pathlib import Path

from runner.held_folders import Folder, names_in, remove_tree

ABANDONED_S = 86_400.0  # no copy of a drop takes as long
_OURS = re.compile(r"\.(submit|withdrawn)-[0-9a-f]{16}\.tmp")


def unfinished_name(what: str) -> str:
    """A new name, hidden from the scanner, for a drop that is written (`submit`) or taken back (`withdrawn`)."""
    return f".{what}-{secrets.token_hex(8)}.tmp"


def sweep_unfinished(inbox: Path, *, now_s: float) -> int:
    """Remove entries with such names that nobody has changed for a day; returns how many. `now_s` is epoch seconds."""
    removed = 0
    with contextlib.suppress(OSError), Folder(inbox).held() as held:  # an inbox that is away is told of elsewhere
        for name in filter(_OURS.fullmatch, names_in(held)):
            with contextlib.suppress(OSError):  # gone, or not ours to remove: then it stays
                if now_s - _changed_s(name, dir_fd=held) > ABANDONED_S:
                    remove_tree(name, dir_fd=held)
                    removed += 1
    return removed


def _changed_s(name: str, *, dir_fd: int) -> float:
    status = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    return max(status.st_mtime, status.st_ctime)
