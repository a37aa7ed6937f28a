"""The inbox: entries that lie still → claimed drops, each a checked job or a reason why it is none.

One `tick(now_s)` is one look at everything. What is claimed is renamed away first, durably, and only then read;
nothing is processed in place. This module touches the disk; its clock is an argument.
"""

from __future__ import annotations

import errno
import json
import logging
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from registry.durable_files import crash_point, fsync_folder, side_by_side, write_durably
from registry.errors import StorageError, VoiceJobsError
from runner.config.instance import Instance
from runner.inbox.attachments import refused_by_system
from runner.inbox.claims import Claims, free_path
from runner.inbox.drop import ClaimedDrop, Drop
from runner.inbox.entries import Entry, Kind, Signature, has_job_suffix, look
from runner.names import printable_name

logger = logging.getLogger(__name__)

CLAIMS_PER_TICK = 250  # a full inbox is claimed in several ticks, so that work starts meanwhile
READ_BYTES_PER_TICK = 200_000  # of job files: in memory a job takes twenty times as much, until it is recorded
FOLDER_PATIENCE_S = 10.0  # how long a folder without a job file may still get one
IDLE_SHARE = 100  # an inbox that takes 0.1 s to scan is scanned every 10 s while nothing happens …
LONGEST_REST = 5  # … but at least this many times less often than scan_interval_s says
STORAGE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
GONE_ERRORS = (errno.ENOENT, errno.ESTALE)


@dataclass
class _Sighting:
    """Since when an entry has looked as it does."""

    entry: Entry
    since_s: float
    whole: bool  # proven by a rename: no need to wait


