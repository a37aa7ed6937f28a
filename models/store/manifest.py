"""Records in a model's folder ↔ values: Acervo's manifest of its files, its verified mark, our note of their origin.

This module touches the disk. A manifest is written last, so its presence says that the model is complete.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.errors import InvalidManifest
from registry.durable_files import read_regular, sha256_of, write_durably

MANIFEST_FILE = "manifest.json"
LEGACY_MANIFEST_FILE = ".acervo-manifest.json"
VERIFIED_FILE = ".acervo-verified.json"
PROVENANCE_FILE = ".voicejobs.json"  # hidden, as Acervo's manifest has no place for a commit and skips such names
MANIFEST_VERSION = 1
MAX_MANIFEST_BYTES, MAX_RECORD_BYTES = 4_000_000, 64_000

IGNORED_NAMES = frozenset({MANIFEST_FILE, ".DS_Store", ".gitattributes", ".gitignore"})
IGNORED_SUFFIXES = (".lock", ".metadata")
SHA256_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class ManifestFile:
    path: str  # relative to the model's folder, with "/"
    sha256: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Files of a model; `rest` keeps keys that other programs wrote and we do not use."""

    model_id: str
    files: tuple[ManifestFile, ...]
    slug: str
    primary_repository: str
    components: tuple[str, ...]
    updated_at: str
    rest: Mapping[str, Any] = field(default_factory=dict)

    @property
    def checksum(self) -> str:
        return checksum_of(file.sha256 for file in self.files)


def checksum_of(hashes: Iterable[str]) -> str:
    """`manifestChecksum`: SHA-256 of all file hashes, sorted and joined; paths do not enter it."""
    return hashlib.sha256("".join(sorted(hashes)).encode("ascii")).hexdigest()


def checked_path(path: str) -> str:
    """A manifest path made relative. Raises InvalidManifest when it is empty or could leave the folder."""
    relative = path.removeprefix("/")
    if not relative or "\\" in relative or any(part in ("", ".", "..") for part in relative.split("/")):
        raise InvalidManifest(f"The manifest names a file {path!r}, which is no path inside the model.")
    return relative


