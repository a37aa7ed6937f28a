"""Looks at the inbox, one after another → which entries have settled, and when the others will.

Nothing here looks at the inbox; one small file remembers entries that were answered where they are.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from registry.durable_files import read_regular, write_durably
from runner.inbox.entries import Entry, Kind, Signature, has_job_suffix

logger = logging.getLogger(__name__)

FOLDER_PATIENCE_S = 10.0  # how long a folder without a job file may still get one
WRITTEN_PAUSE_S = 0.5  # after which a file that somebody has open for writing is looked at again
STILL_WRITTEN_S = 600.0  # how long a file that is still being written is awaited
ANSWERED = "intake-answered.json"  # in the state folder
CLAIMABLE = (Kind.JOB, Kind.VOICE, Kind.SPECIAL, Kind.UNNAMEABLE, Kind.FOLDER)


@dataclass
class Sighting:
    """An entry, and since when it has looked as it does."""

    entry: Entry
    since_s: float
    whole: bool  # proven by a rename: no need to wait
    written_since_s: float | None = None  # it has settled, and a program has it open for writing
    not_before_s: float = 0.0
    is_named: bool = False  # that it has settled was told


class Sightings:
    """Entries seen at the latest look, by name. Clocks are monotonic."""

    def __init__(self, *, settle_s: float, answered_path: Path) -> None:
        self.answered = AnsweredInPlace(answered_path)
        self.used_folders: set[str] = set()  # folders of which a job has named files
        self._settle_s = settle_s
        self._place: Signature = ()
        self._by_name: dict[str, Sighting] = {}
        self._temporary: dict[tuple[int, int], str] = {}  # inodes last seen under a temporary name

    def observe(self, entries: Sequence[Entry], *, moved: Collection[str], now_s: float, place: Signature = ()) -> None:
        """Take in one look; `moved` are names that entries got by a rename since the look before.

        `place` are values that decide whether anything can be moved out of the inbox.
        """
        self._place = place
        temporary = {entry.inode: entry.name for entry in entries if entry.kind is Kind.TEMPORARY}
        sightings: dict[str, Sighting] = {}
        for entry in entries:
            if entry.kind in (Kind.TEMPORARY, Kind.LITTER):
                continue
            seen = self._by_name.get(entry.name)
            renamed = entry.inode in self._temporary and entry.inode not in temporary
            if seen is None or seen.entry.signature != entry.signature:
                fresh = seen is None or seen.entry.inode != entry.inode
                whole = entry.name in moved or (renamed and fresh)
                sightings[entry.name] = Sighting(entry, now_s, whole)
            else:
                seen.whole = seen.whole or entry.name in moved
                sightings[entry.name] = seen
        self._by_name, self._temporary = sightings, temporary

    def forget(self, name: str) -> None:
        """The entry is not in the inbox any more."""
        del self._by_name[name]

    def leave_for_now(self, name: str, now_s: float) -> bool:
        """Put off an entry that a program has open for writing; returns whether this is the first time."""
        seen = self._by_name[name]
        is_news = seen.written_since_s is None
        seen.written_since_s = now_s if seen.written_since_s is None else seen.written_since_s
        seen.not_before_s = now_s + WRITTEN_PAUSE_S
        return is_news

    def remember_answer(self, claim_id: str, entry: Entry, *, place: Signature) -> None:
        """The entry is answered where it is; `answered.confirm` tells when that has been done."""
        self._place = place
        self.answered.remember(claim_id, entry.name, self._lasting(entry))

    def forget_all(self) -> None:
        self._by_name.clear()
        self._temporary.clear()

    def ready(self, now_s: float) -> list[Entry]:
        """Entries that can be claimed, in claim order."""
        dues = ((seen.entry, self._due_s(seen)) for seen in self._by_name.values())
        found = [entry for entry, due_s in dues if due_s is not None and now_s >= due_s]
        return sorted(found, key=lambda entry: (entry.mtime_ns, entry.name))

    def next_due_s(self) -> float | None:
        """The earliest moment at which an entry becomes claimable; None when none will."""
        return min((due_s for seen in self._by_name.values() if (due_s := self._due_s(seen)) is not None), default=None)

    def settled(self, now_s: float) -> set[Signature]:
        """Signatures of all entries that have settled, attachments included."""
        sightings = self._by_name.values()
        return {seen.entry.signature for seen in sightings if seen.whole or now_s - seen.since_s >= self._settle_s}

    def newly_settled(self, now_s: float) -> list[Entry]:
        """Entries that have settled since this was last asked."""
        news = [seen for seen in self._by_name.values() if not seen.is_named and now_s - seen.since_s >= self._settle_s]
        for seen in news:
            seen.is_named = True
        return [seen.entry for seen in news]

    def any_claimable(self) -> bool:
        """Whether an entry is ready to be claimed, or will be once it has settled."""
        waiting = (seen for seen in self._by_name.values() if seen.entry.kind in CLAIMABLE)
        return any(not self._is_left_alone(seen.entry) for seen in waiting if not self._is_never_finished(seen))

    def _is_never_finished(self, seen: Sighting) -> bool:
        return seen.written_since_s is not None and seen.not_before_s - seen.written_since_s > STILL_WRITTEN_S

    def spare(self) -> list[Entry]:
        """Attachments, and folders of attachments, that no job has claimed."""
        entries = [seen.entry for seen in self._by_name.values()]
        return [e for e in entries if e.kind is Kind.ATTACHMENT or (e.kind is Kind.FOLDER and self._is_left_alone(e))]

    def _is_left_alone(self, entry: Entry) -> bool:
        if entry.kind is Kind.FOLDER and entry.job_files == 0 and entry.name in self.used_folders:
            return True
        return self.answered.holds(entry.name, self._lasting(entry))

    def _lasting(self, entry: Entry) -> list[int]:
        return [*entry.signature, round(entry.ctime_s * 1000), *self._place]

    def _due_s(self, seen: Sighting) -> float | None:
        """When the entry becomes claimable; None: not as it is."""
        entry = seen.entry
        if entry.kind is Kind.ATTACHMENT or self._is_left_alone(entry):
            return None
        return max(seen.not_before_s, self._settled_s(seen))

    def _settled_s(self, seen: Sighting) -> float:
        entry = seen.entry
        if entry.kind is Kind.SPECIAL:
            return seen.since_s
        if entry.kind is Kind.FOLDER and entry.job_files == 0:
            patience_s = 0.0 if has_job_suffix(entry.name) else FOLDER_PATIENCE_S
            return seen.since_s + self._settle_s + patience_s
        return seen.since_s if seen.whole else seen.since_s + self._settle_s


class AnsweredInPlace:
    """Entries that could not be moved and were answered where they are, kept in a file over restarts."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._signatures: dict[str, list[int]] = self._load()
        self._unconfirmed: dict[str, tuple[str, list[int]]] = {}

    def _load(self) -> dict[str, list[int]]:
        try:
            loaded = json.loads(read_regular(self._path))
        except (OSError, ValueError):
            return {}  # absent or damaged: at worst an entry is answered once more
        return loaded if isinstance(loaded, dict) else {}

    def names(self, name: str) -> bool:
        """Whether an entry of this name was answered where it is, whatever it has become since."""
        return ascii(name) in self._signatures

    def holds(self, name: str, signature: list[int]) -> bool:
        """Whether the entry was answered already and has not changed since."""
        if not self._signatures and not self._unconfirmed:
            return False
        key = ascii(name)
        return self._signatures.get(key) == signature or (key, signature) in self._unconfirmed.values()

    def remember(self, claim_id: str, name: str, signature: list[int]) -> None:
        self._unconfirmed[claim_id] = (ascii(name), signature)

    def confirm(self, claim_id: str) -> None:
        """Leave the entry alone from now on, after a restart too: its answer is in the outbox."""
        kept = self._unconfirmed.pop(claim_id, None)
        if kept is not None:
            self._signatures[kept[0]] = kept[1]
            try:
                write_durably(self._path, json.dumps(self._signatures).encode())
            except OSError as error:
                logger.warning("%s cannot be written (%s): an answer may be repeated", self._path, error.strerror)
