"""The tar that a backup is: its members' names, its manifest, and its files in order, each within bounds.

`registry/upkeep/backup.py` writes it, `registry/upkeep/restore.py` reads it. An archive may come from anybody.
"""

from __future__ import annotations

import contextlib
import json
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from registry.errors import DamagedData, InvalidInput
from registry.storage.database import DATABASE_NAME
from registry.storage.object_store import is_sha256

FORMAT = 1
MANIFEST = "manifest.json"
OBJECT = re.compile(r"(objects|takes)/([0-9a-f]{2})/([0-9a-f]{62})")
EXTRA = re.compile(r"extra/([\w-][\w.-]{0,99})")
OBJECT_LIMIT_BYTES = 256 << 20  # one is read into memory
MANIFEST_LIMIT_BYTES = 16 << 20  # it names every lost object
HEADER_LIMIT_BYTES = 64 << 10
OTHER = "Use another backup."


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Contents of an archive, as its last member lists them."""

    format: int
    schema: int
    created_s: float
    database_sha256: str
    objects: int
    takes: int
    extras: Mapping[str, str]  # name -> sha256
    missing: tuple[str, ...]  # objects that were gone or damaged already when the archive was made
    versions: int | None = None  # ever made, removed ones included; None in older archives, as the next
    last_job: int | None = None  # number of the newest job ever recorded

    def to_json(self) -> bytes:
        """The member's bytes."""
        return json.dumps(asdict(self), indent=1, sort_keys=True).encode()


def parsed_manifest(content: bytes) -> Manifest:
    """The manifest out of its bytes. Raises InvalidInput for another format, DamagedData for what is none."""
    wrong = DamagedData(f"The backup's {MANIFEST} cannot be read.", hint=OTHER)
    try:
        raw = json.loads(content)
    except (ValueError, RecursionError):
        raise wrong from None
    if not isinstance(raw, dict):
        raise wrong
    if raw.get("format") != FORMAT:
        raise InvalidInput(f"The backup has format {raw.get('format')!r}; this voicejobs reads format {FORMAT}.")
    counts = ("format", "schema", "objects", "takes", "versions", "last_job")
    older: dict[str, Any] = {"versions": None, "last_job": None}
    known: dict[str, Any] = {name: raw.get(name, older.get(name)) for name in Manifest.__dataclass_fields__}
    extras, missing = known["extras"], known["missing"]
    sound = (
        all(_is_count(known[name]) or (name in older and known[name] is None) for name in counts)
        and isinstance(known["created_s"], (int, float))
        and 0 <= known["created_s"] < 1e11
        and isinstance(extras, dict)
        and isinstance(missing, list)
        and all(is_sha256(value) for value in (known["database_sha256"], *extras.values(), *missing))
    )
    if not sound:
        raise wrong
    return Manifest(**{**known, "missing": tuple(missing)})


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53


class _Header(tarfile.TarInfo):
    """A member's header, which may not bring along a further one so large that it fills the memory."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        plain = self.type in (tarfile.REGTYPE, tarfile.AREGTYPE)
        if not plain and self.size > HEADER_LIMIT_BYTES:
            raise tarfile.ReadError(f"a header of {self.size:,} bytes")
        return super()._proc_member(archive)  # type: ignore[misc, no-any-return]


def members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """The files of an archive, in order. Raises InvalidInput for anything that `backup` does not write."""
    if not archive.is_file() and archive.exists():
        raise InvalidInput(f"{archive} is no backup of voicejobs: it is not a regular file.")
    with _opened(archive) as tar:
        for member in tar:
            name = member.name
            plain = member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.issparse()
            file = tar.extractfile(member) if plain else None
            known = name in (DATABASE_NAME, MANIFEST) or OBJECT.fullmatch(name) or EXTRA.fullmatch(name)
            limit = MANIFEST_LIMIT_BYTES if name == MANIFEST else OBJECT_LIMIT_BYTES
            if not known or file is None or (name != DATABASE_NAME and member.size > limit):
                raise InvalidInput(f"{archive} is no backup of voicejobs: it holds {name[:100]!r}.")
            yield name, file


def _opened(archive: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(archive, mode="r:", tarinfo=_Header)
    except tarfile.ReadError:
        raise InvalidInput(f"{archive} is no backup of voicejobs: it does not begin as one.") from None


def read_manifest(archive: Path) -> Manifest | None:
    """The manifest of an archive whose other members are passed over; None when it is no whole backup."""
    with contextlib.suppress(tarfile.TarError, OSError, InvalidInput, DamagedData):
        for name, file in members(archive):
            if name == MANIFEST:
                return parsed_manifest(file.read())
    return None
