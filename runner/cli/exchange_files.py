"""Files and folders on a person's disk → voices in the registry, and back, for `voices import` and `export`.

Imports that need an engine are dropped as jobs. This module touches the disk.
"""

from __future__ import annotations

import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from models.named_paths import read_named, shown_path, status_of
from models.voices.diga import BUILT_IN, DigaVoice, diga_folder, diga_voices
from models.voices.vox_archive import MAX_ARCHIVE_BYTES
from registry.errors import NotFound, VoiceJobsError
from registry.registry import Registry
from runner.config.instance import Instance
from runner.exchange.exporter import ExportedVoice, export_profile, export_prompt, export_voice
from runner.exchange.importer import add_versions, read_voice_file, store
from runner.exchange.voice_file_names import PROFILE_SUFFIX, PROMPT_SUFFIXES, VOX_SUFFIX, voice_name_from
from runner.exchange.voice_import import VoiceImport
from runner.jobfile.specs import DEFAULT_CANDIDATE_TEXT
from runner.output_files import write_target
from runner.submission.drop_writer import Submitted, job_from_values, submit_job

IMPORTED, KNOWN, QUEUED, REFUSED, SKIPPED = "imported", "known", "queued", "refused", "skipped"
SUFFIXES = (VOX_SUFFIX, PROMPT_SUFFIXES[0])  # that are looked for in a folder


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Result of importing one file, or one voice of a store."""

    source: str
    status: str
    voice: str | None = None
    versions: tuple[str, ...] = ()
    digest: str | None = None
    warnings: tuple[str, ...] = ()
    error: VoiceJobsError | None = None
    jobs: tuple[Submitted, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Importer:
    """Import of voices into an instance, with the options of the person who imports them."""

    instance: Instance
    registry: Registry
    voice: str | None = None
    consent: str | None = None
    transcript: str | None = None
    model: str | None = None
    set_current: bool = True

    def import_path(self, path: Path) -> Iterator[Outcome]:
        """Import a file, diga's store, or every voice file of a folder.

        A single file that is refused raises; in a folder it becomes an outcome, and the others are imported.
        """
        status = status_of(path)
        if status is None:
            raise NotFound(f"There is no file or folder {shown_path(path)}.")
        if not stat.S_ISDIR(status.st_mode):
            yield self.import_file(path)
            return
        diga = diga_folder(path)
        folders = dict.fromkeys([path, *([diga] if diga else [])])
        files = [file for folder in folders for file in _voice_files(folder, with_prompts=diga is None)]
        voices = diga_voices(diga) if diga else []
        if not files and not voices:
            raise NotFound(f"There are no voices in {path}.", hint=f"Voice files end in {' or '.join(SUFFIXES)}.")
        for file in files:
            yield _or_refused(str(file), partial(self.import_file, file))
        for voice in voices:
            yield _or_refused(voice.name, partial(self._import_diga, voice))

    def import_file(self, path: Path) -> Outcome:
        """Import one file. Raises VoxRefused, VoxInvalid, InvalidClonePrompt, …"""
        found = read_voice_file(
            read_named(path, limit_bytes=MAX_ARCHIVE_BYTES),
            file_name=path.name,
            voice=self.voice,
            consent=self.consent,
            transcript=self.transcript,
        )
        if found.needs_lock is not None:
            job = self._submit_import(path)
            return Outcome(source=str(path), status=QUEUED, voice=found.voice, warnings=found.warnings, jobs=(job,))
        return self._add(found, source=str(path))

    def _add(self, found: VoiceImport, *, source: str) -> Outcome:
        store(self.registry.objects, found)
        with self.registry.db.write() as session:
            result = add_versions(session, found, now_s=time.time(), set_current=self.set_current)
        chosen = result.chosen
        return Outcome(
            source=source,
            status=IMPORTED if result.added else KNOWN,
            voice=chosen.name,
            versions=tuple(version.name for version in result.versions),
            digest=f"sha256:{chosen.digest}",
            warnings=result.warnings,
        )

    def _submit_import(self, path: Path) -> Submitted:
        values: dict[str, Any] = {"kind": "import", "file": path.name, "set_current": self.set_current}
        for key in ("voice", "consent", "transcript", "model"):
            if getattr(self, key) is not None:
                values[key] = getattr(self, key)
        job = job_from_values(values, name=f"import-{path.stem}", folder=path.absolute().parent)
        return submit_job(self.instance, job)

    def _import_diga(self, voice: DigaVoice) -> Outcome:
        source = f"diga: {voice.name}"
        if voice.prompts:
            return self._add(_of_prompts(voice, consent=self.consent or "unknown"), source=source)
        if voice.description and voice.kind not in BUILT_IN:
            name = _own_name(voice.name)
            jobs = _submit_design(self.instance, name, voice.description)
            return Outcome(source=source, status=QUEUED, voice=name, jobs=jobs)
        return Outcome(source=source, status=SKIPPED, voice=voice.name)


def export_to(registry: Registry, reference: str, target: Path | None) -> tuple[ExportedVoice, Path]:
    """Write a voice to `target`, whole or not at all; without one, to NAME.vox in the working directory."""
    voice = exported(registry, reference, suffix="" if target is None else target.suffix.lower())
    path = target or Path.cwd() / voice.file_name
    write_target(path, voice.content)
    return voice, path


def exported(registry: Registry, reference: str, *, suffix: str = "") -> ExportedVoice:
    """Voice as the bytes that an export writes into a file with this suffix."""
    export = (
        export_prompt if suffix in PROMPT_SUFFIXES else export_profile if suffix == PROFILE_SUFFIX else export_voice
    )
    with registry.db.read() as session:
        return export(session, registry.objects, reference)


def _voice_files(folder: Path, *, with_prompts: bool) -> list[Path]:
    suffixes = SUFFIXES if with_prompts else (VOX_SUFFIX,)
    return [
        path
        for path in sorted(folder.iterdir())
        if path.name.lower().endswith(suffixes) and path.is_file() and not path.name.startswith(".")
    ]


def _or_refused(source: str, take_over: Callable[[], Outcome]) -> Outcome:
    try:
        return take_over()
    except VoiceJobsError as error:
        return Outcome(source=source, status=REFUSED, error=error)


# ---- diga --------------------------------------------------------------------------------------------------------


def _of_prompts(voice: DigaVoice, *, consent: str) -> VoiceImport:
    """Import of one voice with a version for each model size, the largest last and current."""
    name = _own_name(voice.name)
    parts = [
        read_voice_file(
            read_named(voice.prompts[size], limit_bytes=MAX_ARCHIVE_BYTES),
            file_name=voice.prompts[size].name,
            voice=name,
        )
        for size in sorted(voice.prompts)
    ]
    versions = [
        replace(
            part.versions[0],
            content=replace(
                part.versions[0].content,
                description=voice.description,
                consent=consent,
                provenance={**part.versions[0].content.provenance, **_method_of(voice), "store": "diga"},
            ),
        )
        for part in parts
    ]
    return VoiceImport(
        voice=name,
        versions=tuple(versions),
        chosen=len(versions) - 1,
        objects={sha256: content for part in parts for sha256, content in part.objects.items()},
        warnings=tuple(warning for part in parts for warning in part.warnings),
    )


def _method_of(voice: DigaVoice) -> dict[str, str]:
    if voice.kind == "designed" or voice.description:
        return {"method": "designed"}
    return {"method": "cloned"}


def _own_name(name: str) -> str:
    """Name of the voice here: in diga a custom voice may have a preset's name, here it may not."""
    try:
        return voice_name_from(name)
    except ValueError:
        return voice_name_from(f"diga-{name}")


def _submit_design(instance: Instance, name: str, description: str) -> tuple[Submitted, ...]:
    """Drop jobs that design and lock a voice that diga has only described, as diga would on its first use."""
    design_id = f"diga-{name}-design"[:64]
    design: dict[str, Any] = {
        "kind": "design",
        "id": design_id,
        "voice": name,
        "description": description,
        "text": DEFAULT_CANDIDATE_TEXT,
        "candidates": 1,
    }
    lock = {"kind": "lock", "id": f"diga-{name}-lock"[:64], "voice": name, "from": {"job": design_id, "candidate": 1}}
    return tuple(submit_job(instance, job_from_values(values, name=str(values["id"]))) for values in (design, lock))
