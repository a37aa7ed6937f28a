"""A repository → a whole, verified model folder in the shared directory, which appears there by one rename.

This module touches the network and the disk. Files come into `.incoming/<slug>.download`; a killed download goes on
from there, at the byte it had reached and on the commit it had begun. The caller holds the model's lock.
"""

from __future__ import annotations

import fnmatch
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from models.errors import DownloadCorrupt, NoSpaceForModel, RepositoryNotFound, UnsupportedCheckpoint
from models.fetch.hub import CTRANSLATE2_WEIGHTS, Hub, RemoteFile, RemoteModel
from models.migrate.move_folder import SPARE_BYTES
from models.store.availability import Available, Partial, availability, is_whisper
from models.store.events import ModelEvent, OnEvent, ignore_events
from models.store.manifest import make_manifest, write_manifest, write_provenance
from models.store.shared_directory import INCOMING_FOLDER, download_folder_of, download_state_of
from registry.durable_files import crash_point, fsync_folder, rename_durably, sha256_of, write_durably
from registry.errors import StorageError

PROGRESS_EVERY_S = 5.0
PART_SUFFIX = ".part"


@dataclass
class _Meter:
    """Byte count of a download, reported not more often than every `every_s`."""

    model: str
    total_bytes: int
    on_event: OnEvent
    every_s: float
    clock: Callable[[], float] = time.monotonic
    done_bytes: int = 0
    _reported_s: float = field(default=float("-inf"), init=False)

    def add(self, more_bytes: int) -> None:
        self.done_bytes += more_bytes
        now_s = self.clock()
        if now_s - self._reported_s >= self.every_s or self.done_bytes == self.total_bytes:
            self._reported_s = now_s
            done_mb, total_mb = self.done_bytes / 1e6, self.total_bytes / 1e6
            self.on_event(
                ModelEvent(
                    kind="progress",
                    model=self.model,
                    message=f"{done_mb:.1f} of {total_mb:.1f} MB",
                    data={"done_bytes": self.done_bytes, "total_bytes": self.total_bytes},
                )
            )


def download_model(
    repository: str,
    folder: Path,
    *,
    environ: Mapping[str, str],
    revision: str | None = None,
    files: Sequence[str] = (),
    on_event: OnEvent = ignore_events,
    progress_every_s: float = PROGRESS_EVERY_S,
    hub: Hub | None = None,
) -> RemoteModel:
    """Fetch `repository` into `folder`, or complete a partial model there; returns the commit and files.

    Files already there that are right are taken over, not fetched. With `files`, patterns, only those that match one
    are fetched: the tokenizer of a repository whose weights nobody needs. Raises RepositoryNotFound, RepositoryGated,
    HubUnreachable, HubRefused, NoSpaceForModel, DownloadCorrupt, UnsupportedCheckpoint or StorageError; then
    nothing has changed at `folder`.
    """

    reported: set[str] = set()

    def on_retry(reason: str) -> None:
        if reason in reported:
            return  # every try at every file says the same while the network is down
        reported.add(reason)
        on_event(ModelEvent(kind="retry", model=repository, message=f"{reason} Trying again."))

    hub = hub or Hub(environ, on_retry=on_retry)
    remote = _look_up(hub, repository, folder, revision=revision)
    if files:
        wanted = tuple(file for file in remote.files if any(fnmatch.fnmatch(file.path, pattern) for pattern in files))
        remote = replace(remote, files=wanted)
    incoming = download_folder_of(folder)
    try:
        _prepare(remote, folder, incoming, is_part=bool(files))
        meter = _Meter(repository, remote.total_bytes, on_event, progress_every_s)
        _announce(remote, on_event)
        crash_point("models.download.begun")
        hashes = {file.path: _fetch_file(hub, remote, file, incoming, meter=meter) for file in remote.files}
        _finish(remote, folder, incoming, hashes=hashes, on_event=on_event)
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(f"{incoming} cannot be written: {error.strerror}.") from error
    return remote


def _look_up(hub: Hub, repository: str, folder: Path, *, revision: str | None) -> RemoteModel:
    """The commit to fetch: the one asked for, else the one of a begun download, else the newest."""
    begun = _begun_commit(folder, repository)
    if revision is None and begun is not None:
        try:
            return hub.look_up(repository, revision=begun)
        except RepositoryNotFound:
            shutil.rmtree(download_folder_of(folder), ignore_errors=True)  # that commit was withdrawn
    return hub.look_up(repository, revision=revision)


def _begun_commit(folder: Path, repository: str) -> str | None:
    if not download_folder_of(folder).is_dir():
        return None
    try:
        state: Any = json.loads(download_state_of(folder).read_bytes())
        return str(state["commit"]) if state["repository"] == repository else None
    except (OSError, ValueError, KeyError, TypeError):
        return None  # nothing was begun, or its record was torn: the files are checked by their hashes anyway


def _prepare(remote: RemoteModel, folder: Path, incoming: Path, *, is_part: bool) -> None:
    """Refuse what cannot work before a byte is fetched; then make the download folder."""
    paths = {file.path for file in remote.files}
    has_weights = CTRANSLATE2_WEIGHTS in paths or any(path.endswith(".safetensors") for path in paths)
    if not (("config.json" in paths and has_weights) or (is_part and paths)):
        hint = "Only repositories with config.json and safetensors weights (of Whisper, model.bin) can be used."
        raise UnsupportedCheckpoint(f"{remote.repository} holds no model that we can load.", hint=hint)
    for leftover in incoming.parent.glob(f"{folder.name}.*.removed"):
        shutil.rmtree(leftover, ignore_errors=True)
    if _begun_commit(folder, remote.repository) != remote.commit:
        shutil.rmtree(incoming, ignore_errors=True)
    incoming.mkdir(parents=True, exist_ok=True)
    _link_present_files(remote, folder, incoming)
    have_bytes = sum(path.stat().st_size for path in incoming.rglob("*") if path.is_file())
    needed_bytes = remote.total_bytes - have_bytes
    free_bytes = shutil.disk_usage(incoming).free
    if free_bytes < needed_bytes + SPARE_BYTES:
        hint = "Free some space, choose a quantised model, or a directory on a larger disk with --models-dir."
        raise NoSpaceForModel(
            f"{remote.repository} needs {needed_bytes} bytes more, and {folder.parent} has {free_bytes} free.",
            hint=hint,
        )
    state = {"repository": remote.repository, "commit": remote.commit, "total_bytes": remote.total_bytes}
    write_durably(download_state_of(folder), json.dumps(state, sort_keys=True).encode())


