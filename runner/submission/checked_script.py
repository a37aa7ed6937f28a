"""A source or a script's job file → its cast, its lines and how long it takes; a choice → the cast job that says it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pydantic

from models.languages import AUTO, canonical_language
from models.named_paths import is_folder, named_path, shown_path, status_of
from models.text.spoken_form import speaks
from models.text.spoken_time import spoken_time
from registry.errors import InvalidInput, NotFound, VoiceJobsError, nearest
from registry.jobs import jobs
from registry.jobs.children import children_of
from registry.jobs.takes import speeds
from registry.jobs.values import SCRIPT, Job, Speeds
from registry.storage.database import Database
from registry.voices.candidates import get_candidate
from registry.voices.errors import CandidateNotFound
from registry.voices.lookup import voice_keys
from runner.config.instance import Instance
from runner.errors import WorkFailed
from runner.jobfile.parse import spec_from_json
from runner.jobfile.specs import DesignSpec, ScriptSpec
from runner.names import job_name_from
from runner.scheduling.model_presets import default_voice
from runner.script.cast.script_files import cast_entries, cast_toml
from runner.script.document import is_spoken
from runner.script.errors import PartNotFound, SourceRefused
from runner.script.production import (
    Production,
    production_of,
    script_json,
)
from runner.script.sources.cues import part_key
from runner.submission.checked_job import JobOnDisk, checked_content, read_job
from runner.submission.file_verdict import cast_file, read_script


@dataclass(frozen=True, kw_only=True)
class CheckedScript:
    """Answer of `voicejobs script check`."""

    production: Production
    script: Mapping[str, Any]
    cast: list[dict[str, Any]]
    audio_s: Mapping[str | None, float]  # by part name; None: the narrator's
    render_s: float | None  # None: nothing was rendered here yet, so nobody knows

    @property
    def cast_toml(self) -> str:
        """The cast as a file that can be edited."""
        production = self.production
        return cast_toml(production.cast, job=None, book=production.book, narrator=production.narrator, waits=False)

    def to_json(self) -> dict[str, Any]:
        """Value for `--json`."""
        return {
            "script": self.script,
            "cast": [{**entry, "audio_s": round(self.audio_s.get(entry["name"], 0.0), 1)} for entry in self.cast],
            "narrator": self.production.narrator,
            "narrator_s": round(self.audio_s.get(None, 0.0), 1),
            "warnings": list(self.production.warnings),
            "estimate": {"audio_s": round(sum(self.audio_s.values()), 1), "render_s": self.render_s},
        }


def check_script(instance: Instance, name: str, *, stdin: Callable[[], BinaryIO] | None = None) -> CheckedScript:
    """Read a source, or the one that a job file names, as a run would; nothing is written.

    Raises SourceRefused, JobFileInvalid, NotFound, …
    """
    spec, folder, job_name = _spec_of(name, stdin=stdin)
    read = read_script(spec, folder)
    existing, known = _known(instance)
    production = production_of(
        spec,
        read,
        name=job_name,
        choices=cast_file(spec, folder),
        default_voice=lambda: default_voice(spec.model, instance, key="narrator"),
        existing=existing,
    )
    audio_s = _audio_s(spec, production)
    return CheckedScript(
        production=production,
        script=script_json(production, spec, job=None),
        cast=cast_entries(production.cast),
        audio_s=audio_s,
        render_s=None
        if (render_s := known.render_s(sum(audio_s.values()), model=None)) is None
        else round(render_s, 1),
    )


def _spec_of(name: str, *, stdin: Callable[[], BinaryIO] | None) -> tuple[ScriptSpec, Path, str]:
    """(spec, folder of its files, the job's likely name) of a job file or a source."""
    path = named_path(name)
    if name == "-" or is_folder(path) or path.suffix.casefold() in (".toml", ".json"):
        job = read_job(name, stdin=stdin)
        if not isinstance(job.spec, ScriptSpec):
            raise InvalidInput(
                f"{name} is a {job.spec.kind} job, no script.", hint=f"Check it with `voicejobs check {name}`."
            )
        return job.spec, job.folder, job_name_from(job.file_name)
    if status_of(path) is None:
        raise NotFound(f"There is no file {shown_path(path)}.")
    try:
        spec = ScriptSpec.model_validate({"kind": "script", "source": path.name})
    except pydantic.ValidationError as error:
        raise SourceRefused(f"{shown_path(path)}: {error.errors()[0]['msg'].removeprefix('Value error, ')}.") from None
    return spec, path.absolute().parent, job_name_from(path.name)


def _known(instance: Instance) -> tuple[set[str], Speeds]:
    """(name keys of the voices, the speeds) of an instance that may be new."""
    if not instance.database_path.exists():
        return set(), Speeds(of_models={})
    with (
        Database.open(instance.database_path, root=instance.root, reads_only=True) as database,
        database.read() as session,
    ):
        return voice_keys(session), speeds(session)


def _audio_s(spec: ScriptSpec, production: Production) -> dict[str | None, float]:
    document = production.document
    language = AUTO
    with contextlib.suppress(VoiceJobsError):
        language = canonical_language(spec.language or document.language or AUTO)
    names = {key: part.name for part in production.parts for key in part.keys}
    audio_s: dict[str | None, float] = {}
    for line in document.lines:
        if is_spoken(line, narrate=spec.narrate, is_screenplay=document.is_screenplay) and speaks(line.text):
            who = names.get(part_key(line.speaker)) if line.speaker else None
            audio_s[who] = audio_s.get(who, 0.0) + spoken_time(line.text, language).expected_s
    return audio_s


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A cast job that gives one part one candidate."""

    part: str
    job: JobOnDisk
    drop_name: str


def choice_for(instance: Instance, script_name: str, part: str, candidate: int) -> Choice:
    """The cast job for a choice. Raises JobNotFound, PartNotFound or CandidateNotFound."""
    with Database.open(instance.database_path, root=instance.root) as database, database.read() as session:
        script = jobs.by_name(session, script_name)
        if script.kind != SCRIPT:
            raise PartNotFound(f"The job {script.name!r} is no script: its kind is {script.kind!r}.")
        designs = {
            role.partition(":")[2]: child for role, child in children_of(session, script.id) if child.kind == "design"
        }
        names = {slug: _part_name(child) for slug, child in designs.items()}
        slug = next((each for each in names if part_key(part) in (part_key(names[each]), part_key(each))), None)
        if slug is None:
            near = nearest(part.casefold(), [name.casefold() for name in names.values()])
            known = f"Did you mean {near[0].upper()}?" if near else f"It has {', '.join(names.values()) or 'none'}."
            raise PartNotFound(f"{script.name} has no part {part!r} with candidates.", hint=known)
        try:
            get_candidate(session, designs[slug].name, candidate)
        except CandidateNotFound as error:
            raise WorkFailed(error.message, hint=error.hint) from None
    lines = ['kind = "cast"', f"job = {json.dumps(script.name)}", "[[parts]]"]
    lines += [f"name = {json.dumps(names[slug], ensure_ascii=False)}", f"candidate = {candidate}"]
    content = ("\n".join(lines) + "\n").encode()
    name = f"{script.name}.{slug}.cast.toml"
    return Choice(part=names[slug], job=checked_content(content, file_name=name, folder=instance.root), drop_name=name)


def _part_name(design: Job) -> str:
    spec = spec_from_json(design.spec_json)
    assert isinstance(spec, DesignSpec)
    return spec.character.name if spec.character is not None else spec.voice
