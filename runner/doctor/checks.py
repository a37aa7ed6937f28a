"""An instance and its machine → findings, each with a remedy. Reads, and changes nothing that lasts.

Every check is a function that yields findings; `ok` is a finding too, so that people see what was checked.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from models.engine_kinds import DRAFT, HIBARI, QWEN3_TTS, kind_of_model
from models.hardware.blas import package_version
from registry.errors import VoiceJobsError
from registry.jobs.lists import newest_claim_s
from registry.storage.connection import RESTORE_DAMAGED, WRITABLE_AGAIN
from registry.storage.database import Database
from registry.storage.identity import check_kind, check_not_lost, known_id
from runner.config.instance import Instance
from runner.doctor import engine_checks
from runner.doctor.findings import NOTE, OK, PROBLEM, WARNING, Finding, Found
from runner.doctor.hook_checks import HOOK_CHECKS
from runner.doctor.inbox_checks import INBOX_CHECKS
from runner.scheduling.pronunciation_file import load_pronunciations
from runner.text_format import counted
from runner.version import VERSION

RESTORE_OBJECTS = "Restore a backup: `voicejobs restore --replace FILE`. `voicejobs voices fsck` names every one."
MORE_SPACE = "Free some space; `voicejobs jobs prune --older-than 30d` trims the outbox."
BUILT_AFTER_S = 1_767_225_600  # 2026-01-01: a clock before that is wrong
NETWORK_FILE_SYSTEMS = (
    "nfs", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "afpfs", "webdav", "davfs", "9p", "sshfs", "fuse.sshfs",
    "fuse.rclone", "fuse.s3fs", "ceph", "glusterfs", "fuse.glusterfs", "lustre", "afs", "vboxsf", "prl_fs", "virtiofs",
)  # fmt: skip
# macOS denies launchd agents these folders unless a person agrees.
GUARDED_FOLDERS = ("Documents", "Desktop", "Downloads", "Library/Mobile Documents", "Library/CloudStorage")
ENGINE_PACKAGES = {
    DRAFT: ("eSpeak NG through ", "espeakng-loader", "pip install espeakng-loader (GPL-3), or make venv"),
    HIBARI: ("natural English by ", "hibari-tts", "pip install hibari-tts, or make venv"),
    QWEN3_TTS: ("", "mlx", "Install the extra cpu or cuda: make venv"),
}
PACKAGES = ("mlx", "numpy", "pydantic", "sqlmodel", "soundfile", "soxr", "tokenizers", "huggingface_hub", "watchdog")


def examine(instance: Instance, *, engine: bool = False) -> list[Finding]:
    """Run every check, and with `engine` those that start engines and compute."""
    findings: list[Finding] = []
    for name, (_, check) in CHECKS.items():
        if name in ENGINE_CHECKS and not engine:
            continue
        try:
            found = list(check(instance))
        except VoiceJobsError as error:
            circular = not error.hint or "`voicejobs doctor`" in error.hint
            found = [(PROBLEM, error.message, "Check its disk and its permissions." if circular else error.hint)]
        except OSError as error:
            is_reported = any(one.check == "folders" and one.severity != OK for one in findings)
            if is_reported and isinstance(error, FileNotFoundError):
                continue  # the first check has named the absent folder
            found = [
                (
                    PROBLEM,
                    f"{error.filename or 'a file'}: {error.strerror}.",
                    "Check that it exists, and its permissions.",
                )
            ]
        findings += [Finding(check=name, severity=s, message=message, remedy=remedy) for s, message, remedy in found]
    return findings


# ---- folders -----------------------------------------------------------------------------------------------------


def _folders(instance: Instance) -> Found:
    for name, folder in (("inbox", instance.inbox), ("outbox", instance.outbox), ("state_dir", instance.state_dir)):
        never_ran = not instance.state_dir.exists() and not known_id(instance.database_path, instance.root)
        if not folder.is_dir() and never_ran and instance.holds(folder):
            yield NOTE, f"{name}: {folder} does not exist yet; the first run creates it.", ""
        elif not folder.is_dir():
            remedy = f"Mount its disk, create it (`voicejobs run` does within the instance), or change {name}."
            yield PROBLEM, f"{name}: {folder} is not a folder.", remedy
        elif not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            yield (
                PROBLEM,
                f"{name}: {folder} cannot be read and written.",
                "Give this user access to it (chmod, chown).",
            )
        else:
            yield OK, f"{name}: {folder}", ""


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

    real = path.resolve()
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
        if guarded_by(instance.root, Path.home()) == name:
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


# ---- time, database, runner --------------------------------------------------------------------------------------


def _clock(instance: Instance) -> Found:
    now_s = time.time()
    remedy = "Set the clock, and let the system keep it right (NTP)."
    if now_s < BUILT_AFTER_S:
        yield PROBLEM, f"the clock says {time.strftime('%Y-%m-%d')}.", remedy
        return
    if instance.database_path.exists():
        with Database.open(instance.database_path, root=instance.root) as database, database.read() as snapshot:
            newest = newest_claim_s(snapshot)
        if newest is not None and newest > now_s + 60:
            yield WARNING, f"a job was claimed {newest - now_s:.0f} s in the future: the clock was set back.", remedy
            return
    yield OK, f"the clock says {time.strftime('%Y-%m-%d %H:%M:%S')}.", ""


def _database(instance: Instance) -> Found:
    check_kind(instance.database_path)
    if not instance.database_path.exists():
        check_not_lost(instance.database_path, instance.root)
        yield NOTE, "there is no database yet; the first run creates it.", ""
        return
    with Database.open(instance.database_path, root=instance.root) as database, database.read() as snapshot:
        found = [row["quick_check"] for row in snapshot.rows("PRAGMA quick_check(5)")]
        journal = snapshot.rows("PRAGMA journal_mode")[0]["journal_mode"]
        read_only = database.is_read_only
    if read_only:
        yield PROBLEM, f"{instance.state_dir} can only be read: no job can run.", WRITABLE_AGAIN
    if found != ["ok"]:
        yield PROBLEM, f"the database is damaged: {'; '.join(found)}", RESTORE_DAMAGED
    elif journal != "wal" and not read_only:
        yield WARNING, f"the database's journal is {journal}, not wal.", "Put state_dir on a local disk."
    else:
        yield OK, f"{instance.database_path} is sound; `voicejobs voices fsck` reads every byte.", ""


def _objects(instance: Instance) -> Found:
    from registry.storage.object_references import references
    from registry.storage.object_store import ObjectStore

    if not instance.database_path.exists():
        return
    store = ObjectStore(instance.objects_dir)
    with Database.open(instance.database_path, root=instance.root) as database, database.read() as snapshot:
        lost = sorted({one.owner for one in references(snapshot) if one.sha256 not in store})
    if lost:
        named = ", ".join(lost[:3]) + (f" and {len(lost) - 3:,} more" if len(lost) > 3 else "")
        yield PROBLEM, f"recordings or prompts of {named} are gone from {store.folder}.", RESTORE_OBJECTS
    else:
        yield OK, f"all recordings and prompts are in {store.folder}.", ""


def active_runner(instance: Instance) -> str | None:
    """Description of the process that is the runner; None when there is none."""
    from registry.durable_files import FileLock

    return FileLock(instance.lock_path).describe_holder() if instance.runner_is_active() else None


def _runner(instance: Instance) -> Found:
    if (holder := active_runner(instance)) is not None:
        yield OK, f"a runner is active: {holder}.", ""
    else:
        yield NOTE, "no runner is active.", "Start one: `voicejobs run`."


# ---- software ----------------------------------------------------------------------------------------------------


def _versions(instance: Instance) -> Found:
    del instance
    found = {name: version for name in PACKAGES if (version := package_version(name)) is not None}
    listed = ", ".join(f"{name} {version}" for name, version in found.items())
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    yield OK, f"voicejobs {VERSION}, Python {platform.python_version()} on {system}; {listed}.", ""
    missing = [name for name in PACKAGES if name not in found]
    if missing:
        yield PROBLEM, f"not installed: {', '.join(missing)}.", "Install them: make venv"


def _engines(instance: Instance) -> Found:
    wanted = instance.settings.model
    for kind, (what, package, remedy) in ENGINE_PACKAGES.items():
        if kind.is_installed:
            yield OK, f"{kind.name}: {what}{package} {package_version(package)}.", ""
        else:
            severity = PROBLEM if kind == kind_of_model(wanted) else NOTE
            yield severity, f"the engine {kind.name} cannot run: {package} is not installed.", remedy


def _pronunciations(instance: Instance) -> Found:
    if not instance.settings.pronunciations:
        yield OK, "no respellings are set.", ""
        return
    table = load_pronunciations(instance)
    yield OK, f"{counted(len(table), 'word')} respelled by {instance.settings.pronunciations}.", ""


def _audio(instance: Instance) -> Found:
    import soundfile

    known = set(soundfile.available_formats())
    missing = [name for name in ("WAV", "FLAC", "OGG", "MP3") if name not in known]
    if missing:
        severity = PROBLEM if instance.settings.format.upper() in missing else NOTE
        yield severity, f"this libsndfile cannot write {', '.join(missing)}.", "pip install --upgrade soundfile"
    else:
        yield OK, "wav, flac, mp3 and ogg can be written.", ""


def _models(instance: Instance) -> Found:
    from models.store.shared_directory import resolve_models_dir
    from runner.doctor.model_checks import check_models

    directory = resolve_models_dir(None, os.environ, instance.models_dir)
    yield from check_models(directory, environ=os.environ, offline=instance.settings.offline)


CHECKS: dict[str, tuple[str, Callable[[Instance], Found]]] = {
    "folders": ("inbox, outbox and state folder exist and can be written to", _folders),
    **INBOX_CHECKS,
    "local-disk": ("the database is on a local disk", _local_disk),
    **HOOK_CHECKS,
    "free-space": ("more than min_free_bytes are free", _free_space),
    "guarded-folder": ("on macOS: not in Documents, Desktop, Downloads or iCloud", _guarded_folder),
    "clock": ("the time of day is plausible", _clock),
    "database": ("the database is sound and in WAL mode", _database),
    "objects": ("recordings and prompts that the database refers to are there", _objects),
    "runner": ("whether a runner is active, and which", _runner),
    "versions": ("versions of this program and of its libraries", _versions),
    "engines": ("which engines are installed", _engines),
    "audio": ("which audio formats can be written", _audio),
    "pronunciations": ("the file of respellings can be read; otherwise every job fails", _pronunciations),
    "models": ("the model directory, broken and duplicate models, the network switch", _models),
    **engine_checks.CHEAP_CHECKS,
    **engine_checks.ENGINE_CHECKS,
}
ENGINE_CHECKS = tuple(engine_checks.ENGINE_CHECKS)
ALWAYS_TOLD = ("computing", *ENGINE_CHECKS)  # asked for explicitly: shown even when all is well