def _link_present_files(remote: RemoteModel, folder: Path, incoming: Path) -> None:
    """Link those files of a partial model at `folder` that are right, so that only the others are fetched."""
    for file in remote.files:
        present, target = folder / file.path, incoming / file.path
        if file.sha256 is None or target.exists() or present.is_symlink() or not present.is_file():
            continue
        if present.stat().st_size == file.size_bytes and sha256_of(present) == file.sha256:
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(present, target)


def _announce(remote: RemoteModel, on_event: OnEvent) -> None:
    on_event(
        ModelEvent(
            kind="download",
            model=remote.repository,
            message=f"Fetching {remote.repository} at {remote.commit[:12]}, {remote.total_bytes / 1e9:.2f} GB.",
            data={"revision": remote.commit, "total_bytes": remote.total_bytes, "files": len(remote.files)},
        )
    )


def _fetch_file(hub: Hub, remote: RemoteModel, file: RemoteFile, incoming: Path, *, meter: _Meter) -> str:
    """Bring one file, whole and right, into the download folder; returns its SHA-256."""
    target = incoming / file.path
    if target.is_file() and target.stat().st_size == file.size_bytes:
        digest = sha256_of(target)
        if file.sha256 in (None, digest):
            meter.add(file.size_bytes)
            return digest
        target.unlink()
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + PART_SUFFIX)
    for is_second in (False, True):
        resumed_bytes = part.stat().st_size if part.exists() else 0
        announced = hub.fetch(remote, file, part, on_bytes=meter.add)
        crash_point("models.download.fetched")
        digest = sha256_of(part)
        if announced in (None, digest):
            rename_durably(part, target)
            crash_point("models.download.file")
            return digest
        part.unlink()
        meter.add(-file.size_bytes)
        if not resumed_bytes or is_second:
            break
    hint = "Try again; if it stays so, the hub or something on the way to it serves a damaged file."
    raise DownloadCorrupt(
        f"{file.path} of {remote.repository} has SHA-256 {digest}, and the hub announced {announced}.", hint=hint
    )


def _finish(remote: RemoteModel, folder: Path, incoming: Path, *, hashes: Mapping[str, str], on_event: OnEvent) -> None:
    """Check the fetched model as a whole, write its records, and put it in its place."""
    _remove_unlisted(incoming, keep=hashes)
    state = availability(incoming)
    if isinstance(state, Available) and CTRANSLATE2_WEIGHTS in hashes and not is_whisper(incoming):
        state = Partial(("config.json",), ("config.json is not that of a Whisper model, and no other has model.bin",))
    if not isinstance(state, Available):
        problems = "; ".join(state.problems) if isinstance(state, Partial) else getattr(state, "reason", state.state)
        hint = "The repository itself is incomplete or of a kind that we cannot use; choose another."
        shutil.rmtree(incoming, ignore_errors=True)
        raise UnsupportedCheckpoint(f"{remote.repository} is no whole model: {problems}.", hint=hint)
    data = {"revision": remote.commit}
    on_event(ModelEvent(kind="verified", model=remote.repository, message="Every file is right.", data=data))
    write_provenance(incoming, repository=remote.repository, revision=remote.commit, source="download")
    crash_point("models.download.verified")
    write_manifest(incoming, make_manifest(incoming, model_id=remote.repository, hashes=hashes))
    crash_point("models.download.manifest")
    _publish(folder, incoming)
    download_state_of(folder).unlink(missing_ok=True)
    message = f"{remote.repository} at {remote.commit[:12]} was downloaded to {folder}."
    on_event(ModelEvent(kind="downloaded", model=remote.repository, message=message, data=data))


def _remove_unlisted(incoming: Path, *, keep: Mapping[str, str]) -> None:
    """Remove files of an interrupted attempt that are not of this commit; its manifest too, which comes last."""
    for path in sorted(incoming.rglob("*")):
        if path.is_file() and path.relative_to(incoming).as_posix() not in keep:
            path.unlink()


def _publish(folder: Path, incoming: Path) -> None:
    aside = incoming.parent / f"{folder.name}.{os.getpid()}.removed"
    if folder.exists():
        rename_durably(folder, aside)
        crash_point("models.download.set-aside")
    for path in incoming.rglob("*"):
        if path.is_dir():
            fsync_folder(path)
    fsync_folder(incoming)
    rename_durably(incoming, folder)
    crash_point("models.download.published")
    shutil.rmtree(aside, ignore_errors=True)


def tidy_records(directory: Path) -> None:
    """Remove records of downloads that were published by a process which died right after."""
    for record in (directory / INCOMING_FOLDER).glob("*.download.json"):
        if not record.with_suffix("").exists():  # the folder is made before its record, and renamed before it goes
            record.unlink(missing_ok=True)


def begun_downloads(directory: Path) -> list[Path]:
    """Folders of downloads in `directory` that were interrupted, or are running."""
    return sorted((directory / INCOMING_FOLDER).glob("*.download"))
