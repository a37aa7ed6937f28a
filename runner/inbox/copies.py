"""A claim → its job file and the files that the job names, copied once to where only the runner can write.

What lies in the inbox, claims included, its users can still change, through descriptors that they hold. Work reads
these copies alone: `<state_dir>/claims/<claim id>/job/NAME` and `…/files/PATH`. This module touches the disk.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from registry.durable_files import fsync_file, fsync_folder, open_regular, read_regular, side_by_side
from runner.held_folders import read_at_most, regular_file

JOB, FILES, OTHERS = "job", "files", "others.json"


class Copies:
    """Folder of copies, one folder a claim."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def ids(self) -> list[str]:
        """Every claim that has copies."""
        return os.listdir(self._folder) if self._folder.is_dir() else []  # noqa: PTH208 - names alone

    def place(self, claim_id: str) -> Path:
        return self._folder / claim_id

    def files(self, claim_id: str) -> Path:
        """Folder that the job's paths are relative to."""
        return self.place(claim_id) / FILES

    def job_file(self, claim_id: str) -> Path | None:
        """Job file as it was read, under its own name; None when there is none."""
        folder = self.place(claim_id) / JOB
        return next(filter(Path.is_file, folder.iterdir()), None) if folder.is_dir() else None

    def keep_job_file(self, claim_id: str, name: str, content: bytes) -> None:
        folder = self._made(claim_id, JOB)
        temporary = self.place(claim_id) / ".job.tmp"
        temporary.write_bytes(content)
        temporary.replace(folder / name)

    def make_files(self, claim_id: str) -> Path:
        """As `files`, made."""
        return self._made(claim_id, FILES)

    def keep_others(self, claim_id: str, sizes: Mapping[str, int]) -> None:
        """The other files of a dropped folder, which no job reads, with their sizes."""
        (self._made(claim_id) / OTHERS).write_text(json.dumps(sizes), encoding="utf-8")

    def others(self, claim_id: str) -> dict[str, int] | None:
        """As kept; None where a drop was no folder, or was not taken."""
        path = self.place(claim_id) / OTHERS
        if not path.exists():
            return None
        try:
            kept = json.loads(read_regular(path))
        except (OSError, ValueError, RecursionError):
            return {}  # every other file counts as changed, and is kept
        return kept if isinstance(kept, dict) else {}

    def _made(self, claim_id: str, *inside: str) -> Path:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        folder = self._folder.joinpath(claim_id, *inside)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def sync(self, claim_ids: Iterable[str]) -> None:
        """Make the copies of these claims survive a power cut. Raises OSError.

        Of a job file alone the bytes are enough: when a power cut takes its name, `Claims.adopt` copies it again from
        the claim, which is durable. Files that the job names are in no claim of its own, and may be gone by then.
        """
        files: list[Path] = []
        folders: list[Path] = []
        for place in map(self.place, claim_ids):
            kept = list(os.walk(place))
            files += [Path(parent, name) for parent, _, names in kept for name in names]
            if any(Path(parent) != place / JOB and names for parent, _, names in kept):
                folders += [Path(parent) for parent, *_ in kept]
        side_by_side(_fsync, files)
        if folders:
            side_by_side(fsync_folder, folders)
            fsync_folder(self._folder)
            fsync_folder(self._folder.parent)

    def remove(self, claim_id: str) -> None:
        shutil.rmtree(self.place(claim_id), ignore_errors=True)


def _fsync(path: Path) -> None:
    with open_regular(path) as file:
        fsync_file(file.fileno())


def differs(name: str, *, dir_fd: int, copy: Path) -> bool:
    """Whether a file that was copied holds something else now; false for one that is gone, or no regular file."""
    try:
        with regular_file(name, dir_fd=dir_fd) as file, open_regular(copy) as kept:
            now, then = os.fstat(file), os.fstat(kept.fileno())
            if now.st_size != then.st_size:
                return True
            if now.st_mtime_ns == then.st_mtime_ns:
                return False
            while piece := read_at_most(file, 1 << 20):
                if piece != kept.read(len(piece)):
                    return True
            return False
    except OSError:
        return False
