"""The bytes of a `.vox` file ↔ its entries by path, with every archive refused that could do harm.

Sizes, counts and names are checked in the directory of the archive before anything is unpacked; nothing is ever
written to a disk here. Equal entries give equal archives.
"""

from __future__ import annotations

import io
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from typing import BinaryIO

from models.errors import VoxRefused

MANIFEST = "manifest.json"
MAX_ARCHIVE_BYTES = 256 << 20
MAX_UNPACKED_BYTES = 256 << 20
MAX_ENTRIES = 4_096
MAX_DIRECTORY_BYTES = 1 << 20
MAX_MANIFEST_BYTES = 4 << 20
MAX_PATH_BYTES = 512
MAX_RATIO, RATIO_MATTERS_BYTES = 200, 1 << 20
EPOCH = (1980, 1, 1, 0, 0, 0)  # the oldest date a zip can hold: equal voices give equal archives

_END_RECORD = b"PK\x05\x06"
_END_BYTES, _LOCATOR_BYTES = 65_557, 20  # the end record with the longest comment; the locator before it
_LARGE_LOCATOR = b"PK\x06\x07"  # of zip64, whose own counts would override those that we check
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_BROKEN = (
    zipfile.BadZipFile, zlib.error, EOFError, OSError, struct.error, ValueError, RuntimeError, NotImplementedError,
    IndexError, OverflowError,
)  # fmt: skip  # all that zipfile raises for bytes that are not as they should be


def read_archive(content: bytes) -> dict[str, bytes]:
    """Every file of the archive by its path, in the archive's order. Raises VoxRefused with the reason."""
    return _read(io.BytesIO(content))


def read_manifest(file: BinaryIO) -> bytes:
    """The manifest alone, of an archive that may be large, as strictly checked. Raises VoxRefused with the reason."""
    return _read(file, only=MANIFEST)[MANIFEST]


def _read(file: BinaryIO, *, only: str | None = None) -> dict[str, bytes]:
    try:
        _check_outside(file)
        with zipfile.ZipFile(file) as archive:
            files = [info for info in archive.infolist() if not info.filename.endswith("/")]
            _check_directory(archive.infolist(), files)
            return {info.filename: archive.read(info) for info in files if only in (None, info.filename)}
    except _BROKEN as error:
        if isinstance(error, VoxRefused):
            raise
        raise VoxRefused(f"The voice file is broken: {_printable(str(error)) or type(error).__name__}.") from None


def write_archive(files: Mapping[str, bytes]) -> bytes:
    """An archive of these files: the manifest first, then by path, stored, without dates."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(files, key=lambda path: (path != MANIFEST, path)):
            info = zipfile.ZipInfo(path, date_time=EPOCH)
            info.create_system = 3  # Unix, also where it is written on another system
            info.external_attr = 0o644 << 16
            archive.writestr(info, files[path])
    return content.getvalue()


def path_problem(path: str) -> str | None:
    """Problem with a path in a voice file, in words; None when there is none."""
    parts = path.split("/")
    if not path or len(path.encode("utf-8", "surrogatepass")) > MAX_PATH_BYTES:
        return f"has no name of 1 to {MAX_PATH_BYTES} bytes"
    if path.startswith("/") or "\\" in path or ":" in parts[0]:
        return "is not relative to the archive"
    if any(part in ("", ".", "..") for part in parts):
        return "leaves the archive, or has an empty part"
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in path):
        return "has control characters in its name"
    return None


def _check_outside(file: BinaryIO) -> None:
    size_bytes = file.seek(0, io.SEEK_END)
    if size_bytes > MAX_ARCHIVE_BYTES:
        raise VoxRefused(f"The voice file has {size_bytes} bytes; at most {MAX_ARCHIVE_BYTES} are read.")
    file.seek(0)
    if file.read(4) != b"PK\x03\x04":
        raise VoxRefused("This is no voice file: a .vox is a ZIP archive with a manifest.json.")
    file.seek(max(0, size_bytes - _END_BYTES - _LOCATOR_BYTES))
    tail = file.read()
    at = tail.rfind(_END_RECORD, max(0, len(tail) - _END_BYTES))
    if at < 0 or at + 22 > len(tail):
        raise VoxRefused("The voice file is broken: the end of the archive is missing.")
    entries, directory_bytes = struct.unpack_from("<HI", tail, at + 10)
    if tail[max(0, at - _LOCATOR_BYTES) : at].startswith(_LARGE_LOCATOR):
        raise VoxRefused("The voice file is a ZIP archive of the kind for more than 4 GB, which no voice needs.")
    # More than this is no voice; it is refused before the directory becomes objects in memory.
    if entries > MAX_ENTRIES or directory_bytes > MAX_DIRECTORY_BYTES:
        raise VoxRefused(f"The voice file has {entries} entries; at most {MAX_ENTRIES} are read.")


def _check_directory(everything: Iterable[zipfile.ZipInfo], files: list[zipfile.ZipInfo]) -> None:
    if len(files) > MAX_ENTRIES:
        raise VoxRefused(f"The voice file has {len(files)} entries; at most {MAX_ENTRIES} are read.")
    for info in everything:
        _check_entry(info)
    _check_duplicates(files)
    unpacked_bytes = sum(info.file_size for info in files)
    if unpacked_bytes > MAX_UNPACKED_BYTES:
        raise VoxRefused(
            f"The voice file would unpack to {unpacked_bytes} bytes; at most {MAX_UNPACKED_BYTES} are read."
        )
    manifest = next((info for info in files if info.filename == MANIFEST), None)
    if manifest is None:
        raise VoxRefused(f"The voice file has no {MANIFEST} at its top level.")
    if manifest.file_size > MAX_MANIFEST_BYTES:
        raise VoxRefused(f"Its {MANIFEST} has {manifest.file_size} bytes; at most {MAX_MANIFEST_BYTES} are read.")


def _check_entry(info: zipfile.ZipInfo) -> None:
    name = _printable(info.filename)
    if problem := path_problem(info.filename.removesuffix("/")):
        raise VoxRefused(f"The entry {name!r} of the voice file {problem}.")
    if info.orig_filename != info.filename:
        raise VoxRefused(f"The entry {name!r} of the voice file has a name with a hidden end.")
    mode = info.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise VoxRefused(f"The entry {name!r} of the voice file is a link or a device.")
    if info.flag_bits & _ENCRYPTED:
        raise VoxRefused(f"The entry {name!r} of the voice file is encrypted.")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise VoxRefused(f"The entry {name!r} of the voice file is packed in a way that no .vox uses.")
    if info.file_size > max(RATIO_MATTERS_BYTES, MAX_RATIO * info.compress_size):
        raise VoxRefused(f"The entry {name!r} claims to unpack {info.compress_size} bytes to {info.file_size}.")


def _check_duplicates(files: Iterable[zipfile.ZipInfo]) -> None:
    """Refuse two names that are one on some file system, and a file that is also a folder."""
    seen: set[str] = set()
    for info in files:
        folded = unicodedata.normalize("NFC", info.filename).casefold()
        if folded in seen:
            raise VoxRefused(f"The voice file has two entries named {_printable(info.filename)!r}.")
        seen.add(folded)
    for name in seen:
        above = name
        while "/" in above:
            above = above.rpartition("/")[0]
            if above in seen:
                raise VoxRefused(f"The entry {_printable(above)!r} of the voice file is both a file and a folder.")


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "�" for character in text[:200])
