"""A job file on a person's disk → a checked job with the digests of its files, or a verdict. Only reads files."""

from __future__ import annotations

import codecs
import contextlib
import json
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from models.languages import AUTO
from models.named_paths import is_folder, named_path, shown_path, status_of
from registry.errors import InvalidInput, NotFound, VoiceJobsError, storage_error
from runner.config.instance import Instance
from runner.config.model_names import recogniser_model
from runner.errors import CHECK_HINT, JobFileInvalid, NoRecogniser
from runner.inbox.attachments import read_file, sha256_below
from runner.inbox.drop import job_file_in
from runner.inbox.line_texts import JobTexts, check_caps, expected_s, job_texts
from runner.jobfile.audio_format import audio_format_of
from runner.jobfile.parse import content_sha256, parse_job, spec_to_json
from runner.jobfile.specs import (
    AUTO_TRANSCRIPT,
    DesignSpec,
    ImportSpec,
    JobSpec,
    LockSpec,
    MasterSpec,
    ScriptSpec,
    SynthesizeSpec,
    TranscribeSpec,
)
from runner.jobfile.syntax import MAX_FILE_BYTES
from runner.names import printable_name
from runner.submission.job_models import (
    check_languages,
    check_named_models,
    check_present_models,
    check_respellings,
    downloads_of,
    models_of,
    render_s_of,
    warnings_about_instructions,
)


@dataclass(frozen=True, kw_only=True)
class JobOnDisk:
    """Checked job file with the files it names."""

    file_name: str
    content: bytes
    spec: JobSpec
    folder: Path
    referenced: dict[str, str] = field(default_factory=dict)  # path as the job names it → SHA-256

    @property
    def content_sha256(self) -> str:
        return content_sha256(spec_to_json(self.spec), self.referenced)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Answer of `voicejobs check` for one file."""

    file: str
    kind: str | None
    problems: list[str]
    hint: str = ""
    warnings: list[str] = field(default_factory=list)
    downloads: list[str] = field(default_factory=list)  # models that are fetched before the job is worked on
    lines: int | None = None  # of a job that speaks: how many its texts became,
    audio_s: float | None = None  # how long they are expected to last,
    render_s: float | None = None  # and to take here; None before anything was spoken


def read_job(name: str, *, stdin: Callable[[], BinaryIO] | None = None) -> JobOnDisk:
    """Read and check a job file, or the one in a folder; `-` is standard input, with paths relative to here.

    Raises JobFileInvalid, AttachmentMissing and others of the tree.
    """
    if name == "-" and stdin is not None:
        content = stdin().read(MAX_FILE_BYTES + 1)
        file_name = "stdin.json" if content.lstrip()[:1] == b"{" else "stdin.toml"
        folder = Path.cwd()
    else:
        path = named_path(name)
        status = status_of(path)
        if status is not None and stat.S_ISDIR(status.st_mode):
            path = job_file_in(path.absolute())  # errors name the folder, and "." has no name
        content, file_name, folder = _content_of(path), path.name, path.absolute().parent
    return checked_content(content, file_name=file_name, folder=folder)


def checked_content(content: bytes, *, file_name: str, folder: Path) -> JobOnDisk:
    """A job file's bytes with the files that it names in `folder`. Raises as `read_job`."""
    spec = parse_job(content, file_name=file_name)
    referenced = {path: sha256_below(folder, path) for path in spec.references()}
    return JobOnDisk(file_name=file_name, content=content, spec=spec, folder=folder, referenced=referenced)


def with_id(job: JobOnDisk, job_id: str) -> JobOnDisk:
    """The same job with an `id`, which its file does not have."""
    if Path(job.file_name).suffix.casefold() == ".json":
        content = json.dumps({**json.loads(job.content), "id": job_id}, ensure_ascii=False, indent=2).encode() + b"\n"
    else:
        content = f'id = "{job_id}"\n'.encode() + job.content.removeprefix(codecs.BOM_UTF8)
    return replace(job, content=content, spec=parse_job(content, file_name=job.file_name))


def texts_of(job: JobOnDisk) -> JobTexts | None:
    """The lines that a job speaks; None for one that speaks none. Raises InvalidInput, …"""
    return job_texts(job.spec, folder=job.folder) if isinstance(job.spec, SynthesizeSpec) else None


