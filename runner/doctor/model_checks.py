"""What `doctor` says about models: the directory, broken models, wasted space, leftovers, the network switch.

Facts only: each check is a value, and nothing is changed.
"""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from models.fetch.download import begun_downloads
from models.fetch.hub import is_offline
from models.migrate.legacy_places import LegacyModel, Scan, scan_legacy
from models.store.availability import Partial, download_in_flight
from models.store.journal import Journal
from models.store.shared_directory import InstalledModel, list_models
from registry.errors import StorageError
from runner.doctor.findings import NOTE, OK, PROBLEM, WARNING, Finding
from runner.text_format import counted

LOW_SPACE_BYTES = 5_000_000_000


def check_models(directory: Path, *, environ: Mapping[str, str], offline: bool = False) -> list[Finding]:
    """Every finding about models. A place that cannot be read is a finding too."""
    findings = [*_directory(directory)]
    try:
        installed = list_models(directory)
    except StorageError as error:
        return [*findings, _finding(PROBLEM, "models directory", error.message, error.hint)]
    scan = scan_legacy(directory, environ=environ)
    findings += [*_broken(installed), *_interrupted(directory), *_duplicates(installed, scan)]
    findings += [*_legacy(installed, scan), *_unreadable(scan), *_network(environ, offline=offline)]
    return findings


def _finding(severity: str, check: str, message: str, remedy: str = "") -> Finding:
    return Finding(severity=severity, check=check, message=message, remedy=remedy)


def _directory(directory: Path) -> Iterator[Finding]:
    check = "models directory"
    if not directory.exists():
        yield _finding(NOTE, check, f"{directory} does not exist yet; it is made when a model is needed.")
        return
    if not directory.is_dir() or not os.access(directory, os.W_OK | os.X_OK):
        hint = "Give this user access to it, or choose another with --models-dir or VOICEJOBS_MODELS_DIR."
        yield _finding(PROBLEM, check, f"{directory} cannot be written to.", hint)
        return
    free_bytes = shutil.disk_usage(directory).free
    message = f"{directory}, {free_bytes / 1e9:.1f} GB free."
    if free_bytes < LOW_SPACE_BYTES:
        yield _finding(WARNING, check, message, "A large model needs 4.6 GB.")
    else:
        yield _finding(OK, check, message)


def _broken(installed: list[InstalledModel]) -> Iterator[Finding]:
    partial = [model for model in installed if isinstance(model.state, Partial)]
    for model in partial:
        assert isinstance(model.state, Partial)
        problems = "; ".join(model.state.problems[:3] or model.state.missing[:3])
        hint = f"`voicejobs models pull {model.id}` fetches what is missing."
        yield _finding(PROBLEM, "broken models", f"{model.id} in {model.folder}: {problems}.", hint)
    for model in installed:
        if model.state.state == "not_available":
            reason = getattr(model.state, "reason", "it cannot be judged")
            yield _finding(WARNING, "broken models", f"{model.id} in {model.folder} is no usable model: {reason}.")
    if not any(model.kind.is_speech for model in installed):
        hint = "`voicejobs models list --all` names them, `voicejobs models pull NAME` fetches one beforehand."
        yield _finding(NOTE, "models", "no speech model is here: the first job that needs one fetches it.", hint)
    if not partial:
        yield _finding(OK, "broken models", f"{counted(len(installed), 'model')}, none broken.")


def _interrupted(directory: Path) -> Iterator[Finding]:
    for gathering in begun_downloads(directory):
        folder = directory / gathering.name.removesuffix(".download")
        if download_in_flight(folder) is None:
            hint = "`voicejobs models pull` goes on with it; `voicejobs models rm` throws it away."
            yield _finding(WARNING, "interrupted work", f"A download of {folder.name} was interrupted.", hint)
    for operation in Journal(directory).interrupted():
        hint = "The next job, or `voicejobs models migrate`, finishes it or takes it back."
        yield _finding(WARNING, "interrupted work", f"A move of {operation.model} was interrupted.", hint)


def _duplicates(installed: list[InstalledModel], scan: Scan) -> Iterator[Finding]:
    """Models that lie on the disk more than once; copies that share their bytes by hard links waste nothing."""
    folders: dict[str, list[Path]] = defaultdict(list)
    for model in installed:
        folders[model.id.casefold()].append(model.folder)
    for candidate in scan.candidates:
        folders[candidate.id.casefold()].append(candidate.folder)
    for model_id, places in sorted(folders.items()):
        wasted_bytes = _wasted_bytes(places)
        if wasted_bytes > 0:
            where = ", ".join(str(place) for place in places)
            message = f"{model_id} lies in {len(places)} places and wastes {wasted_bytes / 1e9:.2f} GB: {where}."
            yield _finding(WARNING, "duplicates", message, "Delete the copies outside the model directory yourself.")


def _wasted_bytes(folders: list[Path]) -> int:
    """Bytes on the disk beyond the largest of the folders, each file's bytes counted once."""
    seen: set[tuple[int, int]] = set()
    totals: list[int] = []
    for folder in folders:
        total = 0
        for path in folder.rglob("*"):
            try:
                status = path.stat()
            except OSError:
                continue  # a dangling link: no bytes
            if path.is_file() and (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                total += status.st_size
        totals.append(total)
    weighty = [total for total in totals if total > 1 << 20]  # our own records beside hard links are no copy
    return sum(weighty) - max(weighty, default=0)


def _legacy(installed: list[InstalledModel], scan: Scan) -> Iterator[Finding]:
    present = {model.id.casefold() for model in installed}
    left: dict[str, list[LegacyModel]] = defaultdict(list)
    for candidate in scan.candidates:
        if candidate.action != "reference" and candidate.id.casefold() not in present:
            left[candidate.place.name].append(candidate)
    for place, candidates in left.items():
        total_bytes = sum(candidate.size_bytes for candidate in candidates)
        many = counted(len(candidates), "model")
        message = f"{many} ({total_bytes / 1e9:.1f} GB) in {candidates[0].place.folder} ({place})."
        yield _finding(NOTE, "legacy models", message, "`voicejobs models migrate --dry-run` shows what it would do.")


def _unreadable(scan: Scan) -> Iterator[Finding]:
    for finding in scan.findings:
        hint = "On macOS: System Settings, Privacy & Security, Files and Folders or Full Disk Access."
        yield _finding(NOTE, "closed places", f"{finding.folder} cannot be read: {finding.reason}.", hint)


def _network(environ: Mapping[str, str], *, offline: bool) -> Iterator[Finding]:
    if is_offline(environ, setting=offline):
        names = [name for name in ("ACERVO_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE") if environ.get(name)]
        why = "the setting `offline`" if offline else ", ".join(names)
        yield _finding(NOTE, "network", f"Offline mode is on ({why}): no model is ever fetched.")
    else:
        yield _finding(OK, "network", "Models may be fetched when a job needs one.")
