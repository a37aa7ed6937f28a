"""A model's folder → whether it can be used: not available, partial (with what is missing), available, downloading.

This module reads the disk and changes nothing. The tiers are Acervo's: a verified marker, the local manifest,
then a heuristic over `config.json` and weight indexes. Further needs of a Qwen3-TTS model, and the structure of
every safetensors file, are checked in each tier.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Union

from models.checkpoint_format.judgement import Unfit, unfit_parts
from models.checkpoint_format.whisper_files import is_whisper_config, whisper_problems
from models.errors import InvalidManifest
from models.store.families import family_of
from models.store.foreign_checkpoint import PICKLES, loading_problems
from models.store.manifest import Manifest, ManifestFile, is_verified, read_manifest
from models.store.safetensors_check import safetensors_problem
from models.store.shared_directory import download_folder_of, download_state_of, lock_path_of
from registry.durable_files import is_locked, read_regular, sha256_of

WEIGHTS_SUFFIX = ".safetensors"
INDEX_SUFFIX = ".safetensors.index.json"
MAX_CONFIG_BYTES = 4_000_000  # parsed in some 50 ms, also where nobody else may wait
MAX_INDEX_BYTES = 8_000_000
FORBIDDEN_HINT = "Use a repository with safetensors weights and no code of its own."
UNFIT_HINT = "Its files are whole but do not fit together. Fetch it again, or use a published model."
SPEECH_TOKENIZER = "speech_tokenizer"
MODEL_MARKS = ("config.json", "model_index.json", "manifest.json", ".acervo-manifest.json")


@dataclass(frozen=True)
class NotAvailable:
    """No model, or nothing that can be judged."""

    state: ClassVar[str] = "not_available"
    reason: str = "no such folder"

    @property
    def problems(self) -> tuple[str, ...]:
        return (self.reason,)


@dataclass(frozen=True)
class Partial:
    """A model with files missing, damaged, or such that loading refuses them.

    `missing` are their paths, `problems` say what is wrong with each, `hint` what to do where fetching them again
    would not help.
    """

    state: ClassVar[str] = "partial"
    missing: tuple[str, ...]
    problems: tuple[str, ...] = ()
    hint: str = ""


@dataclass(frozen=True)
class Available:
    """A whole model; `tier` is the rule that says so: "verified", "manifest" or "heuristic"."""

    state: ClassVar[str] = "available"
    tier: str = "heuristic"


@dataclass(frozen=True)
class Downloading:
    """A model that some process is fetching; bytes on disk so far, of bytes in all (0: not known yet)."""

    state: ClassVar[str] = "downloading"
    done_bytes: int = 0
    total_bytes: int = 0

    @property
    def progress(self) -> float:
        return min(1.0, self.done_bytes / self.total_bytes) if self.total_bytes else 0.0


Availability = Union[NotAvailable, Partial, Available, Downloading]  # noqa: UP007 - used as a value by Python 3.10


Checker = Callable[[Path], str | None]  # a weight file -> what is wrong with it


def availability(
    folder: Path, *, verify_hashes: bool = False, check_weights: Checker = safetensors_problem
) -> Availability:
    """The state of the model in `folder`; `verify_hashes` also reads every byte that a manifest vouches for."""
    judged = _judged(folder, verify_hashes=verify_hashes, check_weights=check_weights)
    if isinstance(judged, Available):
        return judged
    return download_in_flight(folder) or judged


def _judged(folder: Path, *, verify_hashes: bool, check_weights: Checker) -> Availability:
    if not folder.is_dir():
        return NotAvailable("no such folder")
    try:
        manifest = read_manifest(folder)
    except InvalidManifest as error:
        return Partial(("manifest.json",), (error.message,))
    except OSError as error:
        return NotAvailable(f"cannot be read: {error.strerror}")
    try:
        findings = _Findings(folder, check_weights)
        if manifest is not None:
            return _by_manifest(folder, manifest, findings, verify_hashes=verify_hashes)
        return _by_heuristic(folder, findings)
    except OSError as error:
        return NotAvailable(f"cannot be read: {error.strerror}")


class _Findings:
    """Files missing or damaged in a folder, each path once."""

    def __init__(self, folder: Path, check: Checker) -> None:
        self.folder = folder
        self.by_path: dict[str, str] = {}
        self.hint = ""
        self._check = check
        self._checked: set[str] = set()

    def add(self, path: str, problem: str) -> None:
        self.by_path.setdefault(path, f"{path} {problem}")

    def add_all(self, found: Iterable[tuple[str, str]]) -> None:
        """Add paths and what is wrong with each."""
        for path, problem in found:
            self.add(path, problem)

    def check_weights(self, relative: str) -> None:
        """Check the structure of one weight file, once."""
        if relative not in self._checked:
            self._checked.add(relative)
            problem = self._check(self.folder / relative)
            if problem is not None:
                self.add(relative, problem)

    def add_unfit(self, parts: Iterable[Unfit]) -> None:
        """Add parts that are whole, and that loading refuses."""
        for part in parts:
            self.by_path.setdefault(part.path, part.message.removesuffix("."))
            self.hint = self.hint or part.hint or UNFIT_HINT

    def verdict(self, tier: str) -> Availability:
        if self.by_path:
            paths = sorted(self.by_path)
            return Partial(tuple(paths), tuple(self.by_path[path] for path in paths), self.hint)
        return Available(tier)


def _by_manifest(folder: Path, manifest: Manifest, findings: _Findings, *, verify_hashes: bool) -> Availability:
    trusted = is_verified(folder, manifest)
    for file in manifest.files:
        problem = _manifest_file_problem(folder / file.path, file, verify_hashes=verify_hashes)
        if problem is not None:
            findings.add(file.path, problem)
        elif file.path.endswith(WEIGHTS_SUFFIX) and not trusted:
            findings.check_weights(file.path)
    config = _read_json(folder / "config.json")
    if _is_qwen3_tts_config(config):
        _check_qwen3_tts(folder, findings, check_structure=not trusted)
    elif is_whisper_config(config):
        findings.add_all(whisper_problems(folder, check_structure=not trusted))
    else:
        _check_others(folder, config, findings)
    return findings.verdict("verified" if trusted or verify_hashes else "manifest")


def _manifest_file_problem(path: Path, file: ManifestFile, *, verify_hashes: bool) -> str | None:
    try:
        size_bytes = path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return "is missing"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if size_bytes != file.size_bytes:
        return f"has {size_bytes} bytes, where the manifest says {file.size_bytes}"
    if not path.is_file():
        return "is no regular file"
    if verify_hashes and sha256_of(path) != file.sha256:
        return "has another SHA-256 than the manifest says"
    return None


def _by_heuristic(folder: Path, findings: _Findings) -> Availability:
    config_path = folder / "config.json"
    if not config_path.is_file() and not (folder / "model_index.json").is_file():
        return NotAvailable("it holds neither config.json nor model_index.json")
    config = _read_json(config_path)
    if config_path.is_file() and not isinstance(config, dict):
        findings.add("config.json", "does not parse")
    for index in names_ending(folder, INDEX_SUFFIX):
        shards = shards_of(_read_json(folder / index, at_most=MAX_INDEX_BYTES))
        if not shards:
            return NotAvailable(f"{index} names no weights")
        for shard in shards:
            findings.check_weights(shard)
    for component in _diffusers_components(_read_json(folder / "model_index.json")):
        if not (folder / component).is_dir():
            findings.add(component, "is missing")
    if _is_qwen3_tts_config(config):
        _check_qwen3_tts(folder, findings, check_structure=True)
    elif is_whisper_config(config):
        findings.add_all(whisper_problems(folder, check_structure=True))
    else:
        for name in names_ending(folder, WEIGHTS_SUFFIX):
            findings.check_weights(name)
        _check_others(folder, config, findings)
    return findings.verdict("heuristic")


def _check_others(folder: Path, config: Any, findings: _Findings) -> None:
    """Find what forbids to load a model of another family; its companions are looked at by whoever lists models."""
    if family_of(config, folder.name) is not None:
        for path, problem in loading_problems(folder):
            findings.add(path, problem)
            findings.hint = findings.hint or FORBIDDEN_HINT


def shards_of(index: Any) -> list[str]:
    """The weight files that a safetensors index names, without repetition; empty when it is malformed."""
    weight_map = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        return []
    names = sorted(set(weight_map.values()))
    return names if all(name and not name.startswith("/") and ".." not in name.split("/") for name in names) else []


def _diffusers_components(index: Any) -> Iterator[str]:
    """The sub-folders that a diffusers `model_index.json` names: those whose value is [library, class]."""
    if not isinstance(index, dict):
        return
    for name, value in index.items():
        if not name.startswith("_") and isinstance(value, list) and len(value) == 2 and all(value):
            yield name


def _check_qwen3_tts(folder: Path, findings: _Findings, *, check_structure: bool) -> None:
    """Find gaps in what the engine loads: weights, text tokenizer, `speech_tokenizer/` with its config and weights."""
    weights = names_ending(folder, WEIGHTS_SUFFIX)
    if not weights:
        pickled = next((name for suffix in PICKLES for name in names_ending(folder, suffix)), None)
        why = f"; {pickled} is a pickle, which can run any code when it is read, and is never loaded" if pickled else ""
        findings.add("model.safetensors", f"is missing{why}")
    has_pair = (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file()
    if not has_pair and not (folder / "tokenizer.json").is_file():
        for name in ("vocab.json", "merges.txt"):
            if not (folder / name).is_file():
                findings.add(name, "is missing")
    codec = folder / SPEECH_TOKENIZER
    if codec.exists() and not codec.is_dir():
        findings.add(SPEECH_TOKENIZER, "is a file, where a folder must be")
    codec_weights = [f"{SPEECH_TOKENIZER}/{name}" for name in names_ending(codec, WEIGHTS_SUFFIX)]
    if not codec_weights:
        findings.add(f"{SPEECH_TOKENIZER}/model.safetensors", "is missing")
    codec_config = codec / "config.json"
    if not codec_config.is_file():
        findings.add(f"{SPEECH_TOKENIZER}/config.json", "is missing")
    elif not isinstance(_read_json(codec_config), dict):
        findings.add(f"{SPEECH_TOKENIZER}/config.json", "does not parse")
    if check_structure:
        for relative in (*weights, *codec_weights):
            findings.check_weights(relative)
    if not findings.by_path:
        findings.add_unfit(unfit_parts(folder))


def _read_json(path: Path, *, at_most: int = MAX_CONFIG_BYTES) -> Any:
    """The parsed file, or None when it is absent, too large or malformed: the caller judges what that means."""
    try:
        return json.loads(read_regular(path, at_most=at_most))
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
        return None
    except OSError as error:
        if error.errno in (errno.EISDIR, errno.ENXIO, errno.EFBIG):  # no file, or none that could be a config
            return None
        raise


def _is_qwen3_tts_config(config: Any) -> bool:
    return isinstance(config, dict) and config.get("model_type") == "qwen3_tts"


def read_config(folder: Path) -> Any:
    """The parsed `config.json`; None when it is absent, malformed or not ours to read."""
    try:
        return _read_json(folder / "config.json")
    except OSError:
        return None


def is_qwen3_tts(folder: Path) -> bool:
    """Whether the folder says of itself that it is a Qwen3-TTS model."""
    return _is_qwen3_tts_config(read_config(folder))


def is_whisper(folder: Path) -> bool:
    """Whether the folder says of itself that it is a Whisper model for CTranslate2."""
    return is_whisper_config(read_config(folder))


def has_model_mark(folder: Path) -> bool:
    """Whether a folder counts as a model in listings; a link that leads nowhere marks a broken one."""
    try:
        marks = [entry for entry in list(os.scandir(folder)) if entry.name in MODEL_MARKS]
        return any(entry.is_symlink() or entry.is_file() for entry in marks)
    except OSError:
        return False  # not ours to open: no model for us


def weight_files(folder: Path) -> list[Path]:
    """Every safetensors file that loading this model reads."""
    folders = (folder, folder / SPEECH_TOKENIZER)
    return [place / name for place in folders for name in names_ending(place, WEIGHTS_SUFFIX)]


def names_ending(folder: Path, suffix: str) -> list[str]:
    """Names in `folder` that end so, sorted; hidden ones, which macOS leaves on other disks, are skipped."""
    try:
        names = [entry.name for entry in os.scandir(folder)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(name for name in names if name.endswith(suffix) and not name.startswith("."))


def folder_bytes(folder: Path) -> int:
    """Bytes of all regular files below `folder`, links followed to files but not into folders."""
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return 0  # it cannot be opened; availability names the reason
    size_bytes = 0
    for entry in entries:
        with contextlib.suppress(OSError):  # a dangling link
            is_folder = entry.is_dir(follow_symlinks=False)
            size_bytes += folder_bytes(Path(entry.path)) if is_folder else entry.stat().st_size
    return size_bytes


def download_in_flight(folder: Path) -> Downloading | None:
    """The progress of a process that is fetching this model at this moment; None when there is none."""
    incoming = download_folder_of(folder)
    if not incoming.is_dir() or not _is_locked(lock_path_of(folder)):
        return None
    state = _read_json(download_state_of(folder))
    total_bytes = state.get("total_bytes") if isinstance(state, dict) else 0
    return Downloading(folder_bytes(incoming), total_bytes if isinstance(total_bytes, int) else 0)


def _is_locked(path: Path) -> bool:
    try:
        return is_locked(path)
    except OSError:
        return False  # not ours to open: then no voicejobs of this user holds it
