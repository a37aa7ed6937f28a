"""A dropped entry → a claim on disk: `.claimed/<claim id>/<dropped name>`, and copies of what its job needs.

A claim is one rename, made durable before it is reported. What is in the inbox others may change at any time,
so everything here goes by descriptors and follows no link. This module touches the disk.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from registry.durable_files import crash_point, fsync_folder, side_by_side
from registry.jobs.values import CLAIM_ID
from runner.config.instance import Instance
from runner.held_folders import Folder, move_new, names_in, remove_tree
from runner.inbox.attachments import Copy, read_in
from runner.inbox.copies import Copies, differs
from runner.inbox.entries import VOICE_SUFFIXES, files_below
from runner.jobfile.syntax import MAX_FILE_BYTES
from runner.names import printable_name

logger = logging.getLogger(__name__)

ATTACHED = ".attached"  # where the version before kept copies


class Claims:
    """Claims of one inbox, and their copies."""

    def __init__(self, instance: Instance) -> None:
        self._inbox = Folder(instance.inbox)
        self._claimed = self._inbox / instance.claimed_dir.name
        self._rejected = self._inbox / instance.rejected_dir.name
        self.copies = Copies(instance.claim_copies_dir)
        self._last_ns = 0

    def new_id(self) -> str:
        """New claim id; ids sort in the order in which they were made."""
        self._last_ns = max(self._last_ns + 1, time.time_ns())
        return f"{self._last_ns:020d}-{secrets.token_hex(4)}"

    def ids(self) -> list[str]:
        """Every claim on disk, oldest first."""
        try:
            names = self._claimed.names()
        except FileNotFoundError:
            return []
        found = sorted(name for name in names if CLAIM_ID.fullmatch(name))
        if found:
            self._last_ns = max(self._last_ns, int(found[-1][:20]))  # a clock set back must not reorder claims
        return found

    def copied_ids(self) -> list[str]:
        """Every claim of which there are copies."""
        return [name for name in self.copies.ids() if CLAIM_ID.fullmatch(name)]

    def folder(self, claim_id: str) -> Folder:
        return self._claimed / claim_id

    def are_there(self) -> bool:
        """Whether the folder of claims can be seen; it disappears with an inbox that is unmounted."""
        return self._claimed.path.is_dir()

    def dropped(self, claim_id: str) -> str | None:
        """Name of the dropped entry; None when the claim is gone or was made but never filled."""
        with contextlib.suppress(OSError), self.folder(claim_id).held() as folder:
            return _dropped_in(folder)
        return None

    def status(self, claim_id: str, name: str) -> os.stat_result:
        """Status of the dropped entry itself. Raises OSError."""
        with self.folder(claim_id).held() as folder:
            return os.stat(name, dir_fd=folder, follow_symlinks=False)

    def sources(self, claim_id: str, name: str) -> list[Folder]:
        """Folders in which the files that the job names are looked for, the first that has one first."""
        folder = self.folder(claim_id)
        if stat.S_ISDIR(self.status(claim_id, name).st_mode):
            return [folder / name]
        if name.casefold().endswith(VOICE_SUFFIXES):
            return [folder]
        return [folder / ATTACHED, self._inbox]

    # ---- made ---------------------------------------------------------------------------------------------------

    def take(self, name: str) -> str:
        """Move an entry of the inbox into a new claim; `sync` must follow before it is reported. Raises OSError."""
        claim_id = self.new_id()
        with self._inbox.held() as inbox, self._claimed.held(make=True, mode=0o700) as claimed:
            os.mkdir(claim_id, 0o700, dir_fd=claimed)
            crash_point("intake.folder-made")
            try:
                os.rename(name, f"{claim_id}/{name}", src_dir_fd=inbox, dst_dir_fd=claimed)
            except OSError:
                os.rmdir(claim_id, dir_fd=claimed)
                raise
        crash_point("intake.claim-renamed")
        return claim_id

    def sync(self, claim_ids: Iterable[str]) -> None:
        """Make claims survive a power cut."""
        claimed = self._claimed.path
        side_by_side(fsync_folder, [*(claimed / claim_id for claim_id in claim_ids), claimed])
        fsync_folder(self._inbox.path)  # last: on FAT a crash must not lose both names of the file
        crash_point("intake.claim-synced")

    def adopt(self, claim_id: str, *, job_file: str, paths: Sequence[str]) -> None:
        """Make the copies that a claim lacks, of the job file and of what it names. Raises OSError, VoiceJobsError."""
        name, files = self.dropped(claim_id), self.copies.files(claim_id)
        if name is None:
            return
        *before, source = self.sources(claim_id, name)
        for path in (path for path in paths if not (files / path).exists()):
            folder = next((each for each in before if (each.path / path).exists()), source)
            Copy(folder, path, Folder(self.copies.make_files(claim_id)), durable=True).whole()
        if job_file not in paths and self.copies.job_file(claim_id) is None:
            is_folder = stat.S_ISDIR(self.status(claim_id, name).st_mode)
            with (self.folder(claim_id) / name if is_folder else self.folder(claim_id)).held() as held:
                content = read_in(job_file, job_file, limit_bytes=MAX_FILE_BYTES, dir_fd=held)
            self.copies.keep_job_file(claim_id, job_file, content)
            self.copies.sync([claim_id])

    # ---- changed since ------------------------------------------------------------------------------------------

    def changed(self, claim_id: str) -> list[str]:
        """Files of a claim that hold something else than what was copied, or came later."""
        job_file, files = self.copies.job_file(claim_id), self.copies.files(claim_id)
        if job_file is None and not files.is_dir():
            return []
        with contextlib.suppress(OSError), self.folder(claim_id).held() as folder:
            if (name := _dropped_in(folder)) is None:
                return []
            if not stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                return [name] if differs(name, dir_fd=folder, copy=job_file or files / name) else []
            if (others := self.copies.others(claim_id)) is not None:
                return list(self._changed_below(name, folder, job_file=job_file, files=files, others=others))
        return []

    def _changed_below(
        self, name: str, folder: int, *, job_file: Path | None, files: Path, others: dict[str, int]
    ) -> Iterator[str]:
        for path, status, parent in files_below(name, dir_fd=folder):
            is_job = job_file is not None and path == job_file.name
            copy = job_file if is_job and job_file is not None else files / path
            if copy.is_file():
                if differs(path.rpartition("/")[2], dir_fd=parent, copy=copy):
                    yield f"{name}/{path}"
            elif others.get(path) != status.st_size:
                yield f"{name}/{path}"

    def changed_attachments(self, claim_id: str) -> list[str]:
        """Files in the inbox that have changed since they were copied for this claim."""
        files, found = self.copies.files(claim_id), []
        for copy in files.rglob("*"):
            path = copy.relative_to(files).as_posix()
            *parents, name = path.split("/")
            with contextlib.suppress(OSError), Folder(self._inbox.root, tuple(parents)).held() as folder:
                if copy.is_file() and differs(name, dir_fd=folder, copy=copy):
                    found.append(path)
        return found

    # ---- released -----------------------------------------------------------------------------------------------

    def release(self, claim_id: str, *, refused: bool) -> None:
        """Delete a claim whose job was answered; harmless when it is gone.

        A refused file or folder is kept in `.rejected`, and so is one that was changed after it had been read; links,
        FIFOs, sockets and devices are removed.
        """
        if not CLAIM_ID.fullmatch(claim_id):
            return
        changed = self.changed(claim_id)
        if changed or refused:
            self.keep(claim_id, changed)
        self.remove(claim_id)

    def keep(self, claim_id: str, changed: list[str]) -> None:
        """Move the dropped entry to `.rejected`; `changed` are the files of it that nobody has read."""
        name = self.dropped(claim_id)
        if name is None:
            return
        try:
            mode = self.status(claim_id, name).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                return
            with self._rejected.held(make=True) as rejected, self.folder(claim_id).held() as folder:
                free = move_new(name, name, src_dir_fd=folder, dst_dir_fd=rejected)
                os.fsync(rejected)
        except OSError as error:
            logger.warning("%s stays claimed: %s", printable_name(name), error.strerror)
            return
        if changed:
            what, kept = printable_name(changed[0]), printable_name(free)
            logger.warning(
                "%s was changed after it had been read; it is kept in %s/%s", what, self._rejected.path, kept
            )

    def remove(self, claim_id: str) -> None:
        """Delete a claim and its copies; any thread may call."""
        if not CLAIM_ID.fullmatch(claim_id):
            return
        crash_point("intake.release-kept")
        try:
            with self._claimed.held() as claimed:
                remove_tree(claim_id, dir_fd=claimed)
        except FileNotFoundError:
            pass
        except OSError as error:
            logger.warning("claim %s cannot be removed (%s); see %s", claim_id, error.strerror, self._claimed.path)
        self.copies.remove(claim_id)


def _dropped_in(claim: int) -> str | None:
    """Name of the dropped entry in the open folder of a claim."""
    return next((name for name in names_in(claim) if not name.startswith(".")), None)