class InboxScanner:
    """The inbox of one instance. All methods but `note_moved` belong to the runner's main thread."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._inbox = instance.inbox
        self._claims = Claims(instance.claimed_dir, instance.rejected_dir)
        self._sightings: dict[str, _Sighting] = {}
        self._temporary: dict[tuple[int, int], str] = {}  # inodes last seen under a temporary name
        self._drops: list[Drop] = []  # claimed, and not yet told of: their attachments are awaited
        self._unsynced: list[Drop] = []  # claimed, but a power cut could still undo it
        self._moved: set[str] = set()
        self._moved_lock = threading.Lock()
        self._used_folders: set[str] = set()
        self._answered = _AnsweredInPlace(instance.state_dir / "intake-answered.json")
        self._is_recorded: Callable[[str], bool] = lambda _claim_id: True
        self._scan_took_s = 0.0
        self.has_more = False  # whether the next tick will bring drops that this one had no room for
        self._troubles: dict[str, VoiceJobsError] = {}

    # ---- what the runner calls ---------------------------------------------------------------------------------

    def note_moved(self, name: str) -> None:
        """A file event: an entry got this name by a rename, so it is whole. Any thread may call."""
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
        self._observe(entries, now_s)
        self._claim(self._ready(now_s), now_s)
        self._sync()
        finished = self._finished(now_s)
        if not self.busy:  # what waits may name any of the files that lie here
            self._move_orphans(time.time() if wall_s is None else wall_s)
        return finished

    def recover(self, is_recorded: Callable[[str], bool], *, now_s: float | None = None) -> list[ClaimedDrop]:
        """Take up claims that a dead runner made and never recorded; returns those that are ready, oldest first."""
        self._is_recorded = is_recorded
        self._drops += self._unrecorded()
        return self._finished(time.monotonic() if now_s is None else now_s)

    def claim_ids(self) -> list[str]:
        """Every claim on disk; those of answered jobs can be released."""
        return self._claims.ids()

    def folder_of(self, claim_id: str) -> Path:
        """The folder that the paths in a claimed job are relative to."""
        return self._claims.base(claim_id)

    def release(self, claim_id: str, *, refused: bool = False) -> None:
        """The claim was answered: delete it. What was refused is kept in `.rejected`, unless it is no file."""
        self.release_all({claim_id: refused})

    def release_all(self, claims: Mapping[str, bool]) -> None:
        """As `release`, for many at once: claim id -> whether it was refused."""
        for claim_id in claims:
            self._answered.confirm(claim_id)
        for claim_id in (claim_id for claim_id, refused in claims.items() if refused):
            self._claims.release(claim_id, refused=True)  # one after another: each needs a name that is free
        side_by_side(self._claims.remove, [claim_id for claim_id, refused in claims.items() if not refused])

    @property
    def problem(self) -> VoiceJobsError | None:
        """Why nothing can be taken in at this moment; None when all is well."""
        return next(iter(self._troubles.values()), None)

    @property
    def busy(self) -> bool:
        """Whether something in the inbox is about to become a job: `run --once` waits for it."""
        claimable = (Kind.JOB, Kind.VOICE, Kind.SPECIAL, Kind.UNNAMEABLE, Kind.FOLDER)
        waiting = (seen.entry for seen in self._sightings.values() if seen.entry.kind in claimable)
        return bool(self._drops or self._unsynced) or any(not self._is_left_alone(entry) for entry in waiting)

    def next_look_s(self, now_s: float) -> float:
        """Seconds until the next tick is worth its while; an event may come sooner."""
        at_least_s = self._instance.settings.scan_interval_s
        interval_s = max(at_least_s, min(IDLE_SHARE * self._scan_took_s, LONGEST_REST * at_least_s))
        if self.problem is not None:
            return interval_s
        if self.has_more:
            return 0.0
        if self._drops:
            return min(interval_s, max(0.1, 10 * self._scan_took_s))
        dues = [due for seen in self._sightings.values() if (due := self._due_s(seen)) is not None]
        return min(interval_s, max(0.01, min(dues) - now_s)) if dues else interval_s

    # ---- looking -----------------------------------------------------------------------------------------------

    def _look(self) -> list[Entry] | None:
        started_s = time.monotonic()
        try:
            entries = look(self._inbox)
        except OSError as error:
            self._lose_the_inbox(error)
            return None
        if self._troubles.pop("look", None):
            logger.info("the inbox %s can be read again", self._inbox)
            self._drops += self._unrecorded()
        self._scan_took_s = time.monotonic() - started_s
        return entries

    def _lose_the_inbox(self, error: OSError) -> None:
        self._complain("look", f"The inbox {self._inbox} cannot be read: {error.strerror}.")
        self._sightings.clear()
        self._temporary.clear()
        self._unsynced.clear()
        # Claims lie in the inbox's own .claimed, and are taken up again when it is back.
        self._drops = [drop for drop in self._drops if drop.problem is not None]

    def _unrecorded(self) -> list[Drop]:
        """Claims on disk that nobody has recorded; those that hold nothing are removed."""
        known = {drop.claim_id for drop in self._drops}
        found = []
        for claim_id in self._claims.ids():
            if claim_id in known or self._is_recorded(claim_id):
                continue
            if self._claims.dropped(claim_id) is None:
                self._claims.release(claim_id, refused=False)  # its maker died before anything was moved into it
                continue
            found.append(Drop(claim_id, self._claims, self._inbox, settle_s=self._instance.settings.settle_s))
        return found

    def _observe(self, entries: list[Entry], now_s: float) -> None:
        with self._moved_lock:
            moved, self._moved = self._moved, set()
        temporary = {entry.inode: entry.name for entry in entries if entry.kind is Kind.TEMPORARY}
        sightings: dict[str, _Sighting] = {}
        for entry in entries:
            if entry.kind in (Kind.TEMPORARY, Kind.LITTER):
                continue
            seen = self._sightings.get(entry.name)
            renamed = entry.inode in self._temporary and entry.inode not in temporary
            if seen is None or seen.entry.signature != entry.signature:
                fresh = seen is None or seen.entry.inode != entry.inode
                whole = entry.name in moved or (renamed and fresh)
                sightings[entry.name] = _Sighting(entry, now_s, whole)
            else:
                seen.whole = seen.whole or entry.name in moved
                sightings[entry.name] = seen
        self._sightings, self._temporary = sightings, temporary

    # ---- claiming ----------------------------------------------------------------------------------------------

    def _is_left_alone(self, entry: Entry) -> bool:
        if entry.kind is Kind.FOLDER and entry.job_files == 0 and entry.name in self._used_folders:
            return True
        return self._answered.holds(entry.name, entry.signature)

    def _due_s(self, seen: _Sighting) -> float | None:
        """When the entry becomes claimable, on the monotonic clock; None: not at all, as it stands."""
        entry = seen.entry
        if entry.kind is Kind.ATTACHMENT or self._is_left_alone(entry):
            return None
        if entry.kind is Kind.SPECIAL:
            return seen.since_s
        settle_s = self._instance.settings.settle_s
        if entry.kind is Kind.FOLDER and entry.job_files == 0:
            patience_s = 0.0 if has_job_suffix(entry.name) else FOLDER_PATIENCE_S
            return seen.since_s + settle_s + patience_s
        return seen.since_s if seen.whole else seen.since_s + settle_s

    def _ready(self, now_s: float) -> list[Entry]:
        ready = []
        for seen in self._sightings.values():
            due_s = self._due_s(seen)
            if due_s is not None and now_s >= due_s:
                ready.append(seen.entry)
        self.has_more = len(ready) > CLAIMS_PER_TICK
        return sorted(ready, key=lambda entry: (entry.mtime_ns, entry.name))[:CLAIMS_PER_TICK]

    def _claim(self, entries: list[Entry], now_s: float) -> None:
        if not entries or self._disk_is_short():
            return
        arrived = {seen.entry.signature for seen in self._sightings.values() if self._lies_still(seen, now_s)}
        settle_s = self._instance.settings.settle_s
        claimed: list[Drop] = []
        for entry in entries:
            try:
                claim_id = self._claims.take(self._inbox / entry.name)
            except OSError as error:
                if error.errno in STORAGE_ERRORS:
                    self._complain("claim", f"The inbox cannot be emptied: {error.strerror}.")
                    break
                self._drops += self._answer_in_place(entry, error)
                continue
            del self._sightings[entry.name]
            drop = Drop(
                claim_id, self._claims, self._inbox, settle_s=settle_s, settled=entry.signature, arrived=arrived
            )
            claimed.append(drop)
        self._unsynced += claimed

    def _sync(self) -> None:
        """Nobody is told of a claim before it would survive a power cut; a failing disk is asked again."""
        if not self._unsynced:
            return
        try:
            self._claims.sync([drop.claim_id for drop in self._unsynced], self._inbox)
        except OSError as error:
            self._complain("sync", f"Claims in {self._instance.claimed_dir} cannot be made durable: {error.strerror}.")
            return
        self._troubles.pop("sync", None)
        self._drops += self._unsynced
        self._unsynced = []

    def _lies_still(self, seen: _Sighting, now_s: float) -> bool:
        return seen.whole or now_s - seen.since_s >= self._instance.settings.settle_s

    def _answer_in_place(self, entry: Entry, error: OSError) -> list[Drop]:
        """What cannot be moved is answered once, until it changes; what is gone needs no answer."""
        if error.errno in GONE_ERRORS:
            return []
        claim_id = self._claims.new_id()
        self._answered.remember(claim_id, entry.name, entry.signature)
        problem = refused_by_system(entry.name, error, verb="moved out of the inbox")
        return [
            Drop.refused(claim_id, self._claims, self._inbox, name=entry.name, mtime_ns=entry.mtime_ns, problem=problem)
        ]

    def _disk_is_short(self) -> bool:
        wanted = self._instance.settings.min_free_bytes
        for folder in (self._inbox, self._instance.state_dir):
            free = shutil.disk_usage(folder).free
            if free < wanted:
                self._complain("claim", f"Only {free:,} bytes are free for {folder}; min_free_bytes is {wanted:,}.")
                return True
        self._troubles.pop("claim", None)
        return False

    def _complain(self, step: str, reason: str) -> None:
        """One warning for one lasting trouble."""
        if step not in self._troubles:
            logger.warning("%s Nothing is taken in until that changes.", reason)
        self._troubles[step] = StorageError(reason)

    # ---- finishing ---------------------------------------------------------------------------------------------

    def _finished(self, now_s: float) -> list[ClaimedDrop]:
        """Drops whose attachments are here or given up; one that needs an unfinished earlier drop waits for it."""
        finished: list[ClaimedDrop] = []
        waiting: list[Drop] = []
        trouble = ""
        read_bytes = 0
        for drop in self._drops:
            if read_bytes > READ_BYTES_PER_TICK:
                self.has_more = True
                waiting.append(drop)
                continue
            before_bytes = drop.job_bytes
            try:
                claimed = drop.try_finish(now_s, earlier=waiting)
            except OSError as error:
                trouble = f"{printable_name(drop.name)} cannot be taken in: {error.strerror}."
                claimed = None
            read_bytes += drop.job_bytes - before_bytes
            if claimed is None:
                waiting.append(drop)
            else:
                self._used_folders |= {path.split("/")[0] for path in claimed.referenced if "/" in path}
                finished.append(claimed)
        self._drops = waiting
        if trouble:
            self._complain("finish", trouble)
        else:
            self._troubles.pop("finish", None)
        return finished

    # ---- orphans -----------------------------------------------------------------------------------------------

    def _move_orphans(self, wall_s: float) -> None:
        old_s = self._instance.settings.orphan_after_s
        moved = 0
        for seen in list(self._sightings.values()):
            entry = seen.entry
            is_spare = entry.kind is Kind.ATTACHMENT or (entry.kind is Kind.FOLDER and self._is_left_alone(entry))
            if not is_spare or wall_s - entry.ctime_s < old_s:
                continue
            moved += self._move_orphan(entry)
        if moved:
            fsync_folder(self._inbox)

    def _move_orphan(self, entry: Entry) -> bool:
        orphans = self._instance.orphans_dir
        try:
            orphans.mkdir(exist_ok=True)
            (self._inbox / entry.name).rename(free_path(orphans, entry.name))
        except OSError as error:
            if error.errno not in GONE_ERRORS:
                logger.debug("orphan %s stays: %s", printable_name(entry.name), error.strerror)
            return False
        crash_point("intake.orphan-moved")
        del self._sightings[entry.name]
        logger.info("%s was named by no job and moved to .orphans", printable_name(entry.name))
        return True


class _AnsweredInPlace:
    """Entries that could not be moved and were answered where they lie, kept in a file over restarts."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._signatures: dict[str, list[int]] = self._load()
        self._unconfirmed: dict[str, tuple[str, list[int]]] = {}

    def _load(self) -> dict[str, list[int]]:
        try:
            loaded = json.loads(self._path.read_bytes())
        except (OSError, ValueError):
            return {}  # absent or damaged: at worst an entry is answered once more
        return loaded if isinstance(loaded, dict) else {}

    def holds(self, name: str, signature: Signature) -> bool:
        """Whether the entry was answered already, as it stands."""
        return self._signatures.get(_key(name)) == _lasting(signature) or any(
            kept == (_key(name), _lasting(signature)) for kept in self._unconfirmed.values()
        )

    def remember(self, claim_id: str, name: str, signature: Signature) -> None:
        self._unconfirmed[claim_id] = (_key(name), _lasting(signature))

    def confirm(self, claim_id: str) -> None:
        """The answer lies in the outbox: from now on the entry is left alone, after a restart too."""
        kept = self._unconfirmed.pop(claim_id, None)
        if kept is not None:
            self._signatures[kept[0]] = kept[1]
            try:
                write_durably(self._path, json.dumps(self._signatures).encode())
            except OSError as error:
                logger.warning("%s cannot be written (%s): an answer may be repeated", self._path, error.strerror)


def _key(name: str) -> str:
    return ascii(name)


def _lasting(signature: Signature) -> list[int]:
    return list(signature[:5])  # a folder's tree hash differs from process to process
