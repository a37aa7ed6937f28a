"""A dropped entry → a claim on disk: `.claimed/<claim id>/<dropped name>`, and beside it the files the job names.

A claim is one rename, made durable before it is reported. This module touches the disk.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterable
from pathlib import Path

from registry.durable_files import crash_point, fsync_folder, make_folder_durably, side_by_side
from runner.inbox.entries import VOICE_SUFFIXES
from runner.names import printable_name

logger = logging.getLogger(__name__)

ATTACHED = ".attached"  # hidden, so that the dropped entry is the only visible one in its claim
_CLAIM_ID = re.compile(r"\d{20}-[0-9a-f]{8}")


class Claims:
    """Folder of claims of one inbox."""

    def __init__(self, claimed_dir: Path, rejected_dir: Path) -> None:
        self._claimed_dir = claimed_dir
        self._rejected_dir = rejected_dir
        self._last_ns = 0

    def new_id(self) -> str:
        """New claim id; ids sort in the order in which they were made."""
        self._last_ns = max(self._last_ns + 1, time.time_ns())
        return f"{self._last_ns:020d}-{secrets.token_hex(4)}"

    def ids(self) -> list[str]:
        """Every claim on disk, oldest first."""
        try:
            names = [path.name for path in self._claimed_dir.iterdir()]
        except FileNotFoundError:
            return []
        found = sorted(name for name in names if _CLAIM_ID.fullmatch(name))
        if found:
            self._last_ns = max(self._last_ns, int(found[-1][:20]))  # a clock set back must not reorder claims
        return found

    def path(self, claim_id: str) -> Path:
        return self._claimed_dir / claim_id

    def are_there(self) -> bool:
        """Whether the folder of claims can be seen; it disappears with an inbox that is unmounted."""
        return self._claimed_dir.is_dir()

    def dropped(self, claim_id: str) -> Path | None:
        """Dropped entry; None when the claim is gone or was made but never filled."""
        with contextlib.suppress(OSError):
            for path in self.path(claim_id).iterdir():
                if not path.name.startswith("."):
                    return path
        return None

    def base(self, claim_id: str) -> Path:
        """Folder that the job's paths are relative to."""
        return self.base_of(claim_id, self.dropped(claim_id))

    def base_of(self, claim_id: str, dropped: Path | None) -> Path:
        """As `base`, for a caller that knows the dropped entry."""
        with contextlib.suppress(FileNotFoundError):  # it vanished: nothing will be read
            if dropped is not None and stat.S_ISDIR(dropped.lstat().st_mode):
                return dropped
        is_voice = dropped is not None and dropped.name.casefold().endswith(VOICE_SUFFIXES)
        return self.path(claim_id) if is_voice else self.path(claim_id) / ATTACHED

    def take(self, source: Path) -> str:
        """Rename `source` into a new claim; `sync` must follow before it is reported. Raises OSError."""
        claim_id = self.new_id()
        folder = self.path(claim_id)
        try:
            folder.mkdir()
        except FileNotFoundError:
            make_folder_durably(self._claimed_dir)
            folder.mkdir()
        crash_point("intake.folder-made")
        try:
            source.rename(folder / source.name)
        except OSError:
            folder.rmdir()
            raise
        crash_point("intake.claim-renamed")
        return claim_id

    def sync(self, claim_ids: Iterable[str], inbox: Path) -> None:
        """Make claims survive a power cut."""
        side_by_side(fsync_folder, [*map(self.path, claim_ids), self._claimed_dir])
        fsync_folder(inbox)  # last: on FAT a crash must not lose both names of the file
        crash_point("intake.claim-synced")

    def release(self, claim_id: str, *, refused: bool) -> None:
        """Delete a claim whose job was answered; harmless when it is gone.

        A refused file or folder is kept in `.rejected`; links, FIFOs, sockets and devices are removed.
        """
        dropped = self.dropped(claim_id) if refused and _CLAIM_ID.fullmatch(claim_id) else None
        if dropped is not None and _is_kept(dropped):
            self._keep(dropped)
        self.remove(claim_id)

    def remove(self, claim_id: str) -> None:
        """Delete a claim; any thread may call."""
        if not _CLAIM_ID.fullmatch(claim_id):
            return
        crash_point("intake.release-kept")
        folder = self.path(claim_id)
        _remove_tree(folder)
        if folder.exists():
            logger.warning("claim %s cannot be removed; see %s", claim_id, self._claimed_dir)

    def _keep(self, dropped: Path) -> None:
        try:
            self._rejected_dir.mkdir(parents=True, exist_ok=True)
            target = free_path(self._rejected_dir, dropped.name)
            dropped.rename(target)
            fsync_folder(self._rejected_dir)
        except OSError as error:
            logger.warning("%s stays claimed: %s", printable_name(dropped.name), error.strerror)


def _is_kept(path: Path) -> bool:
    mode = path.lstat().st_mode
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)


def _remove_tree(folder: Path) -> None:
    """Remove `folder`, opening up folders below it that forbid their owner to write."""
    with contextlib.suppress(OSError):
        shutil.rmtree(folder)
        return
    for parent, folders, _ in os.walk(folder):
        for name in folders:
            path = Path(parent, name)
            if not path.is_symlink():
                with contextlib.suppress(OSError):
                    path.chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)


def free_path(folder: Path, name: str) -> Path:
    """Unused path: `folder/name`, else with `-2`, `-3`, … before the extension."""
    stem, suffix = os.path.splitext(name)  # noqa: PTH122 (a name, not a path)
    room = 255 - len(os.fsencode(suffix)) - 8
    short = os.fsdecode(os.fsencode(stem)[:room])

    def numbered(number: int) -> Path:
        return folder / (name if number == 1 else f"{short}-{number}{suffix}")

    free = 1
    while os.path.lexists(numbered(free)):
        free *= 2
    used = free // 2  # a name used fifty thousand times is found in thirty steps
    while free - used > 1:
        middle = (free + used) // 2
        if os.path.lexists(numbered(middle)):
            used = middle
        else:
            free = middle
    return numbered(free)
