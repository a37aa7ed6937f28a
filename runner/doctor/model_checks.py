"""The model directory → findings about models: broken ones, wasted space, leftovers, the network switch."""

from __future__ import annotations

import os
import shlex
import shutil
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from models.fetch.download import begun_downloads
from models.fetch.hub import is_offline
from models.migrate.journal import Journal
from models.migrate.legacy_places import LegacyModel, Scan, scan_legacy
from models.store.availability import Partial, download_in_flight
from models.store.forecast import default_models
from models.store.installed import InstalledModel, installed_id, list_models
from models.store.upkeep import repair_hint
from registry.errors import StorageError
from runner.doctor.findings import NOTE, OK, PROBLEM, WARNING, Found
from runner.text_format import counted, size

LOW_SPACE_BYTES = 5_000_000_000


def check_models(directory: Path, *, environ: Mapping[str, str], offline: bool = False) -> Found:
    """Every finding about models. A place that cannot be read is a finding too."""
    yield from _directory(directory)
    try:
        installed = list_models(directory)
    except StorageError as error:
        yield PROBLEM, f"models directory: {error.message}", error.hint
        return
    scan = scan_legacy(directory, environ=environ)
    yield from _broken(installed)
    yield from _interrupted(directory)
    yield from _duplicates(installed, scan)
    yield from _legacy(installed, scan)
    for closed in scan.findings:
        hint = "On macOS: System Settings, Privacy & Security, Files and Folders or Full Disk Access."
        yield NOTE, f"closed places: {closed.folder} cannot be read: {closed.reason}.", hint
    yield _network(environ, offline=offline)


def _directory(directory: Path) -> Found:
    if not directory.exists():
        yield NOTE, f"models directory: {directory} does not exist yet; it is made when a model is needed.", ""
        return
    if not directory.is_dir() or not os.access(directory, os.W_OK | os.X_OK):
        hint = "Give this user access to it, or choose another with --models-dir or VOICEJOBS_MODELS_DIR."
        yield PROBLEM, f"models directory: {directory} cannot be written to.", hint
        return
    free_bytes = shutil.disk_usage(directory).free
    is_low = free_bytes < LOW_SPACE_BYTES
    message = f"models directory: {directory}, {free_bytes / 1e9:.1f} GB free."
    yield WARNING if is_low else OK, message, "A large model needs 4.6 GB." if is_low else ""


def _broken(installed: list[InstalledModel]) -> Found:
    partial = [(model, model.state) for model in installed if isinstance(model.state, Partial)]
    for model, state in partial:
        problems = "; ".join(state.problems[:3] or state.missing[:3])
        hint = repair_hint(model)
        yield PROBLEM, f"broken models: {model.id} in {model.folder}: {problems}.", hint
    for model in installed:
        if model.state.state == "not_available":
            reason = getattr(model.state, "reason", "it cannot be judged")
            yield (
                WARNING,
                f"broken models: {model.id} in {model.folder} is not a usable model: {reason}.",
                repair_hint(model),
            )
    if not any(model.kind.is_speech for model in installed):
        hint = "`voicejobs models list --all` names them, `voicejobs models pull NAME` fetches one in advance."
        defaults = default_models()
        total = size(sum(entry.size_bytes for entry in defaults))
        message = f"models: no speech model is installed: the first job that needs one fetches it (all {total})."
        yield NOTE, message, hint
    if not partial:
        yield OK, f"broken models: {counted(len(installed), 'model')}, none broken.", ""


def _interrupted(directory: Path) -> Found:
    for gathering in begun_downloads(directory):
        folder = directory / gathering.name.removesuffix(".download")
        if download_in_flight(folder) is None:
            name = shlex.quote(installed_id(folder))
            hint = f"`voicejobs models pull {name}` continues it; `voicejobs models rm {name}` throws it away."
            yield WARNING, f"interrupted work: a download of {folder.name} was interrupted.", hint
    journal = Journal(directory)
    if (unreadable := journal.unreadable()) > 1:
        aside = shlex.join(("mv", str(journal.path), f"{journal.path}.moved"))
        hint = f"Move it away: {aside}. Only an undo of a migration needs it."
        yield WARNING, f"journal: {journal.path} holds {counted(unreadable, 'line')} that cannot be read.", hint
    for operation in journal.interrupted():
        hint = "The next job, or `voicejobs models migrate`, finishes it or takes it back."
        yield WARNING, f"interrupted work: a move of {operation.model} was interrupted.", hint


def _duplicates(installed: list[InstalledModel], scan: Scan) -> Found:
    """Models that are on the disk more than once; copies that share their bytes by hard links waste nothing."""
    folders: dict[str, list[Path]] = defaultdict(list)
    for model in installed:
        folders[model.id.casefold()].append(model.folder)
    for candidate in scan.candidates:
        folders[candidate.id.casefold()].append(candidate.folder)
    for model_id, places in sorted(folders.items()):
        wasted_bytes = _wasted_bytes(places)
        if wasted_bytes > 0:
            where = ", ".join(str(place) for place in places)
            message = (
                f"duplicates: {model_id} is in {len(places)} places and wastes {wasted_bytes / 1e9:.2f} GB: {where}."
            )
            yield WARNING, message, "Delete the copies outside the model directory yourself."


def _wasted_bytes(folders: list[Path]) -> int:
    """Bytes on the disk beyond the largest of the folders, each file counted once."""
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
    weighty = [total for total in totals if total > 1 << 20]  # our own records beside hard links are not a copy
    return sum(weighty) - max(weighty, default=0)


def _legacy(installed: list[InstalledModel], scan: Scan) -> Found:
    present = {model.id.casefold() for model in installed}
    left: dict[str, list[LegacyModel]] = defaultdict(list)
    for candidate in scan.candidates:
        if candidate.action != "reference" and candidate.id.casefold() not in present:
            left[candidate.place.name].append(candidate)
    for place, candidates in left.items():
        total_gb = sum(candidate.size_bytes for candidate in candidates) / 1e9
        where = f"{candidates[0].place.folder} ({place})"
        message = f"legacy models: {counted(len(candidates), 'model')} ({total_gb:.1f} GB) in {where}."
        yield NOTE, message, "`voicejobs models migrate --dry-run` shows what it would do."


def _network(environ: Mapping[str, str], *, offline: bool) -> tuple[str, str, str]:
    if not is_offline(environ, setting=offline):
        return OK, "network: models may be fetched when a job needs one.", ""
    names = [name for name in ("ACERVO_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE") if environ.get(name)]
    why = "the setting `offline`" if offline else ", ".join(names)
    return NOTE, f"network: offline mode is on ({why}): no model is ever fetched.", ""
