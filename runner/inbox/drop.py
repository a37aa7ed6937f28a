"""One claim → the drop in it: a checked job with the digests of its files, or the reason why it is not a job."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pydantic

from registry.durable_files import crash_point, fsync_folder
from registry.errors import VoiceJobsError
from registry.voices.names import name_key
from runner.errors import AttachmentMissing, EntryRefused, StillArriving
from runner.exchange.voice_file_names import voice_in
from runner.inbox.attachments import (
    OUR_OWN_ERRORS,
    copy_below,
    opened_below,
    read_file,
    refused_by_system,
    sha256_below,
    signature_below,
)
from runner.inbox.claims import Claims
from runner.inbox.entries import VOICE_SUFFIXES, Signature, has_job_suffix, is_litter, is_utf8, signature_of
from runner.jobfile.parse import content_sha256, parse_job
from runner.jobfile.specs import ImportSpec, JobSpec
from runner.jobfile.syntax import MAX_FILE_BYTES
from runner.names import PRESET_NAMES, job_name_from, printable_name

STILL_WRITTEN_S = 600.0  # how long a file under a temporary name is awaited
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
    content_sha256: str = ""
    voice: str | None = None  # the name that an import's file gives its voice
    referenced: Mapping[str, str] = field(default_factory=dict)  # path as the job names it → SHA-256
    problem: VoiceJobsError | None = None

    @property
    def stem(self) -> str:
        """Name that a job without an `id` gets, before it is made unique."""
        return job_name_from(self.dropped_name)


class Drop:
    """Claim whose files are being read. `try_finish` is called until it returns the drop."""

    def __init__(
        self,
        claim_id: str,
        claims: Claims,
        inbox: Path,
        *,
        settle_s: float,
        settled: Signature | None = None,
        arrived: Collection[Signature] = frozenset(),
    ) -> None:
        """`settled` is the signature with which the entry settled; `arrived` holds those of its neighbours."""
        self.claim_id = claim_id
        self.problem: VoiceJobsError | None = None
        self.job_bytes = 0  # of its job file, once that has been read
        self._claims, self._inbox, self._settle_s = claims, inbox, settle_s
        self._settled = settled
        self._arrived = arrived
        self._seen: dict[str, tuple[Signature | None, float]] = {}
        self._spec: JobSpec | None = None
        self._job_path: Path | None = None
        self._path = dropped = claims.dropped(claim_id)
        self.name = dropped.name if dropped is not None else ""
        self._mtime_ns = dropped.lstat().st_mtime_ns if dropped is not None else 0

    @classmethod
    def refused(
        cls, claim_id: str, claims: Claims, inbox: Path, *, name: str, mtime_ns: int, problem: VoiceJobsError
    ) -> Drop:
        """Drop that could not even be claimed."""
        drop = cls(claim_id, claims, inbox, settle_s=0.0)
        drop.name, drop.problem, drop._mtime_ns = name, problem, mtime_ns
        return drop

    # ---- its job -----------------------------------------------------------------------------------------------

    def try_finish(self, now_s: float, *, earlier: Sequence[Drop] = ()) -> ClaimedDrop | None:
        """The drop, ready to be recorded; None while part of it is still being written.

        `earlier` are drops that are not complete themselves; a drop that needs one of them waits. Raises OSError.
        """
        try:
            if self.problem is None:
                if not self._is_whole(now_s):
                    return None
                self._open()
                if not self._attachments_are_whole(now_s) or any(self._needs(other) for other in earlier):
                    return None
                return self._claimed(self._take_attachments())
        except VoiceJobsError as problem:
            self.problem = problem
        return self._claimed({})

    def _claimed(self, referenced: Mapping[str, str]) -> ClaimedDrop:
        spec = self._spec if self.problem is None else None
        return ClaimedDrop(
            claim_id=self.claim_id,
            folder=self._claims.base_of(self.claim_id, self._path),
            dropped_name=self.name,
            job_path=self._job_path or self._voice_file(),
            mtime_ns=self._mtime_ns,
            spec=spec,
            content_sha256=content_sha256(spec, referenced) if spec is not None else "",
            voice=self._imported_voice() if spec is not None else None,
            referenced=referenced,
            problem=self.problem,
        )

    def _voice_file(self) -> Path | None:
        """Voice file that was dropped alone, in place of a job."""
        dropped = self._claims.dropped(self.claim_id)
        is_file = dropped is not None and stat.S_ISREG(dropped.lstat().st_mode)
        return dropped if is_file and self.name.casefold().endswith(VOICE_SUFFIXES) else None

    def _imported_voice(self) -> str | None:
        """Name in the file of an import that states none, so that jobs which speak with that voice wait for it."""
        if not isinstance(self._spec, ImportSpec) or self._spec.voice is not None:
            return None
        base = self._claims.base(self.claim_id) if self._job_path is not None else self._dropped().parent
        with opened_below(base, self._spec.file) as descriptor, os.fdopen(os.dup(descriptor), "rb") as file:
            return voice_in(file, file_name=self._spec.file)

    def _is_whole(self, now_s: float) -> bool:
        """False while a file that changed on its way into the claim has not settled there."""
        status = self._dropped().lstat()
        if self._settled is None or not stat.S_ISREG(status.st_mode):
            return True  # a dead runner saw it settle; a folder is claimed only once its whole tree has settled
        signature = signature_of(status)
        return signature == self._settled or self._has_settled("", signature, now_s)

    def _dropped(self) -> Path:
        if self._path is not None and os.path.lexists(self._path):
            return self._path
        if self._claims.are_there():
            raise EntryRefused(f"{printable_name(self.name)} vanished after it was claimed.")
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self._inbox))

    def _open(self) -> None:
        """Find and check the job, once."""
        if self._spec is not None:
            return
        dropped = self._dropped()
        kind = stat.S_IFMT(dropped.lstat().st_mode)
        if kind in SPECIAL_WORDS:
            raise EntryRefused(
                f"{printable_name(self.name)} is {SPECIAL_WORDS[kind]}; only files and folders are accepted.",
                hint="Copy the file itself into the inbox.",
            )
        if not is_utf8(self.name):
            raise EntryRefused(
                f"The name {printable_name(self.name)} is not UTF-8.", hint="Rename it and drop it again."
            )
        try:
            self._spec = self._spec_of(dropped, is_folder=kind == stat.S_IFDIR)
        except OSError as error:
            if error.errno in OUR_OWN_ERRORS:
                raise
            raise refused_by_system(self.name, error, verb="read") from error

    def _spec_of(self, dropped: Path, *, is_folder: bool) -> JobSpec:
        if not is_folder and self.name.casefold().endswith(VOICE_SUFFIXES):
            return _import_spec(self.name)
        job_path = job_file_in(dropped) if is_folder else dropped
        shown = f"{self.name}/{job_path.name}" if is_folder else self.name
        content = read_file(job_path, limit_bytes=MAX_FILE_BYTES)
        self._job_path, self.job_bytes = job_path, len(content)
        return parse_job(content, file_name=shown)

    # ---- its attachments ---------------------------------------------------------------------------------------

    def _attachments_are_whole(self, now_s: float) -> bool:
        whole = [self._attachment_is_whole(path, now_s) for path in self._awaited()]  # a list: each tick looks at all
        return all(whole)

    def _awaited(self) -> list[str]:
        """Referenced files that still have to be copied: those of a job file that was dropped alone."""
        assert self._spec is not None
        if not self._spec.references():
            return []
        base = self._claims.base(self.claim_id)
        if base == self._dropped() or (isinstance(self._spec, ImportSpec) and self._job_path is None):
            return []
        return [path for path in self._spec.references() if not (base / path).exists()]

    def _attachment_is_whole(self, path: str, now_s: float) -> bool:
        try:
            signature = signature_below(self._inbox, path)
        except StillArriving:
            if self._waited_s(path, now_s) < STILL_WRITTEN_S:
                return False
            raise
        except AttachmentMissing:
            if self._waited_s(path, now_s) < self._settle_s:
                return False  # the same program may write it next
            raise
        return signature in self._arrived or self._has_settled(path, signature, now_s)

    def _waited_s(self, path: str, now_s: float) -> float:
        _, since_s = self._seen.setdefault(f"missing {path}", (None, now_s))
        return now_s - since_s

    def _has_settled(self, path: str, signature: Signature, now_s: float) -> bool:
        seen, since_s = self._seen.get(path, (None, now_s))
        if seen != signature:
            self._seen[path] = (signature, now_s)
            return self._settle_s == 0
        return now_s - since_s >= self._settle_s

    def _take_attachments(self) -> dict[str, str]:
        assert self._spec is not None
        if self._job_path is None:  # a voice file that was dropped alone
            return {self.name: sha256_below(self._dropped().parent, self.name)}
        if not self._spec.references():
            return {}
        base = self._claims.base(self.claim_id)
        awaited = self._awaited()
        digests = {path: copy_below(self._inbox, path, base / path) for path in awaited}
        if awaited:
            for folder in {(base / path).parent for path in awaited} | {base, base.parent}:
                fsync_folder(folder)
            crash_point("intake.attachments-copied")
        for path in self._spec.references():
            if path not in digests:
                digests[path] = sha256_below(base, path)
        return digests

    # ---- how drops depend on each other ------------------------------------------------------------------------

    def _needs(self, earlier: Drop) -> bool:
        """Whether this drop must be recorded after `earlier`, which is not complete yet."""
        if earlier._spec is None:
            return True  # not even read yet
        assert self._spec is not None
        needed, voice = self._spec.names_needed(), earlier._spec.voice_made()
        if voice is None and isinstance(earlier._spec, ImportSpec) and needed - set(PRESET_NAMES):
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
    """Job file at the top of a dropped folder: job.toml or job.json, else the only one."""
    names = sorted(name for name in os.listdir(folder) if has_job_suffix(name) and not is_litter(name))  # noqa: PTH208
    preferred = [name for name in names if name.casefold() in ("job.toml", "job.json")]
    chosen = preferred or names
    shown = printable_name(folder.name)
    if not chosen:
        raise EntryRefused(f"The folder {shown} has no job file.", hint="Put a job.toml or job.json at its top.")
    if len(chosen) > 1:
        listed = ", ".join(map(printable_name, chosen[:5]))
        raise EntryRefused(f"The folder {shown} has several job files: {listed}.", hint="Name one of them job.toml.")
    return folder / chosen[0]