def read_manifest(folder: Path) -> Manifest | None:
    """The folder's manifest, new name or legacy name; None when it has none.

    Raises InvalidManifest when it does not parse, lacks keys, or its checksum does not match its hashes.
    """
    for name in (MANIFEST_FILE, LEGACY_MANIFEST_FILE):
        try:
            content = read_regular(folder / name, at_most=MAX_MANIFEST_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            continue
        return parse_manifest(content)
    return None


def parse_manifest(content: bytes) -> Manifest:
    """A manifest's bytes → its value. Raises InvalidManifest."""
    try:
        raw = json.loads(content)
        version = raw["manifestVersion"]
        manifest = Manifest(
            model_id=str(raw["modelId"]),
            files=tuple(_manifest_file(item) for item in raw["files"]),
            slug=str(raw.get("slug") or str(raw["modelId"]).replace("/", "_")),
            primary_repository=str(raw.get("primaryRepo") or raw["modelId"]),
            components=tuple(_component_names(raw.get("components") or ())),
            updated_at=str(raw.get("updatedAt", "")),
            rest={key: value for key, value in raw.items() if key not in WRITTEN_KEYS},
        )
        announced = raw["manifestChecksum"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidManifest(f"The manifest cannot be read: {type(error).__name__} {error}.") from None
    if version != MANIFEST_VERSION:
        raise InvalidManifest(f"The manifest has version {version!r}; we know {MANIFEST_VERSION}.")
    if announced != manifest.checksum:
        raise InvalidManifest("The manifest's checksum does not match its file hashes.")
    return manifest


WRITTEN_KEYS = frozenset(
    {"manifestVersion", "modelId", "primaryRepo", "components", "slug", "updatedAt", "files", "manifestChecksum"}
)


def _component_names(components: Iterable[Any]) -> list[str]:
    return [str(item.get("id", item)) if isinstance(item, dict) else str(item) for item in components]


def _manifest_file(item: Mapping[str, Any]) -> ManifestFile:
    size_bytes = item["sizeBytes"]
    if not isinstance(item["sha256"], str) or not SHA256_HEX.fullmatch(item["sha256"]):
        raise InvalidManifest(f"The manifest gives {item['path']!r} no SHA-256.")
    if type(size_bytes) is not int or size_bytes < 0:
        raise InvalidManifest(f"The manifest gives {item['path']!r} no size.")
    return ManifestFile(checked_path(item["path"]), item["sha256"], size_bytes)


def listed_files(folder: Path) -> list[Path]:
    """The files of a model that belong into its manifest, sorted by path: regular, visible, no bookkeeping."""
    found: list[Path] = []
    pending = [folder]
    while pending:
        for entry in pending.pop().iterdir():
            if entry.name.startswith(".") or entry.is_symlink():
                continue
            if entry.is_dir():
                pending.append(entry)
            elif entry.is_file() and entry.name not in IGNORED_NAMES and entry.suffix not in IGNORED_SUFFIXES:
                found.append(entry)
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def utc_text(time_s: float) -> str:
    """A moment in UTC, to the second: `2026-05-12T09:30:00Z`."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time_s))


def make_manifest(folder: Path, *, model_id: str, hashes: Mapping[str, str] | None = None) -> Manifest:
    """The manifest of the files in `folder`; `hashes` are those already known, by path.

    Raises InvalidManifest for an empty file: it is never part of a model.
    """
    files: list[ManifestFile] = []
    for path in listed_files(folder):
        relative = path.relative_to(folder).as_posix()
        size_bytes = path.stat().st_size
        if size_bytes == 0:
            raise InvalidManifest(f"{path} is empty.", hint="Remove it, or fetch the model again.")
        files.append(ManifestFile(relative, (hashes or {}).get(relative) or sha256_of(path), size_bytes))
    if not files:
        raise InvalidManifest(f"{folder} holds no files.")
    slug = model_id.replace("/", "_")
    return Manifest(
        model_id=model_id,
        files=tuple(files),
        slug=slug,
        primary_repository=model_id,
        components=(slug,),
        updated_at=utc_text(time.time()),
    )


def manifest_bytes(manifest: Manifest) -> bytes:
    """The manifest as Acervo writes it: indented JSON with sorted keys."""
    raw = {
        **manifest.rest,
        "manifestVersion": MANIFEST_VERSION,
        "modelId": manifest.model_id,
        "primaryRepo": manifest.primary_repository,
        "components": list(manifest.components),
        "slug": manifest.slug,
        "updatedAt": manifest.updated_at,
        "files": [
            {"path": file.path, "sha256": file.sha256, "sizeBytes": file.size_bytes}
            for file in sorted(manifest.files, key=lambda file: file.path)
        ],
        "manifestChecksum": manifest.checksum,
    }
    return (json.dumps(raw, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode("utf-8")


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `manifest.json` durably, read it back and compare; a manifest that reads differently is removed."""
    path = folder / MANIFEST_FILE
    write_durably(path, manifest_bytes(manifest))
    try:
        read_back = parse_manifest(path.read_bytes())
        sizes_match = all((folder / file.path).stat().st_size == file.size_bytes for file in read_back.files)
        whole = sizes_match and read_back.checksum == manifest.checksum
    except BaseException:
        path.unlink()
        raise
    if not whole:
        path.unlink()
        raise InvalidManifest(f"The manifest written to {folder} does not describe the files there.")


def is_verified(folder: Path, manifest: Manifest) -> bool:
    """Whether `.acervo-verified.json` vouches for this very manifest, and no file is newer than it."""
    marker = folder / VERIFIED_FILE
    try:
        raw = json.loads(read_regular(marker, at_most=MAX_RECORD_BYTES))
        vouched_s = marker.stat().st_mtime
        unchanged = all((folder / file.path).stat().st_mtime <= vouched_s for file in manifest.files)
    except (OSError, ValueError, RecursionError):
        return False
    return unchanged and isinstance(raw, dict) and raw.get("manifestChecksum") == manifest.checksum


def mark_verified(folder: Path, manifest: Manifest) -> None:
    """Write `.acervo-verified.json`: every hash of `manifest` was found to be right."""
    marker = {"manifestChecksum": manifest.checksum, "verifiedAt": utc_text(time.time())}
    write_durably(folder / VERIFIED_FILE, json.dumps(marker, indent=2, sort_keys=True).encode())


def write_provenance(folder: Path, *, repository: str, revision: str | None, source: str) -> None:
    """Record the repository, the commit and how the files came here ("download", "adopted", "quantized")."""
    record = {"repository": repository, "revision": revision, "source": source}
    write_durably(folder / PROVENANCE_FILE, (json.dumps(record, indent=2, sort_keys=True) + "\n").encode("utf-8"))


def read_provenance(folder: Path) -> dict[str, Any] | None:
    """The record of `folder`; None when it has none that can be read."""
    try:
        record = json.loads(read_regular(folder / PROVENANCE_FILE, at_most=MAX_RECORD_BYTES))
    except (OSError, ValueError, RecursionError):
        return None  # absent or damaged: it is only a record, the model can be used without it
    return record if isinstance(record, dict) else None
