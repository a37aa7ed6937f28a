"""Remedies of messages about the registry, its place and its backups, each with the state that prints it."""

import os

from registry.durable_files import FileLock
from registry.errors import VoiceJobsError
from registry.storage.database import Database
from registry.storage.held_files import HeldFiles
from runner.exit_codes import FAILED, OK
from tests.broken_instances import BROKEN
from tests.runner.cli.remedies.of_voices import with_two_versions
from tests.runner.cli.remedies.place import Place, Remedy

IDENTITY, CONNECTION = "registry/storage/identity.py", "registry/storage/connection.py"
CHECKS, PLACES, FSCK = "runner/doctor/registry_checks.py", "runner/doctor/place_checks.py", "registry/upkeep/fsck.py"
BACKUP = "{root}/good.backup"
THE_BACKUP = {"FILE": BACKUP}


def broken(name: str):
    return lambda place: BROKEN[name].by(place.root)


def begun_again(place: Place) -> None:
    """An empty registry, and the backup of the one that was lost."""
    broken("database-gone")(place)
    assert place.type("init --accept-state").code == OK


def gone_in_the_middle(place: Place) -> str:
    """What a process says that opens the database after another one removed it."""
    with Database.open(place.state_dir / "registry.sqlite", root=place.root) as database:
        broken("state-folder-empty")(place)
        try:
            with database.read(), database.read() as second:
                second.rows("SELECT 1")
        except VoiceJobsError as error:
            return place.text_of(error)
    return ""


def lost_and_not_to_be_saved(place: Place) -> str:
    """What a runner says of whose database nothing is left, not even what it has open."""
    path, lock = place.state_dir / "registry.sqlite", FileLock(place.state_dir / "runner.lock")
    lock.acquire()
    with Database.open(path, root=place.root) as database:
        held = HeldFiles(database, lock, root=place.root)
        os.truncate(path, 0)
        broken("state-folder-gone")(place)
        try:
            held.check(0.0)
        except VoiceJobsError as error:
            return place.text_of(error)
        finally:
            held.release()
    return ""


def with_a_full_disk(place: Place) -> None:
    place.set(min_free_bytes=1 << 60)


def with_an_alias_of_a_removed_version(place: Place) -> None:
    with_two_versions(place)
    place.execute("UPDATE version SET deleted_s = 1 WHERE number = 2")


REMEDIES = [
    Remedy(
        "runner/config/instance.py", "doctor", "run --once", broken("objects-file"), answers=FAILED, tells="mv ",
    ),
    Remedy("runner/config/instance.py", "init DIR", lambda place: place.bare("jobs list"), fill={"DIR": "."}),
    Remedy(
        "runner/config/instance.py", "init {shlex.quote(str(named))}",
        lambda place: place.bare("--root studio jobs list"),
    ),
    Remedy(
        "runner/cli/commands/setup.py", "--root {shlex.quote(str(folder))} run",
        lambda place: place.bare("init studio"), then=lambda place: place.bare("--root studio jobs list"),
    ),
    Remedy("runner/cli/commands/backup.py", "voices fsck", "backup x.backup", broken("objects-lost"), OK,
           answers=FAILED, tells="is gone"),
    Remedy(IDENTITY, "init --accept-state", "voices list", broken("database-gone")),
    Remedy(IDENTITY, "restore {shlex.quote(archive) if archive else 'FILE'}", "voices list", broken("database-gone")),
    Remedy(CONNECTION, "restore --replace FILE", "voices list", broken("database-noise"), fill=THE_BACKUP),
    Remedy(CONNECTION, "doctor", gone_in_the_middle, answers=FAILED, tells="restore"),
    Remedy("registry/storage/held_files.py", "doctor", lost_and_not_to_be_saved, answers=FAILED, tells="restore"),
    Remedy(
        "registry/upkeep/backup.py", "backup --force {shlex.quote(str(target))}", f"backup {BACKUP}", begun_again,
    ),
    Remedy(FSCK, "restore --replace FILE", "voices fsck", broken("objects-lost"), FAILED, fill=THE_BACKUP),
    Remedy(
        FSCK, "voices alias {voice}@N {alias}", "voices fsck", with_an_alias_of_a_removed_version, FAILED,
        fill={"@N": "@1"},
    ),
    Remedy("registry/upkeep/restore.py", "restore --replace {shlex.quote(str(archive))}", f"restore {BACKUP}",
           then="voices list"),
    Remedy(CHECKS, "restore --replace FILE", "doctor", broken("objects-lost"), FAILED, fill=THE_BACKUP),
    Remedy(CHECKS, "voices fsck", "doctor", broken("objects-lost"), FAILED, answers=FAILED, tells="is gone"),
    Remedy(CHECKS, "run", "doctor", code=OK, then="doctor"),
    Remedy(PLACES, "jobs prune --older-than 30d", "doctor", with_a_full_disk, FAILED, then="jobs list"),
    Remedy(PLACES, "run", "doctor", broken("outbox-gone"), FAILED),
]  # fmt: skip
