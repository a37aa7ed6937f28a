"""The inbox: entries that have settled → claimed drops, each a checked job or the reason why it is not one.

One `tick(now_s)` is one look at everything. A claim is a rename, made durable, and only then is the drop read;
nothing is processed in place. This module touches the disk; its clock is an argument.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from registry.durable_files import crash_point, fsync_folder, side_by_side
from registry.errors import StorageError, VoiceJobsError
from runner.beginnings import Beginnings
from runner.config.instance import Instance
from runner.held_folders import LINK_ERRORS, Folder, move_new
from runner.inbox.attachments import refused_by_system
from runner.inbox.claims import Claims
from runner.inbox.drop import ClaimedDrop, Drop
from runner.inbox.entries import Entry, Kind, Signature, access_of, list_entries
from runner.inbox.job_reader import JobReader
from runner.inbox.open_files import OpenFiles
from runner.inbox.sightings import ANSWERED, Sightings
from runner.inbox.waiting import is_meant_as_job, reason_ignored
from runner.names import printable_name

logger = logging.getLogger(__name__)

CLAIMS_PER_TICK = 250  # a full inbox is claimed in several ticks, so that work starts meanwhile
READ_BYTES_PER_TICK = 200_000  # of job files: in memory a job takes twenty times as much, until it is recorded
IDLE_SHARE = 100  # an inbox that takes 0.1 s to scan is scanned every 10 s while nothing happens …
LONGEST_REST = 5  # … but at least this many times less often than scan_interval_s says
READINGS = "reading.json"  # in the state folder
STORAGE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, *LINK_ERRORS)
NAMED = 5  # changed files of one drop
CHANGED = "{} changed after it had been read, and this job has used what it held then. {}"
MAY_BE_WRITTEN = (Kind.JOB, Kind.VOICE, Kind.FOLDER)
GONE_ERRORS = (errno.ENOENT, errno.ESTALE)


class InboxScanner:
    """The inbox of one instance. All methods but `note_moved` belong to the runner's main thread."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._inbox = instance.inbox
        self._settle_s = instance.settings.settle_s
        self._claims = Claims(instance)
        self._sightings = Sightings(settle_s=self._settle_s, answered_path=instance.state_dir / ANSWERED)
        self._reader = JobReader()
        self._readings = Beginnings(path=instance.state_dir / READINGS)
        self._read_suspect_last = False
        self._drops: list[Drop] = []  # claimed, and not yet reported: their attachments are awaited
        self._unsynced: list[Drop] = []  # claimed, but a power cut could still undo it
        self._moved: set[str] = set()
        self._moved_lock = threading.Lock()
        self._is_recorded: Callable[[str], bool] = lambda _claim_id: True
        self._scan_took_s = 0.0
        self.has_more = False  # whether the next tick will bring drops that this one had no room for
        self._troubles: dict[str, VoiceJobsError] = {}

    # ---- called by the runner ----------------------------------------------------------------------------------

    def note_moved(self, name: str) -> None:
        """Note a file event: an entry got this name by a rename, so it is whole. Any thread may call."""
        with self._moved_lock:
            self._moved.add(name)

    def tick(self, now_s: float, *, wall_s: float | None = None) -> list[ClaimedDrop]:
        """Look at the inbox once, claim what is ready, and return the drops that can be recorded, in claim order.

        `now_s` is a monotonic clock; `wall_s` the time of day, against which attachments grow old.
        """
        self.has_more = False
        entries = self._look()
        if entries is None:
            return []
        with self._moved_lock:
            moved, self._moved = self._moved, set()
        self._sightings.observe(entries, moved=moved, now_s=now_s, place=self._place())
        self._name_ignored(now_s)
        self._claim(now_s)
        self._sync()
        finished = self._finished(now_s)
        if not self.busy:  # a waiting job may name any of the files
            self._move_orphans(time.time() if wall_s is None else wall_s)
        return finished

    def recover(self, is_recorded: Callable[[str], bool], *, now_s: float | None = None) -> list[ClaimedDrop]:
        """Pick up claims that a dead runner made and never recorded; returns those that are ready, oldest first."""
        self._is_recorded = is_recorded
        self._readings.recover()
        self._drops += self._unrecorded()
        self._readings.forget_others({drop.claim_id for drop in self._drops})
        return self._finished(time.monotonic() if now_s is None else now_s)

    def claim_ids(self) -> list[str]:
        """Every claim on disk; those of answered jobs can be released."""
        return sorted({*self._claims.ids(), *self._claims.copied_ids()})

    def folder_of(self, claim_id: str) -> Path:
        """The folder that the paths in a claimed job are relative to."""
        return self._claims.copies.files(claim_id)

    def job_path(self, claim_id: str, name: str) -> Path:
        """The job file of a claim, or the voice file of this name that was dropped alone."""
        return self._claims.copies.job_file(claim_id) or self.folder_of(claim_id) / name

    def adopt(self, claim_id: str, *, job_file: str, paths: Sequence[str]) -> None:
        """Copy what a job needs of a claim: the version before made no copies, and a power cut may take one."""
        try:
            self._claims.adopt(claim_id, job_file=job_file, paths=paths)
        except (OSError, VoiceJobsError) as error:
            logger.warning("claim %s cannot be copied: %s", claim_id, error)

    def changes(self, claim_id: str) -> list[str]:
        """Sentences on what has changed since it was read for this claim; such files are kept."""
        kept, changed = self._instance.rejected_dir, self._claims.changed(claim_id)
        return [
            *(CHANGED.format(printable_name(path), f"The changed drop is kept in {kept}.") for path in changed[:NAMED]),
            *(CHANGED.format(printable_name(path), "") for path in self._claims.changed_attachments(claim_id)[:NAMED]),
        ]

    def release(self, claim_id: str, *, refused: bool = False) -> None:
        """Delete an answered claim. A refused file or folder is kept in `.rejected`."""
        self.release_all({claim_id: refused})

    def release_all(self, claims: Mapping[str, bool]) -> None:
        """As `release`, for many at once: claim id -> whether it was refused."""
        for claim_id in claims:
            self._sightings.answered.confirm(claim_id)
        ids = list(claims)
        changed = dict(zip(ids, side_by_side(self._claims.changed, ids), strict=True))
        for claim_id in (claim_id for claim_id, refused in claims.items() if refused or changed[claim_id]):
            self._claims.keep(claim_id, changed[claim_id])  # one after another: each needs a name that is free
        side_by_side(self._claims.remove, ids)

    @property
    def problem(self) -> VoiceJobsError | None:
        """Why nothing can be claimed at this moment; None when all is well."""
        return next(iter(self._troubles.values()), None)

    @property
    def busy(self) -> bool:
        """Whether something in the inbox is about to become a job: `run --once` waits for it."""
        return bool(self._drops or self._unsynced) or self._sightings.any_claimable()

    def next_look_s(self, now_s: float) -> float:
        """Seconds until the next tick is useful; an event may come sooner."""
        at_least_s = self._instance.settings.scan_interval_s
        interval_s = max(at_least_s, min(IDLE_SHARE * self._scan_took_s, LONGEST_REST * at_least_s))
        if self.problem is not None:
            return interval_s
        if self.has_more:
            return 0.0
        if self._drops:
            return min(interval_s, max(0.1, 10 * self._scan_took_s))
        due_s = self._sightings.next_due_s()
        return interval_s if due_s is None else min(interval_s, max(0.01, due_s - now_s))

    # ---- looking -----------------------------------------------------------------------------------------------

    def _look(self) -> list[Entry] | None:
        started_s = time.monotonic()
        try:
            entries = list_entries(self._inbox)
        except OSError as error:
            self._lose_the_inbox(error)
            return None
        if self._troubles.pop("look", None):
            logger.info("the inbox %s can be read again", self._inbox)
            self._drops += self._unrecorded()
        self._scan_took_s = time.monotonic() - started_s
        return entries

    def _name_ignored(self, now_s: float) -> None:
        """Log each entry that has settled and becomes no job as it is, once."""
        for entry in self._sightings.newly_settled(now_s):
            if is_meant_as_job(entry):
                logger.warning("%s is left alone: %s", printable_name(entry.name), reason_ignored(entry))

    def _place(self) -> Signature:
        """Access of the folders between which drops are moved: with other rights, what was refused may go."""
        found: list[int] = []
        for folder in (self._inbox, self._instance.claimed_dir):
            with contextlib.suppress(OSError):
                found += access_of(folder.stat())
        return tuple(found)

    def _lose_the_inbox(self, error: OSError) -> None:
        self._report("look", f"The inbox {self._inbox} cannot be read: {error.strerror}.")
        self._sightings.forget_all()
        self._unsynced.clear()
        # Claims are in the inbox's own .claimed, and are picked up again when it is back.
        self._drops = [drop for drop in self._drops if drop.problem is not None]

    def _unrecorded(self) -> list[Drop]:
        """Claims on disk that nobody has recorded; those that hold nothing are removed."""
        known = {drop.claim_id for drop in self._drops}
        open_files = OpenFiles(self._inbox)
        found = []
        for claim_id in self._claims.ids():
            if claim_id in known or self._is_recorded(claim_id):
                continue
            if self._claims.dropped(claim_id) is None:
                self._claims.release(claim_id, refused=False)  # its maker died before anything was moved into it
                continue
            drop = Drop(
                claim_id,
                self._claims,
                self._inbox,
                open_files=open_files,
                reader=self._reader,
                settle_s=self._settle_s,
            )
            found.append(drop)
        return found

    # ---- claiming ----------------------------------------------------------------------------------------------

    def _claim(self, now_s: float) -> None:
        ready = self._sightings.ready(now_s)
        self.has_more = len(ready) > CLAIMS_PER_TICK
        if not ready or self._disk_is_short():
            return
        settled = self._sightings.settled(now_s)
        open_files, inbox = OpenFiles(self._inbox), Folder(self._inbox)
        for entry in ready[:CLAIMS_PER_TICK]:
            written = open_files.written(inbox, entry.name) if entry.kind in MAY_BE_WRITTEN else None
            if written is not None:
                if self._sightings.leave_for_now(entry.name, now_s):
                    logger.info("%s waits: a program still has it open for writing", printable_name(written))
                continue
            try:
                claim_id = self._claims.take(entry.name)
            except OSError as error:
                if error.errno in STORAGE_ERRORS:
                    self._report("claim", f"Nothing can be moved into {self._instance.claimed_dir}: {error.strerror}.")
                    break
                self._drops += self._answer_in_place(entry, error, open_files)
                continue
            self._sightings.forget(entry.name)
            self._unsynced.append(
                Drop(
                    claim_id,
                    self._claims,
                    self._inbox,
                    open_files=open_files,
                    reader=self._reader,
                    settle_s=self._settle_s,
                    entry=entry,
                    arrived=settled,
                )
            )

    def _sync(self) -> None:
        """Make claims durable before anybody is told of them; on a failing disk, try again later."""
        if not self._unsynced:
            return
        try:
            self._claims.sync([drop.claim_id for drop in self._unsynced])
        except OSError as error:
            self._report("sync", f"Claims in {self._instance.claimed_dir} cannot be made durable: {error.strerror}.")
            return
        self._troubles.pop("sync", None)
        self._drops += self._unsynced
        self._unsynced = []

    def _answer_in_place(self, entry: Entry, error: OSError, open_files: OpenFiles) -> list[Drop]:
        """The refusal of an entry that cannot be moved, once until it changes; none when it is gone."""
        if error.errno in GONE_ERRORS:
            return []
        claim_id = self._claims.new_id()
        self._sightings.remember_answer(claim_id, entry, place=self._place())
        problem = refused_by_system(entry.name, error, verb="moved out of the inbox")
        drop = Drop.refused(
            claim_id,
            self._claims,
            self._inbox,
            open_files=open_files,
            reader=self._reader,
            name=entry.name,
            mtime_ns=entry.mtime_ns,
            problem=problem,
        )
        return [drop]

    def _disk_is_short(self) -> bool:
        wanted = self._instance.settings.min_free_bytes
        for folder in (self._inbox, self._instance.state_dir):
            free = shutil.disk_usage(folder).free
            if free < wanted:
                self._report("claim", f"Only {free:,} bytes are free for {folder}; min_free_bytes is {wanted:,}.")
                return True
        self._troubles.pop("claim", None)
        return False

    def _report(self, step: str, reason: str) -> None:
        """Log one warning for one lasting trouble."""
        if step not in self._troubles:
            logger.warning("%s Nothing is claimed until that changes.", reason)
        self._troubles[step] = StorageError(reason)

    # ---- finishing ---------------------------------------------------------------------------------------------

    def _finished(self, now_s: float) -> list[ClaimedDrop]:
        """Drops whose attachments are here or given up; one that needs an unfinished earlier drop waits for it."""
        finished: list[ClaimedDrop] = []
        waiting: list[Drop] = []
        trouble = ""
        read_bytes = 0
        being_read = self._to_be_read()
        self.note_begun(being_read)
        for drop in self._drops:
            if read_bytes > READ_BYTES_PER_TICK:
                self.has_more = True
            if read_bytes > READ_BYTES_PER_TICK or drop.claim_id not in being_read:
                waiting.append(drop)
                continue
            before_bytes = drop.job_bytes
            try:
                self._refuse_deadly(drop)
                claimed = drop.try_finish(now_s, earlier=waiting)
            except OSError as error:
                trouble = f"{printable_name(drop.name)} cannot be taken in: {error.strerror}."
                claimed = None
            read_bytes += drop.job_bytes - before_bytes
            self.has_more = self.has_more or drop.is_copying
            if claimed is None:
                waiting.append(drop)
            else:
                self._sightings.used_folders |= {path.split("/")[0] for path in claimed.referenced if "/" in path}
                finished.append(claimed)
        try:
            self._claims.copies.sync([claimed.claim_id for claimed in finished])
            self._drops = waiting
        except OSError as error:
            trouble = f"What was claimed cannot be copied: {error.strerror}."
            finished = []
        if trouble:
            self._report("finish", trouble)
        else:
            self._troubles.pop("finish", None)
        return finished

    def _to_be_read(self) -> set[str]:
        """Claims that may be read now; one over which a runner has died alone, and every other time."""
        suspects = [drop for drop in self._drops if self._readings.is_suspect(drop.claim_id)]
        others = {drop.claim_id for drop in self._drops} - {drop.claim_id for drop in suspects}
        if not suspects:
            return others
        if any(drop.is_being_read for drop in suspects):
            return {drop.claim_id for drop in suspects if drop.is_being_read}
        is_free = not any(drop.is_being_read for drop in self._drops)
        self._read_suspect_last = is_free and not (self._read_suspect_last and others)
        return {suspects[0].claim_id} if self._read_suspect_last else others

    def _refuse_deadly(self, drop: Drop) -> None:
        try:
            self._readings.refuse_deadly(drop.claim_id)
        except VoiceJobsError as error:
            drop.problem = error

    def note_begun(self, claim_ids: Iterable[str]) -> None:
        """Note that these are being read or recorded: the next runner knows it, should this one die of it."""
        try:
            self._readings.begin(claim_ids)
        except StorageError as error:
            logger.warning("%s", error)  # they are read all the same

    def note_survived(self) -> None:
        """Note that the runner lives: all but what a thread still reads was no harm."""
        self._end_notes({drop.claim_id for drop in self._drops if drop.is_being_read})

    def stop(self) -> None:
        """Read nothing more; a process that ends before a job file is read does not count against it."""
        self._end_notes(set())

    def close(self) -> None:
        """Wait for the job file that is being read."""
        self._end_notes(set())
        self._reader.close()

    def _end_notes(self, still_read: set[str]) -> None:
        try:
            self._readings.end_others(still_read)
        except StorageError as error:
            logger.warning("%s", error)

    # ---- orphans -----------------------------------------------------------------------------------------------

    def _move_orphans(self, wall_s: float) -> None:
        old_s = self._instance.settings.orphan_after_s
        old = [entry for entry in self._sightings.spare() if wall_s - entry.ctime_s >= old_s]
        if sum(self._move_orphan(entry) for entry in old):
            fsync_folder(self._inbox)

    def _move_orphan(self, entry: Entry) -> bool:
        orphans = self._instance.orphans_dir
        try:
            with Folder(self._inbox).held() as inbox, (Folder(self._inbox) / orphans.name).held(make=True) as target:
                move_new(entry.name, entry.name, src_dir_fd=inbox, dst_dir_fd=target)
        except OSError as error:
            if error.errno not in GONE_ERRORS:
                logger.debug("orphan %s stays: %s", printable_name(entry.name), error.strerror)
            return False
        crash_point("intake.orphan-moved")
        self._sightings.forget(entry.name)
        logger.info("%s was named by no job and moved to .orphans", printable_name(entry.name))
        return True
