"""A home folder → models in it that other programs left, and places that could not be read.

This module reads the disk and changes nothing. The places and what may be done with each are listed in
docs/models.md.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from models.migrate.folder_files import entries_below
from models.named_paths import home_of, named_path
from models.store.availability import Availability, Available, NotAvailable, availability, folder_bytes, is_qwen3_tts
from models.store.shared_directory import cache_home, data_home, id_of

MOVE, ADOPT, REFERENCE = "move", "adopt", "reference"
SLUGS, HUB, NESTED = "slug folders", "hub cache", "org/repo folders"

LEGACY_KINDS = ("LLM", "TTS", "Audio", "VLM")  # this order decides which of two equal names is taken
APP_GROUP = "group.intrusive-memory.models"


@dataclass(frozen=True)
class Place:
    """A folder that may hold models, its layout, and what may be done with them."""

    name: str
    folder: Path
    layout: str
    action: str


@dataclass(frozen=True, kw_only=True)
class LegacyModel:
    """A model outside the shared directory."""

    id: str
    folder: Path
    place: Place
    action: str  # the place's, but never "move" for a folder whose links would break
    state: Availability
    is_speech: bool
    size_bytes: int
    revision: str | None = None

    @property
    def is_usable(self) -> bool:
        return isinstance(self.state, Available)

    @property
    def slug(self) -> str:
        return self.id.replace("/", "_") if self.place.layout != SLUGS else self.folder.name


@dataclass(frozen=True)
class PlaceFinding:
    """A place that exists and that the system refuses to open, or that holds something we do not touch."""

    place: str
    folder: Path
    reason: str


@dataclass(frozen=True)
class Scan:
    candidates: tuple[LegacyModel, ...]
    findings: tuple[PlaceFinding, ...]


def legacy_places(environ: Mapping[str, str]) -> list[Place]:
    """Every place to look at, in the order in which equal models are preferred."""
    home, library = home_of(environ), home_of(environ) / "Library"
    caches, data = cache_home(environ), data_home(environ)
    places = [
        Place(f"intrusive-memory {kind}", root / "intrusive-memory" / "Models" / kind, SLUGS, MOVE)
        for root in _distinct([library / "Caches", caches])
        for kind in LEGACY_KINDS
    ]
    places += [
        Place("SharedModels", library / "SharedModels", SLUGS, MOVE),
        Place("SharedModels", data / "SharedModels", SLUGS, MOVE),
        Place("SwiftAcervo", library / "Application Support/SwiftAcervo/SharedModels", SLUGS, MOVE),
        Place("SwiftAcervo", data / "SwiftAcervo" / "SharedModels", SLUGS, MOVE),
        Place("app group", data / APP_GROUP / "SharedModels", SLUGS, MOVE),
    ]
    places += [Place("mlx-audio", hub / "mlx-audio", SLUGS, MOVE) for hub in hub_caches(environ)]
    places += [Place("app group", folder, SLUGS, REFERENCE) for folder in _group_containers(library, environ)]
    places += [Place("Hugging Face cache", hub, HUB, ADOPT) for hub in hub_caches(environ)]
    places.append(Place("swift-transformers", home / "Documents/huggingface/models", NESTED, ADOPT))
    return places


def hub_caches(environ: Mapping[str, str]) -> list[Path]:
    """The Hugging Face caches that this environment names, and the usual one."""
    home = home_of(environ)
    named = [environ.get("HF_HUB_CACHE"), environ.get("HUGGINGFACE_HUB_CACHE")]
    folders = [named_path(os.path.expandvars(value), environ=environ) for value in named if value]
    if environ.get("HF_HOME"):
        folders.append(named_path(environ["HF_HOME"], environ=environ) / "hub")
    folders += [cache_home(environ) / "huggingface/hub", home / ".cache/huggingface/hub"]
    return _distinct(folders)


def _distinct(folders: list[Path]) -> list[Path]:
    return list(dict.fromkeys(folders))


def _group_containers(library: Path, environ: Mapping[str, str]) -> list[Path]:
    """The app-group folders that Acervo's programs use, those with a team's prefix included."""
    groups = _distinct([Path(environ.get("ACERVO_APP_GROUP_ID") or APP_GROUP), Path(APP_GROUP)])
    containers = library / "Group Containers"
    folders = [containers / group / "SharedModels" for group in groups]
    try:
        names = sorted(path.name for path in containers.iterdir())
    except OSError:
        return folders  # absent, or closed to us: the plain names are tried, and a refusal is then a finding
    prefixed = [name for name in names for group in groups if name.endswith(f".{group}")]
    return _distinct([*folders, *(containers / name / "SharedModels" for name in prefixed)])


def scan_legacy(
    directory: Path, *, environ: Mapping[str, str], only: Collection[str] | None = None, speech_only: bool = False
) -> Scan:
    """Every model outside `directory`, in order of preference; `only` limits it to some ids, in any case.

    With `speech_only` folders that are no Qwen3-TTS models are passed over unless `only` names them.
    """
    wanted = None if only is None else {model_id.casefold() for model_id in only}
    candidates: list[LegacyModel] = []
    findings: list[PlaceFinding] = []
    seen = {_identity(directory)}
    for place in legacy_places(environ):
        if (identity := _identity(place.folder)) in seen:
            continue
        seen.add(identity)
        try:
            found = list(_folders_in(place))
        except OSError as error:
            findings.append(_refusal(place, place.folder, error))
            continue
        for model_id, folder, revision in found:
            if wanted is not None and model_id.casefold() not in wanted:
                continue
            try:
                if (folder / "config.json").is_file() and (not speech_only or is_qwen3_tts(folder)):
                    candidates.append(_candidate(model_id, folder, place=place, revision=revision))
            except OSError as error:
                findings.append(_refusal(place, folder, error))
    return Scan(tuple(candidates), tuple(findings))


def _refusal(place: Place, folder: Path, error: OSError) -> PlaceFinding:
    return PlaceFinding(place.name, folder, error.strerror or str(error))


def _identity(folder: Path) -> object:
    """Identity of a folder, the same for two spellings of its path."""
    try:
        status = folder.stat()
    except OSError:
        return folder
    return (status.st_dev, status.st_ino)


def _folders_in(place: Place) -> Iterator[tuple[str, Path, str | None]]:
    """(model id, folder, commit) of the candidates of a place. Raises OSError when it exists and cannot be read."""
    if place.layout == HUB:
        yield from _hub_snapshots(place.folder)
        return
    for folder in _real_folders(place.folder):
        if place.layout == NESTED:
            for repository in _real_folders(folder):
                yield f"{folder.name}/{repository.name}", repository, None
        else:
            yield id_of(folder.name) or folder.name, folder, None


def _real_folders(parent: Path) -> list[Path]:
    """The visible folders directly below `parent`, sorted; links are passed over, also those in a loop."""
    try:
        entries = sorted(os.scandir(parent), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [
        Path(entry.path)
        for entry in entries
        if not entry.name.startswith(".") and not entry.is_symlink() and entry.is_dir(follow_symlinks=False)
    ]


def _hub_snapshots(cache: Path) -> Iterator[tuple[str, Path, str | None]]:
    for repository in _real_folders(cache):
        kind, _, rest = repository.name.partition("--")
        organisation, separator, name = rest.partition("--")
        snapshot = _chosen_snapshot(repository) if kind == "models" and separator else None
        if snapshot is not None:
            yield f"{organisation}/{name}", snapshot, snapshot.name


def _chosen_snapshot(repository: Path) -> Path | None:
    """The snapshot that `refs/main` names; where it is absent, the newest one that is whole, else the newest."""
    snapshots = _real_folders(repository / "snapshots")
    with contextlib.suppress(OSError, ValueError):
        commit = (repository / "refs" / "main").read_text(encoding="ascii").strip()
        if (named := next((folder for folder in snapshots if folder.name == commit), None)) is not None:
            return named
    newest = sorted(snapshots, key=lambda folder: folder.stat().st_mtime_ns, reverse=True)
    whole = (folder for folder in newest if isinstance(availability(folder), Available))
    return next(whole, next(iter(newest), None))


def _candidate(model_id: str, folder: Path, *, place: Place, revision: str | None) -> LegacyModel:
    state = availability(folder)
    action = place.action
    if place.layout == HUB and not _stays_in(folder, place.folder):
        state = NotAvailable("it has a link that leaves the cache")
    if action == MOVE and not _stays_in(folder, folder, relative=True):
        action = ADOPT  # a rename would break its links: their files are taken instead, and it stays
    return LegacyModel(
        id=model_id,
        folder=folder,
        place=place,
        action=action,
        state=state,
        is_speech=is_qwen3_tts(folder),
        size_bytes=folder_bytes(folder),
        revision=revision,
    )


def _stays_in(folder: Path, boundary: Path, *, relative: bool = False) -> bool:
    """Whether every link below `folder` leads to something inside `boundary` (and, if asked, is relative)."""
    limit = boundary.resolve()
    for link, kind in entries_below(folder):
        if kind != "link":
            continue
        try:
            inside = link.resolve(strict=True).is_relative_to(limit)
        except (OSError, RuntimeError):
            continue  # dangling or in a loop: nothing to lose; availability says what is missing
        if not inside or (relative and link.readlink().is_absolute()):
            return False
    return True