def _content_of(path: Path) -> bytes:
    if status_of(path) is None:
        raise NotFound(f"There is no file {shown_path(path)}.")
    if path.suffix.casefold() not in (".toml", ".json"):
        raise JobFileInvalid(path.name, [": a job file ends in .toml or .json."])
    try:
        return read_file(path.resolve(), limit_bytes=MAX_FILE_BYTES)
    except OSError as error:
        raise storage_error(error, f"reading {path}") from error


def check_file(name: str, *, instance: Instance, stdin: Callable[[], BinaryIO] | None = None) -> Verdict:
    """Verdict on a job file for an instance: whether it would be accepted, and every reason why not."""
    try:
        job = read_job(name, stdin=stdin)
        texts = texts_of(job)
        audio_format_of(job.spec, instance.settings).check()
        if isinstance(job.spec, DesignSpec):
            check_caps(job.spec)
        check_named_models(job.spec, texts, instance=instance)
        check_respellings(job.spec, texts, instance=instance)
        models = models_of(job.spec, texts, instance=instance)
        check_present_models(models, instance=instance)
        check_languages(job.spec, texts, models, instance=instance)
        said_of_recording = _recording_warnings(job)
        _check_other_files(job)
    except JobFileInvalid as error:
        shown = (
            Path(name, error.file_name)
            if is_folder(Path(name))
            else error.file_name
            if name == "-"
            else printable_name(name)
        )
        hint = "" if error.hint == CHECK_HINT else error.hint
        return Verdict(file=name, kind=None, problems=[f"{shown}{problem}" for problem in error.problems], hint=hint)
    except VoiceJobsError as error:
        return Verdict(file=name, kind=None, problems=[f"{name}: {error.message}"], hint=error.hint)
    warnings = [
        *_warnings_about_hearing(job.spec, instance),
        *said_of_recording,
        *(texts.warnings() if texts is not None else ()),
        *warnings_about_instructions(job.spec, texts, models, instance=instance),
    ]
    lines = None if texts is None else len(texts.lines)
    audio_s = None
    if texts is not None:
        audio_s = expected_s([line.text for line in texts.lines], language=job.spec.language or AUTO)
    return Verdict(
        file=name,
        kind=job.spec.kind,
        problems=[],
        warnings=warnings,
        downloads=list(downloads_of((*models.names, *_ears(job.spec, instance)), instance=instance)),
        lines=lines,
        audio_s=None if audio_s is None else round(audio_s, 1),
        render_s=None if audio_s is None else render_s_of(models, audio_s, instance=instance),
    )


def _recording_warnings(job: JobOnDisk) -> tuple[str, ...]:
    """Sentences on the recording of a job that locks or transcribes one. Raises InvalidReferenceAudio."""
    if not isinstance(job.spec, LockSpec | TranscribeSpec):
        return ()
    from runner.submission.recording_verdict import recording_warnings  # it loads NumPy, which other jobs do not need

    return recording_warnings(job.spec, folder=job.folder)


def _check_other_files(job: JobOnDisk) -> None:
    """Judge a voice file, a cover and the sounds of a master."""
    if isinstance(job.spec, ImportSpec | MasterSpec | ScriptSpec):
        from runner.submission.file_verdict import check_files  # it loads libraries that other jobs do not need

        check_files(job.spec, folder=job.folder)


def _ears(spec: JobSpec, instance: Instance) -> Iterator[str]:
    """The model that a job's recordings or takes are heard with, where it needs one."""
    settings = instance.settings
    is_verified = isinstance(spec, SynthesizeSpec) and (spec.verify or settings.verify) == "asr"
    is_ranked = isinstance(spec, DesignSpec) and spec.candidates > 1 and settings.verify != "off"
    if settings.recogniser and (is_verified or is_ranked or _is_recording_heard(spec)):
        with contextlib.suppress(InvalidInput):
            yield from filter(None, [recogniser_model(settings.recogniser, root=instance.root)])


def _is_recording_heard(spec: JobSpec) -> bool:
    """Whether a job wants the words of a recording."""
    return isinstance(spec, TranscribeSpec) or (isinstance(spec, LockSpec) and spec.transcript == AUTO_TRANSCRIPT)


def _warnings_about_hearing(spec: JobSpec, instance: Instance) -> Iterator[str]:
    """A sentence on a recording that nothing would hear."""
    if _is_recording_heard(spec) and not instance.settings.recogniser:
        yield str(NoRecogniser())
