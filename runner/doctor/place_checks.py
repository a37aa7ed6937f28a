"""Where an instance keeps its things → findings about folders, rights, disks and what is in the way."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from models.errors import InvalidPath
from models.named_paths import home_of, kind_of, status_of
from registry.durable_files import is_folder_locked
from registry.storage.connection import WRITABLE_AGAIN
from registry.storage.identity import ROOT_MARK, id_beside, known_id
from runner.config.instance import Instance, unwritable
from runner.config.logs import LOG_FILE, SERVER_LOG_FILE
from runner.config.settings import SETTINGS_FILE
from runner.doctor.findings import NOTE, OK, PROBLEM, WARNING, Checks, Found

MORE_SPACE = "Free some space; `voicejobs jobs prune --older-than 30d` trims the outbox."
NETWORK_FILE_SYSTEMS = (
    "nfs", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "afpfs", "webdav", "davfs", "9p", "sshfs", "fuse.sshfs",
    "fuse.rclone", "fuse.s3fs", "ceph", "glusterfs", "fuse.glusterfs", "lustre", "afs", "vboxsf", "prl_fs", "virtiofs",
)  # fmt: skip
# macOS denies launchd agents these folders unless a person agrees.
GUARDED_FOLDERS = ("Documents", "Desktop", "Downloads", "Library/Mobile Documents", "Library/CloudStorage")


def _folders(instance: Instance) -> Found:
    is_known = known_id(instance.database_path, instance.root) is not None
    never_ran = not instance.state_dir.exists() and not is_known
    for name, folder in (("inbox", instance.inbox), ("outbox", instance.outbox), ("state_dir", instance.state_dir)):
        try:
            status = status_of(folder)
        except InvalidPath as error:
            yield PROBLEM, f"{name}: {error.message}", error.hint or _aside(folder)
            continue
        if status is not None and not folder.is_dir():
            yield (
                PROBLEM,
                f"{name}: {folder} is {kind_of(status) or 'a file'}, where a folder is needed.",
                _aside(folder),
            )
        elif status is None and never_ran and instance.holds(folder):
            yield NOTE, f"{name}: {folder} does not exist yet; the first run creates it.", ""
        elif status is None and (name == "state_dir" or not instance.holds(folder)):
            yield PROBLEM, f"{name}: {folder} does not exist.", f"Mount its disk, or correct {name} in {SETTINGS_FILE}."
        elif status is None:
            yield PROBLEM, f"{name}: {folder} does not exist.", "`voicejobs run` creates it again."
        elif unwritable(folder) is not None or not os.access(folder, os.R_OK):
            yield PROBLEM, f"{name}: {folder} cannot be read and written.", _access_to(folder)
        else:
            yield OK, f"{name}: {folder}", ""


def _access_to(folder: Path) -> str:
    is_read_only = os.statvfs(folder).f_flag & os.ST_RDONLY
    return WRITABLE_AGAIN if is_read_only else "Give this user access to it (chmod, chown)."


def _inside(instance: Instance) -> Found:
    """Findings about things of the wrong kind where the instance keeps its own."""
    named = (instance.inbox, instance.outbox, instance.state_dir)
    folders = [path for path in instance.own_folders if path not in named]
    database = instance.database_path
    files = (
        *(database.with_name(f"{database.name}{end}") for end in ("-wal", "-shm")),
        instance.lock_path, instance.logs_dir / LOG_FILE, instance.logs_dir / SERVER_LOG_FILE,
        instance.logs_dir / "engine.log", instance.logs_dir / "listen.log",
        id_beside(database), instance.root / ROOT_MARK,
    )  # fmt: skip
    is_sound = True
    for path, wanted in (*((path, "folder") for path in folders), *((path, "file") for path in files)):
        try:
            status = path.stat() if path.is_symlink() or path.exists() else None
        except OSError as error:
            is_sound = False
            yield PROBLEM, f"{path}: {error.strerror}.", _aside(path)
            continue
        if status is not None and not (stat.S_ISDIR if wanted == "folder" else stat.S_ISREG)(status.st_mode):
            is_sound = False
            yield PROBLEM, f"{path} is {kind_of(status) or 'a file'}, where a {wanted} is needed.", _aside(path)
    for path in folders:
        if unwritable(path) is not None:
            is_sound = False
            yield PROBLEM, f"{path} cannot be written to.", _access_to(path)
    for path, kind in _neither_file_nor_folder(instance.claim_copies_dir):
        is_sound = False
        yield PROBLEM, f"{path} is {kind}, where files of jobs are kept.", _aside(path)
    if is_sound:
        yield OK, "its folders are folders that can be written to, and its files are files.", ""


def _neither_file_nor_folder(folder: Path) -> Iterator[tuple[Path, str]]:
    """Pipes, devices and links below a folder in which there are none, with their kind."""
    for parent, folders, files in os.walk(folder):
        for path in (Path(parent, name) for name in (*folders, *files)):
            with contextlib.suppress(OSError):
                mode = path.lstat().st_mode
                if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                    yield path, "a link" if stat.S_ISLNK(mode) else kind_of(path.lstat()) or "no file"


def _aside(path: Path) -> str:
    """Remedy for something in the way; it may be of use to somebody."""
    return f"Move it away: mv {shlex.quote(str(path))} {shlex.quote(f'{path}.moved')}"


def _owner(instance: Instance) -> Found:
    """Findings about another instance's runner in the same inbox or outbox, which only shows while ours rests."""
    if instance.runner_is_active():
        yield OK, "inbox and outbox belong to this instance's runner.", ""
        return
    for name, folder in (("inbox", instance.inbox), ("outbox", instance.outbox)):
        if is_folder_locked(folder):
            remedy = f"Give each instance an {name} of its own in {instance.settings_path}, or stop the other runner."
            yield PROBLEM, f"the runner of another instance works on the {name} {folder}.", remedy
        else:
            yield OK, f"no other runner works on the {name}.", ""


