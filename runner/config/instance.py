"""A folder with a `voicejobs.toml` → an instance: its settings, its paths and its lock.

This module touches the disk.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import shlex
import stat
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.errors import InvalidPath
from models.named_paths import kind_of, named_path, shown_path, status_of
from registry.durable_files import FileLock, is_locked, make_folder_durably
from registry.errors import IN_THE_WAY, Busy, StorageError, storage_error
from registry.storage.identity import check_not_lost
from runner.config.settings import SETTINGS_FILE, Settings, load_settings
from runner.errors import InstanceNotFound, RunnerActive, SettingsInvalid

OWN_ATTEMPTS, ENDING_ATTEMPTS = 5, 300
OTHERS = stat.S_IRWXG | stat.S_IRWXO
OWN_PAUSE_S = 0.03


@dataclass(frozen=True)
class Instance:
    """Root folder and settings; the properties are its paths, and create nothing."""

    root: Path
    settings: Settings

    def _path(self, name: str) -> Path:
        try:
            return named_path(getattr(self.settings, name), below=self.root)
        except InvalidPath as error:
            raise SettingsInvalid(
                f"The setting {name}: {error.message}", hint=f"Correct {name} in {self.settings_path}."
            ) from None

    @functools.cached_property
    def inbox(self) -> Path:
        return self._path("inbox")

    @functools.cached_property
    def outbox(self) -> Path:
        return self._path("outbox")

    @functools.cached_property
    def state_dir(self) -> Path:
        return self._path("state_dir")

    @property
    def settings_path(self) -> Path:
        return self.root / SETTINGS_FILE

    @property
    def models_dir(self) -> Path | None:
        """Configured model directory; None: the platform's own, which `models.store.shared_directory` knows."""
        return self._path("models_dir") if self.settings.models_dir else None

    @property
    def database_path(self) -> Path:
        return self.state_dir / "registry.sqlite"

    @property
    def objects_dir(self) -> Path:
        return self.state_dir / "objects"

    @property
    def takes_dir(self) -> Path:
        return self.state_dir / "takes"

    @property
    def logs_dir(self) -> Path:
        return self.state_dir / "logs"

    @property
    def spool_dir(self) -> Path:
        """Takes that are being made; see `runner.engine.spool`."""
        return self.state_dir / "spool"

    @property
    def lock_path(self) -> Path:
        return self.state_dir / "runner.lock"

    @property
    def claimed_dir(self) -> Path:
        return self.inbox / ".claimed"

    @property
    def rejected_dir(self) -> Path:
        return self.inbox / ".rejected"

    @property
    def claim_copies_dir(self) -> Path:
        return self.state_dir / "claims"

    @property
    def orphans_dir(self) -> Path:
        return self.inbox / ".orphans"

    def check_places(self) -> None:
        """Raise SettingsInvalid when the inbox contains other parts of the instance, which would be claimed."""
        inbox = os.path.realpath(self.inbox)
        for name, place in (("outbox", self.outbox), ("state_dir", self.state_dir), (SETTINGS_FILE, self.root)):
            if Path(os.path.realpath(place)).is_relative_to(inbox):
                hint = f"Set inbox to a separate folder in {self.settings_path}."
                raise SettingsInvalid(
                    f"The inbox {self.inbox} contains {name}, which would be treated as a job.", hint=hint
                )

    def prepare(self) -> None:
        """Create the folders that are missing. Raises StorageError when one cannot be, RegistryLost as the database.

        An inbox or outbox elsewhere is created only before the first run: missing later, its disk is not mounted.
        """
        never_ran = not self.database_path.exists()
        if never_ran:
            check_not_lost(self.database_path, self.root)  # before folders are made where a disk is to be mounted
        folders = (self.inbox, self.outbox, self.objects_dir, self.takes_dir, self.logs_dir)
        for folder in folders:
            if folder in (self.inbox, self.outbox) and not never_ran and not self.holds(folder):
                continue
            try:
                make_folder_durably(folder)
            except OSError as error:
                hint = f"Check {SETTINGS_FILE} and the permissions of {folder.parent}."
                if error.errno in IN_THE_WAY:
                    hint = "`voicejobs doctor` says what has its name, and how to move it away."
                message = f"The folder {folder} cannot be created: {error.strerror}."
                raise StorageError(message, hint=hint, errno=error.errno) from error
        self._keep_private()

    @property
    def own_folders(self) -> tuple[Path, ...]:
        """Every folder that a runner writes to, as far as it is in one of inbox, outbox and state folder."""
        return (
            self.inbox, self.claimed_dir, self.rejected_dir, self.orphans_dir, self.outbox, self.state_dir,
            self.objects_dir, self.takes_dir, self.logs_dir, self.spool_dir, self.claim_copies_dir,
        )  # fmt: skip

    def check_writable(self) -> None:
        """Raise StorageError for a folder in which a runner of this user could not write."""
        for folder in self.own_folders:
            if (refused := unwritable(folder)) is not None:
                raise storage_error(refused, f"writing into {folder}")

    def _keep_private(self) -> None:
        """Let only this user read what the state folder holds, where this user owns it.

        The outbox is read by others: a state folder around it stays open, and what is in it is closed.
        """
        state_dir = os.path.realpath(self.state_dir)
        inside = (Path(os.path.realpath(folder)) for folder in (self.root, self.inbox, self.outbox))
        around = any(folder.is_relative_to(state_dir) for folder in inside)
        folders = [self.objects_dir, self.takes_dir, self.logs_dir]
        files = [*self.state_dir.glob("registry.*"), *self.logs_dir.glob("*.log*")]
        for path in [*folders, *files, *([] if around else [self.state_dir])]:
            with contextlib.suppress(OSError):  # another user's, or on a disk that knows no modes
                found = path.lstat()
                if found.st_uid == os.geteuid() and found.st_mode & OTHERS and not stat.S_ISLNK(found.st_mode):
                    path.chmod(stat.S_IMODE(found.st_mode) & ~OTHERS)

    def holds(self, folder: Path) -> bool:
        """Whether a folder is inside the instance itself, not behind a link."""
        return Path(os.path.normpath(folder)).is_relative_to(self.root) and not folder.is_symlink()

    def own(self) -> FileLock:
        """Become this instance's runner until the returned lock is released.

        Raises RunnerActive, naming the holder, when another process is the runner.
        """
        self.prepare()
        lock = FileLock(self.lock_path)
        try:
            _patiently(lock.acquire, is_ending=lock.is_holder_dead)
        except Busy:
            hint = "An instance has one runner at a time; stop that one first, or let it do the work."
            message = f"Another runner is active on {self.root}: {lock.describe_holder()}."
            raise RunnerActive(message, hint=hint) from None
        self._own_folders(lock)
        return lock

    def _own_folders(self, lock: FileLock) -> None:
        """Lock inbox and outbox, which have one runner at a time, too. Raises RunnerActive naming the folder."""
        for name, folder in (("inbox", self.inbox), ("outbox", self.outbox)):
            try:
                if folder.is_dir():
                    _patiently(functools.partial(lock.hold_folder, folder))
            except Busy:
                lock.release()
                hint = f"Give each instance an {name} of its own in {self.settings_path}, or stop the other runner."
                raise RunnerActive(f"The runner of another instance works on the {name} {folder}.", hint=hint) from None
            except OSError as error:
                lock.release()
                raise storage_error(error, f"opening {folder}") from error

    def runner_is_active(self) -> bool:
        """Whether any process, this one included, is the runner at this moment."""
        return is_locked(self.lock_path)


