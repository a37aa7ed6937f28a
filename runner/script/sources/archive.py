"""A ZIP archive of a book → its entries, each read when it is asked for, within bounds. Nothing is written to a disk.

An archive that could do harm is refused by its directory, before anything is unpacked.
"""

from __future__ import annotations

import io
import posixpath
import stat
import struct
import zipfile
import zlib
from urllib.parse import unquote

from models.voices.vox_archive import path_problem
from runner.script.errors import SourceRefused

MAX_ARCHIVE_BYTES = 512 << 20  # most of it pictures
MAX_ENTRIES = 20_000
MAX_ENTRY_BYTES = 32 << 20  # of one that is read
MAX_READ_BYTES = 192 << 20  # of all that are read
MAX_RATIO, RATIO_MATTERS_BYTES = 200, 1 << 20
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_BROKEN = (
    zipfile.BadZipFile, zlib.error, EOFError, OSError, struct.error, ValueError, RuntimeError, NotImplementedError,
    IndexError, OverflowError,
)  # fmt: skip


class Archive:
    """The entries of one archive."""

    def __init__(self, content: bytes, *, name: str) -> None:
        """Raises SourceRefused for an archive that is broken or could do harm."""
        self.name = name
        if len(content) > MAX_ARCHIVE_BYTES:
            raise SourceRefused(f"{name} has {len(content):,} bytes; at most {MAX_ARCHIVE_BYTES:,} are read.")
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(content))
            infos = self._zip.infolist()
        except _BROKEN as error:
            raise self._broken(error) from None
        if len(infos) > MAX_ENTRIES:
            raise SourceRefused(f"{name} has {len(infos):,} entries; at most {MAX_ENTRIES:,} are read.")
        self._infos: dict[str, zipfile.ZipInfo] = {}
        for info in infos:
            self._check(info)
            self._infos.setdefault(info.filename, info)
        self._folded = {path.casefold(): path for path in self._infos}
        self._room_bytes = MAX_READ_BYTES

    def _check(self, info: zipfile.ZipInfo) -> None:
        shown = "".join(character if character.isprintable() else "�" for character in info.filename[:200])
        if problem := path_problem(info.filename.removesuffix("/")):
            raise SourceRefused(f"The entry {shown!r} of {self.name} {problem}.")
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise SourceRefused(f"The entry {shown!r} of {self.name} is a link or a device.")
        if info.file_size > max(RATIO_MATTERS_BYTES, MAX_RATIO * info.compress_size):
            raise SourceRefused(
                f"The entry {shown!r} of {self.name} claims to unpack {info.compress_size:,} bytes to "
                f"{info.file_size:,}."
            )

    def _broken(self, error: Exception) -> SourceRefused:
        reason = "".join(filter(str.isprintable, str(error)))[:200].rstrip(".") or type(error).__name__
        return SourceRefused(f"{self.name} is broken: {reason}.", hint="Bring it again, whole.")

    def find(self, path: str) -> str | None:
        """The entry of this path, whatever its case; None when there is none."""
        return path if path in self._infos else self._folded.get(path.casefold())

    def beside(self, path: str, href: str) -> str | None:
        """The entry that a link in another one means, without its fragment; None when it leaves the archive."""
        target = unquote(href.partition("#")[0])
        if not target:
            return path
        joined = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
        return None if joined.startswith(("..", "/")) else self.find(joined)

    def read(self, path: str) -> bytes:
        """The bytes of an entry that `find` gave. Raises SourceRefused."""
        info = self._infos[path]
        if info.flag_bits & _ENCRYPTED:
            raise SourceRefused(f"{self.name} is protected: its entry {path!r} is encrypted.")
        if info.file_size > MAX_ENTRY_BYTES or info.file_size > self._room_bytes:
            raise SourceRefused(f"{self.name} holds more text than is read: {path!r} has {info.file_size:,} bytes.")
        self._room_bytes -= info.file_size
        try:
            return self._zip.read(info)
        except _BROKEN as error:
            raise self._broken(error) from None
