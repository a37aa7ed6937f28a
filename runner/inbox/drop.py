"""One claim → the drop in it: a checked job with the digests of its files, or the reason why it is not a job."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

import pydantic

from registry.durable_files import crash_point, open_regular, read_regular
from registry.errors import VoiceJobsError
from registry.voices.names import name_key
from runner.errors import AttachmentMissing, EntryRefused, StillArriving
from runner.exchange.voice_file_names import voice_in
from runner.held_folders import Folder, held_inside, names_in
from runner.inbox.attachments import OUR_OWN_ERRORS, Copy, look_below, read_in, refused_by_system
from runner.inbox.claims import Claims
from runner.inbox.entries import (
    VOICE_SUFFIXES,
    Entry,
    Signature,
    files_below,
    has_job_suffix,
    is_litter,
    is_utf8,
    signature_of,
    tree_signature,
)
from runner.inbox.job_reader import JobReader, ReadJob
from runner.inbox.line_texts import JudgedTexts, size_of_texts
from runner.inbox.open_files import OpenFiles
from runner.inbox.sightings import STILL_WRITTEN_S
from runner.jobfile.parse import content_sha256
from runner.jobfile.specs import ImportSpec, JobSpec, SynthesizeSpec
from runner.jobfile.syntax import MAX_FILE_BYTES
from runner.names import PRESET_NAMES, job_name_from, printable_name

PRESETS = frozenset(PRESET_NAMES)
HEAD_BYTES = 4_096  # of a job file, where its kind is most often
_SPEAKS = re.compile(rb"""\bkind["']?\s*[=:]\s*["']synthesize["']""")
UNREAD_PATIENCE_S = 10.0  # how long a claimed drop that cannot be read yet holds up later ones
SPECIAL_WORDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@dataclass(frozen=True, kw_only=True)
class ClaimedDrop:
    """Drop that was claimed and read. Exactly one of `spec` and `problem` is set."""

    claim_id: str
    folder: Path  # the job's paths are relative to it; it holds the `referenced` files
    dropped_name: str  # as the file system gave it; `printable_name` shows it
    job_path: Path | None  # the job or voice file as it was dropped; None for a link, a device, …
    mtime_ns: int
    spec: JobSpec | None = None
    spec_json: str = ""  # canonical
    content_sha256: str = ""
    voice: str | None = None  # the name that an import's file gives its voice
    referenced: Mapping[str, str] = field(default_factory=dict)  # path as the job names it → SHA-256
    problem: VoiceJobsError | None = None
    unspeakable: BaseException | None = None  # why the texts of a checked job cannot be spoken
    texts: JudgedTexts | None = None

    @property
    def stem(self) -> str:
        """Name that a job without an `id` gets, before it is made unique."""
        return job_name_from(self.dropped_name)


class Drop:
    """Claim whose files are being read and copied. `try_finish` is called until it returns the drop."""

    def __init__(
        self,
        claim_id: str,
        claims: Claims,
        inbox: Path,
        *,
        open_files: OpenFiles,
        reader: JobReader,
        settle_s: float,
        entry: Entry | None = None,
        arrived: Collection[Signature] = frozenset(),
    ) -> None:
        """`entry` is what was claimed, as it settled; `arrived` holds the signatures of its neighbours."""
        self.claim_id = claim_id
        self.problem: VoiceJobsError | None = None
        self.job_bytes = 0  # of its job file, once that has been read
        self._claims, self._inbox, self._settle_s = claims, inbox, settle_s
        self._copies, self._place = claims.copies, claims.folder(claim_id)
        self._open_files = open_files
        self._settled = entry.signature if entry is not None else None
        self._arrived = arrived
        self._seen: dict[str, tuple[Signature | None, float]] = {}
        self._reader = reader
        self._reading: Future[ReadJob] | None = None
        self._job: ReadJob | None = None
        self._judging: Future[JudgedTexts | None] | None = None
        self._seems_to_speak = False
        self._referenced: dict[str, str] = {}  # copied so far, with their SHA-256
        self._copy: Copy | None = None
        self._is_folder = False
        self.name = entry.name if entry is not None else claims.dropped(claim_id) or ""
        if entry is not None:
            self._mtime_ns = entry.mtime_ns
        else:
            self._mtime_ns = claims.status(claim_id, self.name).st_mtime_ns if self.name else 0

    @classmethod
    def refused(
        cls,
        claim_id: str,
        claims: Claims,
        inbox: Path,
        *,
        open_files: OpenFiles,
        reader: JobReader,
        name: str,
        mtime_ns: int,
        problem: VoiceJobsError,
    ) -> Drop:
        """Drop that could not even be claimed."""
        drop = cls(claim_id, claims, inbox, open_files=open_files, reader=reader, settle_s=0.0)
        drop.name, drop.problem, drop._mtime_ns = name, problem, mtime_ns
        return drop

    @property
    def is_copying(self) -> bool:
        """Whether a long file is being copied, so that the next try is useful at once."""
        return self._copy is not None

    @property
    def is_being_read(self) -> bool:
        """Whether a thread reads its job file, or its texts."""
        return self._reading is not None or (self._judging is not None and not self._judging.done())

    @property
    def _spec(self) -> JobSpec | None:
        return self._job.spec if self._job is not None else None

    # ---- its job -----------------------------------------------------------------------------------------------

    def try_finish(self, now_s: float, *, earlier: Sequence[Drop] = ()) -> ClaimedDrop | None:
        """The drop, ready to be recorded once `Copies.sync` has been called; None while part of it is missing.

        `earlier` are drops that are not complete themselves; a drop that needs one of them waits. Raises OSError.
        """
        try:
            if self.problem is None:
                if not self._is_read(now_s) or not self._attachments_are_whole(now_s):
                    return None
                if any(self._needs(other, now_s) for other in earlier) or not self._are_copied(now_s):
                    return None
                if not self._is_judged():
                    return None
                self._note_other_files()
                return self._claimed()
        except VoiceJobsError as problem:
            self.problem = problem
        return self._claimed()

    def _claimed(self) -> ClaimedDrop:
        job, referenced = (self._job, self._referenced) if self.problem is None else (None, {})
        judging = self._judging if job is not None else None
        unspeakable = judging.exception() if judging is not None else None
        return ClaimedDrop(
            claim_id=self.claim_id,
            folder=self._copies.files(self.claim_id),
            dropped_name=self.name,
            job_path=self._job_path(),
            mtime_ns=self._mtime_ns,
            spec=job.spec if job is not None else None,
            spec_json=job.spec_json if job is not None else "",
            content_sha256=content_sha256(job.spec_json, referenced) if job is not None else "",
            voice=self._imported_voice() if job is not None else None,
            referenced=referenced,
            problem=self.problem,
            unspeakable=unspeakable,
            texts=judging.result() if judging is not None and unspeakable is None else None,
        )

    def _job_path(self) -> Path | None:
        """Copy of the job file, or of a voice file that was dropped alone, in place of a job."""
        voice_file = self._copies.files(self.claim_id) / self.name
        is_voice = self.name.casefold().endswith(VOICE_SUFFIXES) and voice_file.is_file()
        return voice_file if is_voice else self._copies.job_file(self.claim_id)

    def _imported_voice(self) -> str | None:
        """Name in the file of an import that states none, so that jobs which speak with that voice wait for it."""
        if not isinstance(self._spec, ImportSpec) or self._spec.voice is not None:
            return None
        with open_regular(self._copies.files(self.claim_id) / self._spec.file) as file:
            return voice_in(file, file_name=self._spec.file)

    def _is_read(self, now_s: float) -> bool:
        """Find, check and copy the job file, once; false while what was dropped is still being written."""
        if self._reading is None and self._job is None:
            self._begin_reading(now_s)
        if self._reading is not None and self._reading.done():
            reading, self._reading = self._reading, None
            self._job = reading.result()
        return self._job is not None

    def _is_judged(self) -> bool:
        """Have the texts of a job that speaks read, once; false while a thread reads them."""
        if not isinstance(self._spec, SynthesizeSpec):
            return True
        if self._judging is None:
            folder = self._copies.files(self.claim_id)
            size = size_of_texts(self._spec, folder=folder)
            if not self._reader.has_room_for(size):
                return False
            self._judging = self._reader.judge(self._spec, folder=folder, size_bytes=size)
        return self._judging.done()

    def _begin_reading(self, now_s: float) -> None:
        status = self._status()
        kind = stat.S_IFMT(status.st_mode)
        if kind in SPECIAL_WORDS:
            raise EntryRefused(
                f"{printable_name(self.name)} is {SPECIAL_WORDS[kind]}; only files and folders are accepted.",
                hint="Copy the file itself into the inbox.",
            )
        if not is_utf8(self.name):
            raise EntryRefused(
                f"The name {printable_name(self.name)} is not UTF-8.", hint="Rename it and drop it again."
            )
        self._is_folder = kind == stat.S_IFDIR
        copied = self._copies.job_file(self.claim_id)
        if not self._is_folder and self.name.casefold().endswith(VOICE_SUFFIXES):
            with self._place.held() as place:
                if self._is_whole(status, now_s, place):
                    self._job = ReadJob.of(_import_spec(self.name))
        elif copied is not None:  # by a runner that died, or the reader had no room
            if self._reader.has_room_for(copied.stat().st_size):
                self._read(copied.name, read_regular(copied))
        elif (found := self._job_file(status, now_s)) is not None:
            self._copies.keep_job_file(self.claim_id, *found)  # its disk's trouble is not this job's
            if self._reader.has_room_for(len(found[1])):
                self._read(*found)

    def _read(self, name: str, content: bytes) -> None:
        self.job_bytes = len(content)
        self._seems_to_speak = _SPEAKS.search(content, 0, HEAD_BYTES) is not None
        self._reading = self._reader.read(content, file_name=f"{self.name}/{name}" if self._is_folder else self.name)

    def _job_file(self, status: os.stat_result, now_s: float) -> tuple[str, bytes] | None:
        """Name and bytes of the job file; None while what was dropped is still being written."""
        try:
            with self._place.held() as place:
                if not self._is_whole(status, now_s, place):
                    return None
                if not self._is_folder:
                    return self.name, read_in(self.name, self.name, limit_bytes=MAX_FILE_BYTES, dir_fd=place)
                with held_inside(self.name, place) as folder:
                    name = chosen_job_file(names_in(folder), folder=self.name)
                    return name, read_in(name, name, limit_bytes=MAX_FILE_BYTES, dir_fd=folder)
        except StillArriving as still:
            self._still_waits("written", now_s, still)
            return None
        except OSError as error:
            if error.errno in OUR_OWN_ERRORS:
                raise
            raise refused_by_system(self.name, error, verb="read") from error

    def _status(self) -> os.stat_result:
        try:
            return self._claims.status(self.claim_id, self.name)
        except FileNotFoundError:
            if self._claims.are_there():
                raise EntryRefused(f"{printable_name(self.name)} vanished after it was claimed.") from None
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self._inbox)) from None

    def _is_whole(self, status: os.stat_result, now_s: float, place: int) -> bool:
        """False while what was claimed is open for writing, or changed on its way and has not settled again."""
        written = self._open_files.written_in(place, self.name)
        if written is not None:
            problem = StillArriving(f"{printable_name(written)} is open for writing since {STILL_WRITTEN_S:.0f} s.")
            self._still_waits("written", now_s, problem)
            return False
        if self._settled is None:
            return True  # a dead runner saw it settle
        signature, settled = signature_of(status), self._settled
        if stat.S_ISDIR(status.st_mode):  # of which a rename changes the times on some disks
            signature, settled = tree_signature(self.name, dir_fd=place).signature, settled[-2:]
        return signature == settled or self._has_settled("", signature, now_s)

    def _still_waits(self, for_what: str, now_s: float, problem: StillArriving) -> None:
        """Raise `problem` once it has been waited for long enough."""
        if self._waited_s(for_what, now_s) >= STILL_WRITTEN_S:
            raise problem

    # ---- its attachments ---------------------------------------------------------------------------------------

    def _attachments_are_whole(self, now_s: float) -> bool:
        whole = [self._attachment_is_whole(path, now_s) for path in self._awaited()]  # a list: each tick looks at all
        return all(whole)

    def _awaited(self) -> list[str]:
        """Files in the inbox that still have to be copied: those that a job file which was dropped alone names."""
        assert self._spec is not None
        missing = [path for path in self._spec.references() if path not in self._referenced]
        if not missing or len(sources := self._claims.sources(self.claim_id, self.name)) == 1:
            return []
        before = sources[0].path  # copied by the version before
        copies = self._copies.files(self.claim_id)
        return [path for path in missing if not (copies / path).exists() and not (before / path).exists()]

    def _attachment_is_whole(self, path: str, now_s: float) -> bool:
        try:
            signature = look_below(Folder(self._inbox), path, is_written=self._open_files.is_written)
        except StillArriving as still:
            self._still_waits(f"missing {path}", now_s, still)
            return False
        except AttachmentMissing:
            if self._waited_s(f"missing {path}", now_s) < self._settle_s:
                return False  # the same program may write it next
            raise
        if signature is None:
            problem = StillArriving(f"{printable_name(path)} is still open for writing after {STILL_WRITTEN_S:.0f} s.")
            self._still_waits(f"missing {path}", now_s, problem)
            return False
        return signature in self._arrived or self._has_settled(path, signature, now_s)

    def _waited_s(self, for_what: str, now_s: float) -> float:
        _, since_s = self._seen.setdefault(for_what, (None, now_s))
        return now_s - since_s

    def _has_settled(self, path: str, signature: Signature, now_s: float) -> bool:
        seen, since_s = self._seen.get(path, (None, now_s))
        if seen != signature:
            self._seen[path] = (signature, now_s)
            return self._settle_s == 0
        return now_s - since_s >= self._settle_s

    def _are_copied(self, now_s: float) -> bool:
        """Copy what the job names, a piece each time; false while there is more, or a file changed meanwhile."""
        assert self._spec is not None
        for path in self._spec.references():
            if path in self._referenced:
                continue
            self._copy = self._copy or self._copy_of(path)
            try:
                if not self._copy.step():
                    return False
            except StillArriving as problem:
                self._copy = None
                self._still_waits(f"missing {path}", now_s, problem)
                return False
            self._referenced[path], self._copy = self._copy.sha256, None
            crash_point("intake.attachments-copied")
        return True

    def _copy_of(self, path: str) -> Copy:
        copies = self._copies.make_files(self.claim_id)
        if (copies / path).exists():  # by a runner that died
            return Copy(Folder(copies), path)
        *before, source = self._claims.sources(self.claim_id, self.name)
        folder = next((each for each in before if (each.path / path).exists()), source)
        return Copy(folder, path, Folder(copies), is_written=self._open_files.is_written)

    def _note_other_files(self) -> None:
        """Remember what else lies in a dropped folder, so that what comes into it later is not deleted with it."""
        if not self._is_folder:
            return
        job_file, copies = self._copies.job_file(self.claim_id), self._copies.files(self.claim_id)
        with self._place.held() as place:
            found = {path: status.st_size for path, status, _ in files_below(self.name, dir_fd=place)}
        known = job_file.name if job_file is not None else ""
        others = {path: size for path, size in found.items() if path != known and not (copies / path).is_file()}
        self._copies.keep_others(self.claim_id, others)

    # ---- how drops depend on each other ------------------------------------------------------------------------

    def _needs(self, earlier: Drop, now_s: float) -> bool:
        """Whether this drop must be recorded after `earlier`, which is not complete yet."""
        assert self._spec is not None and self._job is not None
        needed = self._job.names_needed
        if earlier._spec is None:  # not even read yet; one that somebody goes on writing holds nobody up
            names_voices = bool(needed - PRESETS) and not earlier._seems_to_speak  # else it makes none
            may_need = names_voices or self._spec.id is not None
            return may_need and earlier._waited_s("read", now_s) < UNREAD_PATIENCE_S
        voice = earlier._spec.voice_made()
        if voice is None and isinstance(earlier._spec, ImportSpec) and needed - PRESETS:
            return True  # the voice's name is in a file that is still arriving
        made = {name_key(name) for name in (earlier._spec.id or job_name_from(earlier.name), voice) if name}
        same_id = self._spec.id is not None and name_key(self._spec.id) in made
        return same_id or bool(made & needed)


def _import_spec(name: str) -> ImportSpec:
    try:
        return ImportSpec(kind="import", file=name)
    except pydantic.ValidationError:
        raise EntryRefused(f"The file name {printable_name(name)} cannot be used.", hint="Rename the file.") from None


def job_file_in(folder: Path) -> Path:
    """Job file at the top of a folder: job.toml or job.json, else the only one."""
    return folder / chosen_job_file(os.listdir(folder), folder=folder.name)  # noqa: PTH208 - names alone


def chosen_job_file(names: Sequence[str], *, folder: str) -> str:
    """As `job_file_in`, of the names at its top. Raises EntryRefused."""
    names = sorted(name for name in names if has_job_suffix(name) and not is_litter(name))
    preferred = [name for name in names if name.casefold() in ("job.toml", "job.json")]
    chosen = preferred or names
    shown = printable_name(folder)
    if not chosen:
        raise EntryRefused(f"The folder {shown} has no job file.", hint="Put a job.toml or job.json at its top.")
    if len(chosen) > 1:
        listed = ", ".join(map(printable_name, chosen[:5]))
        raise EntryRefused(f"The folder {shown} has several job files: {listed}.", hint="Name one of them job.toml.")
    return chosen[0]