def _local_disk(instance: Instance) -> Found:
    kind = file_system_of(instance.state_dir)
    if kind in NETWORK_FILE_SYSTEMS:
        message = f"state_dir {instance.state_dir} is on {kind}; SQLite needs the locks of a local disk."
        yield PROBLEM, message, "Set state_dir to a folder on a local disk; inbox and outbox may stay where they are."
    else:
        yield OK, f"the database is on {kind or 'a local disk'}.", ""
    if (inbox_kind := file_system_of(instance.inbox)) in NETWORK_FILE_SYSTEMS and instance.settings.watch_events:
        remedy = "Nothing; watch_events = false hides this note."
        yield (
            NOTE,
            f"the inbox is on {inbox_kind}: drops from other machines cause no events and are found by scans.",
            remedy,
        )


def file_system_of(path: Path) -> str:
    """Type of the file system that holds `path`, as the system calls it; "" when unknown."""
    import psutil

    real = Path(os.path.realpath(path))
    best, kind = "", ""
    for part in psutil.disk_partitions(all=True):
        if real.is_relative_to(part.mountpoint) and len(part.mountpoint) >= len(best):
            best, kind = part.mountpoint, part.fstype
    return kind.casefold()


def _free_space(instance: Instance) -> Found:
    wanted = instance.settings.min_free_bytes
    for folder in filter(Path.is_dir, (instance.inbox, instance.outbox, instance.state_dir)):
        free = shutil.disk_usage(folder).free
        if free < wanted:
            remedy = f"{MORE_SPACE} Or lower min_free_bytes."
            yield PROBLEM, f"{folder}: {free:,} bytes free, {wanted:,} wanted: nothing is claimed.", remedy
        elif free < 4 * wanted:
            yield WARNING, f"{folder}: only {free:,} bytes free.", MORE_SPACE
        else:
            yield OK, f"{folder}: {free / 1e9:.1f} GB free.", ""


def _guarded_folder(instance: Instance) -> Found:
    if sys.platform != "darwin":
        yield OK, "only macOS keeps services out of folders.", ""
        return
    for name in GUARDED_FOLDERS:
        if guarded_by(instance.root, home_of(os.environ)) == name:
            yield (
                WARNING,
                f"the instance is in ~/{name}, which launchd may not read.",
                "Move it, for example to ~/voices.",
            )
            return
    yield OK, "launchd may read the instance.", ""


def guarded_by(root: Path, home: Path) -> str | None:
    """Guarded folder of macOS that contains `root`."""
    return next((name for name in GUARDED_FOLDERS if root.resolve().is_relative_to((home / name).resolve())), None)


CHECKS: Checks = {
    "folders": ("inbox, outbox and state folder exist and can be written to", _folders),
    "inside": ("what the instance keeps in them is of the right kind", _inside),
    "owner": ("no other instance's runner works on the inbox or outbox", _owner),
    "local-disk": ("the database is on a local disk", _local_disk),
    "free-space": ("more than min_free_bytes are free", _free_space),
    "guarded-folder": ("on macOS: not in Documents, Desktop, Downloads or iCloud", _guarded_folder),
}
