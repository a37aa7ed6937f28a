"""A job with a source, voice file, cover or sounds on a person's disk → the error that its run would end with.

Recordings that are locked or transcribed are judged by `runner.submission.recording_verdict`. Only reads files.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from models.protocol import Waveform
from models.voices.vox_archive import MAX_ARCHIVE_BYTES
from registry.durable_files import open_regular
from registry.errors import storage_error
from runner.engine.recording_process import RecordingRequest
from runner.exchange.importer import read_voice_file
from runner.inbox.attachments import read_file
from runner.jobfile.master_spec import MasterTable
from runner.jobfile.parse import parse_job
from runner.jobfile.specs import CastSpec, ImportSpec, JobSpec, MasterSpec, ScriptSpec
from runner.jobfile.syntax import MAX_FILE_BYTES
from runner.master.cover import read_cover
from runner.master.presets import PRESETS
from runner.master.sound_source import check_formats, open_sound
from runner.reading_process import ReadingProcess
from runner.script.errors import SourceRefused
from runner.script.production import reading_request, script_from
from runner.script.read_script import LONGEST_S as READING_LONGEST_S
from runner.script.read_script import MODULE, ReadScript
from runner.submission.recording_verdict import read_recording


def check_files(spec: JobSpec, *, folder: Path) -> None:
    """Raises VoxRefused, InvalidReferenceAudio, CoverRefused, SoundRefused, ExtraMissing, … as the run would."""
    if isinstance(spec, ImportSpec):
        _check_voice_file(spec, folder / spec.file)
    if isinstance(spec, ScriptSpec):
        read_script(spec, folder)
        cast_file(spec, folder)
    master = spec if isinstance(spec, MasterSpec) else spec.master if isinstance(spec, ScriptSpec) else None
    if master is not None:
        _check_master(master, folder)
    if isinstance(spec, MasterSpec):
        for name in spec.files or ():
            open_sound(folder / name)


def _check_voice_file(spec: ImportSpec, path: Path) -> None:
    try:
        with open_regular(path) as file:
            content = file.read(MAX_ARCHIVE_BYTES + 1)
    except OSError as error:
        raise storage_error(error, f"reading {path}") from error
    read_voice_file(
        content,
        file_name=spec.file,
        voice=spec.voice,
        consent=spec.consent,
        transcript=spec.transcript,
        decode=_decoded,
    )


def _decoded(content: bytes, name: str) -> Waveform:
    """A recording's samples, decoded by a process."""
    recording = read_recording(RecordingRequest(source=content, name=name, is_kept=True))
    assert recording.waveform is not None  # it has no error
    return recording.waveform


def _check_master(master: MasterTable, folder: Path) -> None:
    check_formats(master.formats or PRESETS[master.preset].formats)
    if master.cover is not None:
        read_cover(folder / master.cover)


def read_script(spec: ScriptSpec, folder: Path) -> ReadScript:
    """The source of a script, read by a process as a run does. Raises SourceRefused, StorageError, …"""
    request, temporary = reading_request(spec, folder), Path(tempfile.gettempdir())
    process = ReadingProcess(MODULE, request, folder=temporary, longest_s=READING_LONGEST_S)
    return script_from(process.wait(), spec.source)


def cast_file(spec: ScriptSpec, folder: Path) -> CastSpec | None:
    """The cast that a job file names. Raises JobFileInvalid, SourceRefused or StorageError."""
    if spec.cast_file is None:
        return None
    try:
        content = read_file(folder / spec.cast_file, limit_bytes=MAX_FILE_BYTES)
    except OSError as error:
        raise storage_error(error, f"reading {spec.cast_file}") from error
    found = parse_job(content, file_name=spec.cast_file)
    if not isinstance(found, CastSpec):
        raise SourceRefused(f"{spec.cast_file} is no cast: its kind is {found.kind!r}.")
    return found
