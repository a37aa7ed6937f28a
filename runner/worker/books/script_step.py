"""One step of a script, in a thread: its document and what there is → the jobs that are missing, or its end.

A step looks at what there is and goes on from there, so that it may be repeated after any crash: designs first, then
locks, then chapters, then the finished book. Its transactions are short, however long the book is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from models.draft.voice import sound_alike
from models.engine_kinds import DRAFT
from registry.durable_files import crash_point
from registry.errors import VoiceJobsError
from registry.jobs import jobs
from registry.jobs.children import children_of, wait_for
from registry.jobs.values import Job
from registry.storage.session import Session
from registry.voices.candidates import find_candidates
from registry.voices.errors import CandidateNotFound
from registry.voices.lookup import cosine_of, resolve, voice_keys
from registry.voices.values import Version
from runner.jobfile.parse import spec_from_json
from runner.jobfile.specs import CastSpec, ScriptSpec
from runner.names import job_name_from, may_be_preset, parse_voice_reference
from runner.outbox.ranking import measured
from runner.scheduling.admission import ChildSpec
from runner.scheduling.instructions import takes_instructions
from runner.scheduling.model_presets import default_voice
from runner.scheduling.voice_resolution import resolve_voice
from runner.script.analyzer.analyses import Analyses
from runner.script.cast.casting import CastMember
from runner.script.cast.parts import Part
from runner.script.cast.script_files import CAST_FILE, SCRIPT_FILE, cast_toml
from runner.script.production import (
    CAST_ASK,
    Production,
    chapter_specs,
    design_spec,
    lock_spec,
    production_of,
    script_json,
)
from runner.script.read_script import ReadScript
from runner.submission.file_verdict import cast_file
from runner.worker.books.cast_jobs import CHOICES
from runner.worker.books.script_children import HEARD, ScriptChildren
from runner.worker.books.script_master import master_spec
from runner.worker.context import Context

ALIKE = 0.95  # the cosine of the speaker embeddings of voices that listeners would confuse
MOST_AGAIN = 2  # designs of a part, after the first
AGAIN = "designed_again"  # in the facts of a script: how often, by part
CHAPTERS_AT_ONCE = 10  # that are recorded in one transaction


@dataclass(frozen=True, kw_only=True)
class ScriptStep:
    """A script whose source is read."""

    context: Context
    job: Job
    spec: ScriptSpec
    folder: Path
    read: ReadScript
    analyses: Analyses
    is_dropped: Callable[[], bool]  # nobody wants it any more

    def unknown_parts(self) -> list[Part]:
        """Parts that need a voice, and whose description is to be asked for first."""
        if self.analyses.settings.backend == "rules":
            return []
        with self.context.database.read() as session:
            production = self._production(session)
        return self.analyses.missing(member.part for member in production.cast.members if member.is_new)

    def take(self) -> bool:
        """Make the jobs of the first stage that is not over, or end the script; returns whether it has ended.

        Raises SourceRefused, StorageError, …
        """
        with self.context.database.read() as session:
            production = self._production(session)
            known = dict(children_of(session, self.job.id))
        waits = bool(self._open_choices(production, known))
        if self.is_dropped():
            return False
        self._publish(production, waits=waits)
        crash_point("scripts.files-published")
        children = ScriptChildren(self.context, self.job, self.context.outbox.names())
        is_cast = self._in_transaction(lambda session: self._cast(session, children, production))
        if is_cast:
            self._speak(children, production)
        crash_point("scripts.step-committed")
        with self.context.database.read() as session:
            return jobs.get(session, self.job.id).outcome is not None

    def _in_transaction(self, act: Callable[[Session], bool]) -> bool:
        """Do something unless the script has ended meanwhile; whether to go on after it."""
        with self.context.database.write() as session:
            return jobs.get(session, self.job.id).outcome is None and not self.is_dropped() and act(session)

    # ---- who speaks --------------------------------------------------------------------------------------------

    def _production(self, session: Session) -> Production:
        return production_of(
            self.spec,
            self.read,
            name=job_name_from(self.job.dropped_name),
            choices=self._choices(),
            default_voice=lambda: default_voice(self.spec.model, self.context.instance, key="narrator"),
            existing=voice_keys(session),
            described=self.analyses.known,
        )

    def _choices(self) -> CastSpec | None:
        """The cast that somebody dropped for this script, else the one that its job file names."""
        if (chosen := self.job.facts.get(CHOICES)) is not None:
            spec = spec_from_json(chosen)
            assert isinstance(spec, CastSpec)
            return spec
        return cast_file(self.spec, self.folder)

    def _publish(self, production: Production, *, waits: bool) -> None:
        name, cast = self.job.name, production.cast
        script = script_json(production, self.spec, job=name)
        shown = cast_toml(cast, job=name, book=production.book, narrator=production.narrator, waits=waits)
        self.context.outbox.publish(name, {SCRIPT_FILE: _encoded(script), CAST_FILE: shown.encode()})

    def _cast(self, session: Session, children: ScriptChildren, production: Production) -> bool:
        """Have voices made for the parts; whether all of them are there."""
        again = dict(jobs.get(session, self.job.id).facts.get(AGAIN, {}))
        while True:
            if not self._design_and_lock(session, children, production, again):
                return False
            alike = next((slug for slug in self._alike(session, production) if again.get(slug, 0) < MOST_AGAIN), None)
            if alike is None:
                return True
            again[alike] = again.get(alike, 0) + 1
            jobs.note_facts(session, self.job.id, **{AGAIN: again})

    def _design_and_lock(
        self, session: Session, children: ScriptChildren, production: Production, again: Mapping[str, int]
    ) -> bool:
        """Have new voices made, and those that are to be made again; whether all of them are there."""
        new = [member for member in production.cast.members if member.is_new or member.part.slug in again]
        designs = [
            ChildSpec.of(
                design_spec(self.spec, production, member, again=again.get(member.part.slug, 0)),
                role=f"design:{member.part.slug}",
                name=f"{member.part.slug}.design",
            )
            for member in new
        ]
        children.want(session, designs)
        if children.goes_on(session, production.warnings):
            return False
        known = dict(children_of(session, self.job.id))
        if open_ones := self._open_choices(production, known):
            message = f"Waits until voices are chosen for {', '.join(member.part.name for member in open_ones)}."
            wait_for(session, self.job.id, [], facts={"waits_for": message, "children": children.shown(session)})
            return False
        children.want(session, [self._lock(session, member, known) for member in new])
        return not children.goes_on(session, production.warnings)

    def _alike(self, session: Session, production: Production) -> dict[str, str]:
        """Parts whose new voices sound like that of an earlier one: their slugs, and a warning of each."""
        own = {role.partition(":")[2] for role, _ in children_of(session, self.job.id) if role.startswith("lock:")}
        earlier: list[tuple[str, Version]] = []
        found: dict[str, str] = {}
        for member in production.cast.members:
            if member.shares or may_be_preset(parse_voice_reference(member.voice)):
                continue
            version, part = resolve(session, member.voice), member.part
            if part.slug in own and member.candidate is None and self.spec.cast != CAST_ASK:
                for name, other in earlier:
                    if self._sound_alike(version, other):
                        found[part.slug] = f"{part.name} and {name} sound alike; give one of them another voice."
            earlier.append((part.name, version))
        return found

    def _sound_alike(self, one: Version, other: Version) -> bool:
        if one.model.engine == other.model.engine == DRAFT.name:  # it has no speaker encoder
            objects = self.context.objects
            return sound_alike(objects.read(one.prompt_sha256), objects.read(other.prompt_sha256))
        return (cosine_of(one.speaker_embedding, other.speaker_embedding) or 0.0) > ALIKE

    def _lock(self, session: Session, member: CastMember, known: Mapping[str, Job]) -> ChildSpec:
        slug = member.part.slug
        design = known[f"design:{slug}"]
        candidate = member.candidate or best_candidate(session, design.name)
        spec = lock_spec(self.spec, member, design=design.name, candidate=candidate)
        return ChildSpec.of(spec, role=f"lock:{slug}", name=f"{slug}.lock")

    def _open_choices(self, production: Production, known: Mapping[str, Job]) -> list[CastMember]:
        """Parts whose voice somebody has to choose."""
        if self.spec.cast != CAST_ASK:
            return []
        return [
            member
            for member in production.cast.members
            if member.is_new and member.candidate is None and f"lock:{member.part.slug}" not in known
        ]

    # ---- what is spoken ----------------------------------------------------------------------------------------

    def _speak(self, children: ScriptChildren, production: Production) -> None:
        """Have chapters spoken, and the finished book made; or end the script."""
        references = dict.fromkeys((production.narrator, *(member.voice for member in production.cast.members)))
        with self.context.database.read() as session:
            voices = {reference: self._pinned(session, reference) for reference in references}
            directed = {reference for reference in voices if self._follows_directions(session, reference)}
        specs = chapter_specs(self.spec, production, voices=voices, directed=directed)
        chapters = [ChildSpec.of(spec, role=f"chapter:{index}", name=f"chapter-{index}") for index, spec in specs]
        for start in range(0, len(chapters), CHAPTERS_AT_ONCE):
            some = chapters[start : start + CHAPTERS_AT_ONCE]
            if not self._in_transaction(partial(_wanted, children, some)):
                return
        self._in_transaction(lambda session: self._end(session, children, production))

    def _end(self, session: Session, children: ScriptChildren, production: Production) -> bool:
        if children.goes_on(session, production.warnings):
            return False
        chapters = children.chapters(session)
        if self.spec.master is not None and all(job.status in HEARD for job in chapters.values()):
            master = master_spec(self.spec, self.spec.master, production, chapters=chapters)
            children.want_again(session, ChildSpec.of(master, role="master", name="master"))
            if children.goes_on(session, production.warnings):
                return False
        children.end(session, [*production.warnings, *self._alike(session, production).values()])
        return False

    def _pinned(self, session: Session, reference: str) -> str:
        """The version that a name means now, so that chapters know when it has moved."""
        if may_be_preset(parse_voice_reference(reference)):
            return reference
        return resolve(session, reference).name

    def _follows_directions(self, session: Session, reference: str) -> bool:
        try:
            model = self.context.models.for_voice(resolve_voice(session, reference), wanted=self.spec.model)
        except VoiceJobsError:
            return False  # whether it can be spoken is for the chapter's own job to say
        return takes_instructions(model, models_dir=self.context.models.directory)


def _wanted(children: ScriptChildren, some: Sequence[ChildSpec], session: Session) -> bool:
    children.want(session, some)
    return True


def best_candidate(session: Session, design: str) -> int:
    """The candidate that was measured to be the best. Raises NotFound."""
    found = find_candidates(session, design)
    if not found:
        raise CandidateNotFound(f"The job {design!r} made no candidate.")
    return min(found, key=lambda one: (measured(one.content.quality), one.index)).index


def _encoded(script: Mapping[str, Any]) -> bytes:
    return (json.dumps(script, ensure_ascii=False, indent=1) + "\n").encode("utf-8", "replace")
