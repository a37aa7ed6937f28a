"""The files that say which registry belongs here → whether a missing database is a first run or a loss.

A registry has an id, kept in three places: in the database, beside it (`registry.id`), and in the instance's root,
which is often on another disk than the state folder. This module touches the disk.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from registry.durable_files import open_regular, write_durably
from registry.errors import DamagedData, RegistryLost

ROOT_MARK = ".voicejobs-id"  # in the instance's root: {"id", "backup"}
STORES = ("objects", "takes")  # folders beside the database that only a database fills
RESCUED = "registry.rescued-*.sqlite"  # what a runner saved of a database that lost its name
MARK_LIMIT_BYTES = 64 << 10


def id_beside(database: Path) -> Path:
    """The file beside a database that repeats its id."""
    return database.with_suffix(".id")


def read_mark(path: Path) -> dict[str, Any]:
    """Content of an id file; empty when it is absent or says nothing readable."""
    try:
        with open_regular(path) as file:
            content = json.loads(file.read(MARK_LIMIT_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) and isinstance(content.get("id"), str) else {}


def known_id(database: Path, root: Path | None) -> str | None:
    """Id that the root, or else the state folder, remembers."""
    marks = ([root / ROOT_MARK] if root else []) + [id_beside(database)]
    return next((found for mark in marks if (found := read_mark(mark).get("id"))), None)


def remember(database: Path, root: Path | None, registry_id: str) -> None:
    """Repeat a database's id beside it and in the root, where it is not there yet.

    Raises DamagedData when the root belongs to another registry: its disk may be swapped.
    """
    mark = root / ROOT_MARK if root else None
    expected = read_mark(mark).get("id") if mark else None
    if expected and expected != registry_id:
        raise DamagedData(
            f"{database} is the registry of another instance: its id is {registry_id[:8]}…, "
            f"{mark} says {expected[:8]}….",
            hint="Mount the right disk or correct state_dir; or accept it: `voicejobs init --accept-state`.",
        )
    content = json.dumps({"id": registry_id}).encode()
    for path in (id_beside(database), mark):
        if path is not None and read_mark(path).get("id") != registry_id:
            with contextlib.suppress(OSError):  # a root that nobody may write to: the state folder still tells
                write_durably(path, content, private=path != mark)


def forget(database: Path, root: Path) -> None:
    """Remove the id files, so that whatever the state folder holds now is accepted."""
    for path in (root / ROOT_MARK, id_beside(database)):
        path.unlink(missing_ok=True)


def note_backup(root: Path, archive: Path) -> None:
    """Remember where the newest backup is, for the message about a loss."""
    mark = root / ROOT_MARK
    if (content := read_mark(mark)) and content.get("backup") != str(archive):
        with contextlib.suppress(OSError, UnicodeEncodeError):
            write_durably(mark, json.dumps({**content, "backup": str(archive)}).encode())


def check_kind(database: Path) -> None:
    """Raise DamagedData when something that is no regular file, or leads to none, has the database's name."""
    try:
        mode = database.stat().st_mode
    except OSError as error:
        if not database.is_symlink():
            return  # absent, or not to be seen: whoever opens it says so
        hint = f"Mount the disk that it leads to. Or: {restore_hint(None)}"
        raise DamagedData(f"{database} is a link that leads nowhere ({error.strerror}).", hint=hint) from error
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
        kind = kinds.get(stat.S_IFMT(mode), "a device")
        raise DamagedData(f"{database} is {kind}, not a database.", hint=restore_hint(None))


def check_not_lost(database: Path, root: Path | None) -> None:
    """Raise RegistryLost when an absent or empty database had content once, going by what is left around it."""
    was_there = database.exists()
    evidence = _evidence(database, root)
    if evidence is None or (not was_there and database.exists()):  # another process has just made it
        return
    state = "is empty" if was_there else "is gone"
    raise RegistryLost(f"The registry {database} {state}, but {evidence}.", hint=_remedy(database, root))


def _evidence(database: Path, root: Path | None) -> str | None:
    if root is not None and read_mark(root / ROOT_MARK):
        return f"{root / ROOT_MARK} says that this instance has one"
    if id_beside(database).exists():
        return f"{id_beside(database).name} is still beside it"
    for name in STORES:
        if next(_stored(database.parent / name), None):
            return f"{database.parent / name} is full"
    return None


def _stored(store: Path) -> Iterator[Path]:
    """Stored bytes; the folders of an instance just made are empty."""
    with contextlib.suppress(OSError):
        for shelf in store.iterdir():
            if len(shelf.name) == 2 and shelf.is_dir():
                yield from shelf.iterdir()


def _remedy(database: Path, root: Path | None) -> str:
    rescued = sorted(path for folder in filter(None, (database.parent, root)) for path in folder.glob(RESCUED))
    if rescued:
        return f"A runner saved what it held: {put_back(rescued[-1], database)}"
    if database.parent.exists() and not database.parent.is_dir():
        return (
            f"{database.parent} is in the way: {shlex.join(('mv', str(database.parent), f'{database.parent}.moved'))}"
        )
    mount = "" if database.parent.is_dir() and any(database.parent.iterdir()) else "Mount the disk of state_dir. "
    backup = read_mark(root / ROOT_MARK).get("backup") if root else None
    restore = restore_hint(backup if isinstance(backup, str) else None)
    return f"{mount}{restore} Or begin an empty one: `voicejobs init --accept-state`."


def put_back(saved: Path, database: Path) -> str:
    """The command that gives a saved database its name again, also where its folder is gone."""
    folder = "" if database.parent.is_dir() else f"{shlex.join(('mkdir', '-p', str(database.parent)))} && "
    return f"{folder}{shlex.join(('mv', str(saved), str(database)))}"


def restore_hint(archive: str | None) -> str:
    """The command that brings a registry back, with the newest backup where one is known."""
    return f"Restore a backup: `voicejobs restore {shlex.quote(archive) if archive else 'FILE'}`."