def _patiently(take: Callable[[], None], *, is_ending: Callable[[], bool] = lambda: False) -> None:
    """Take a lock that others may try, shared and for an instant: only one that lasts is a runner's. Raises Busy.

    What a dead runner leaves behind (`is_ending`) is waited for longer.
    """
    for attempt in range(ENDING_ATTEMPTS):
        with contextlib.suppress(Busy):
            take()
            return
        if attempt >= OWN_ATTEMPTS and not is_ending():
            break
        time.sleep(OWN_PAUSE_S)
    take()


def find_root(start: Path) -> Path:
    """The nearest folder at or above `start` that holds a `voicejobs.toml`. Raises InstanceNotFound."""
    start = start.absolute()
    for folder in (start, *start.parents):
        if (folder / SETTINGS_FILE).is_file():
            return folder
    raise InstanceNotFound(
        f"No {SETTINGS_FILE} in {start} or above it.",
        hint="`voicejobs init DIR` creates an instance; --root DIR or VOICEJOBS_ROOT names one elsewhere.",
    )


def open_instance(
    root: Path | None = None,
    *,
    start: Path | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
) -> Instance:
    """The instance at `root` (a flag), else at VOICEJOBS_ROOT, else found upward from `start` (the working directory).

    Raises InstanceNotFound or SettingsInvalid.
    """
    environment = os.environ if environment is None else environment
    named = root or environment.get("VOICEJOBS_ROOT")
    found = named_path(named).absolute() if named else find_root(start or Path.cwd())
    if not (found / SETTINGS_FILE).is_file():
        if (status := status_of(found / SETTINGS_FILE)) is not None:
            raise SettingsInvalid(
                f"{found / SETTINGS_FILE} is {kind_of(status)}, where a file is needed.", hint="Move it away."
            )
        hint = f"`voicejobs init {shlex.quote(str(named))}` creates one there."
        raise InstanceNotFound(f"There is no {SETTINGS_FILE} in {shown_path(named or found)}.", hint=hint)
    instance = Instance(found, load_settings(found / SETTINGS_FILE, environment=environment, flags=flags))
    instance.check_places()
    return instance


def unwritable(folder: Path) -> OSError | None:
    """The error with which the system would refuse writing into a folder; None where it would not, or there is none."""
    if not folder.is_dir() or os.access(folder, os.W_OK | os.X_OK):
        return None
    code = errno.EROFS if os.statvfs(folder).f_flag & os.ST_RDONLY else errno.EACCES
    return OSError(code, os.strerror(code), str(folder))
