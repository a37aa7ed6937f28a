"""A read script and a job's wishes → its cast, and the specs of the jobs that make it. Pure.

`script check` shows what comes out; the runner makes jobs of it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from models.text.spoken_form import speaks
from runner.jobfile.specs import (
    DEFAULT_CANDIDATE_TEXT,
    MAX_LINES,
    CandidateSource,
    CastSpec,
    Character,
    DesignSpec,
    LineSpec,
    LockSpec,
    ScriptSpec,
    SynthesizeSpec,
)
from runner.names import may_be_preset, parse_voice_reference
from runner.reading_process import Reading
from runner.script.cast.casting import Cast, CastMember, Wishes, cast_of
from runner.script.cast.parts import Part, parts_of
from runner.script.cast.profile import Profile, rules_profile
from runner.script.cast.script_files import script_content
from runner.script.document import Document, ScriptLine, is_spoken
from runner.script.errors import SourceRefused
from runner.script.read_script import ReadScript
from runner.script.sources.formats import format_of

CAST_NONE, CAST_ASK = "none", "ask"
AUDITION_CHARACTERS = (60, 220)  # of the words that candidates say: long enough to judge, short enough to choose among
SAME_PARAGRAPH_PAUSE_S, HEADING_PAUSE_S, SCENE_BREAK_PAUSE_S = 0.12, 1.2, 1.8


@dataclass(frozen=True, kw_only=True)
class Production:
    """Everything that is known of a script before a voice is made."""

    read: ReadScript
    book: str
    narrator: str
    parts: Sequence[Part]
    profiles: Mapping[str, Profile]  # by slug
    cast: Cast
    warnings: tuple[str, ...]

    @property
    def document(self) -> Document:
        return self.read.document


def reading_request(spec: ScriptSpec, folder: Path) -> dict[str, Any]:
    """Request for the process that reads a source. Raises SourceRefused for one whose kind nobody knows."""
    return {
        "path": str(folder / spec.source),
        "format": format_of(spec.source, wanted=spec.format),
        "language": spec.language,
        "prose": spec.cast != CAST_NONE,
    }


def script_json(production: Production, spec: ScriptSpec, *, job: str | None) -> dict[str, Any]:
    """Everything that `script.json` says."""
    document = production.document
    source = {
        "file": PurePosixPath(spec.source).name,
        "format": document.format,
        "encoding": document.encoding,
        "sha256": production.read.sha256,
    }
    return script_content(
        document,
        job=job,
        book=production.book,
        source=source,
        narrate=spec.narrate,
        warnings=production.warnings,
    )


def _wishes_of(spec: ScriptSpec, choices: CastSpec | None) -> Wishes:
    """Voices and candidates that the job file and a cast file name."""
    cast_parts = choices.parts if choices else ()
    return Wishes(
        voices=spec.voices,
        cast_voices={part.name: part.voice for part in cast_parts if part.voice and part.candidate is None},
        candidates={part.name: part.candidate for part in cast_parts if part.candidate is not None},
    )


def production_of(
    spec: ScriptSpec,
    read: ReadScript,
    *,
    name: str,
    choices: CastSpec | None,
    default_voice: Callable[[], str],
    existing: Collection[str],
    described: Callable[[Part], Profile | None] = lambda _: None,
) -> Production:
    """The cast of a script. Raises SourceRefused, and as `default_voice` does.

    `name` is that of its drop, without a counter; `choices` a cast file; `default_voice` narrates where nobody is
    named; `existing` are the keys of the registry's voices; `described` what a model has said of a part.
    """
    book = spec.book or spec.id or name
    wanted = (choices.narrator.voice if choices else None) or spec.narrator
    narrator = wanted or default_voice()
    wishes = _wishes_of(spec, choices)
    document = read.document
    parts = [] if spec.cast == CAST_NONE else parts_of(document, narrate=spec.narrate, aliases=read.aliases)
    profiles = {part.slug: described(part) or rules_profile(part, language=read.language) for part in parts}
    cast = cast_of(parts, profiles, book=book, wishes=wishes, existing=existing, share_below=spec.share_below)
    if not any(is_spoken(line, narrate=spec.narrate, is_screenplay=document.is_screenplay) for line in document.lines):
        raise SourceRefused(f"With narrate = {spec.narrate!r} nothing of {spec.source} is spoken.")
    return Production(
        read=read,
        book=book,
        narrator=narrator,
        parts=parts,
        profiles=profiles,
        cast=cast,
        warnings=tuple(dict.fromkeys((*document.warnings, *cast.warnings))),
    )


def design_spec(spec: ScriptSpec, production: Production, member: CastMember, *, again: int = 0) -> DesignSpec:
    """The job that makes candidates for a part; `again` counts those before it that sounded like another part."""
    seed = {"seed": (spec.seed or 0) + again} if again else {}
    profile = production.profiles[member.part.slug]
    return DesignSpec(
        kind="design",
        voice=member.voice,
        character=Character(
            name=member.part.name[:200],
            gender=profile.gender,
            age_range=profile.age_range,
            summary=profile.summary[:2_000],
            voice_traits=list(profile.voice_traits),
        ),
        text=audition_text(member.part),
        candidates=spec.candidates,
        **{**_common(spec), **seed},
    )


def audition_text(part: Part) -> str:
    """The words that candidates say: a speech of the part itself, else a text that shows any voice."""
    shortest, longest = AUDITION_CHARACTERS
    for speech in part.evidence.speeches:
        if shortest <= len(speech) <= longest and speaks(speech):
            return speech
    joined = ""
    for speech in part.evidence.speeches:
        if len(joined) + len(speech) + 1 <= longest:
            joined = f"{joined} {speech}".strip()
    return joined if len(joined) >= shortest and speaks(joined) else DEFAULT_CANDIDATE_TEXT


def lock_spec(spec: ScriptSpec, member: CastMember, *, design: str, candidate: int) -> LockSpec:
    """The job that makes a candidate the part's voice."""
    source = CandidateSource(job=design, candidate=candidate)
    return LockSpec(kind="lock", voice=member.voice, source=source, **_common(spec))


def chapter_specs(
    spec: ScriptSpec, production: Production, *, voices: Mapping[str, str], directed: Collection[str]
) -> Iterator[tuple[int, SynthesizeSpec]]:
    """(chapter, job that speaks it); `voices` pin references to versions, `directed` ones follow directions."""
    document = production.document
    by_chapter: dict[int, list[ScriptLine]] = {chapter.index: [] for chapter in document.chapters}
    for line in document.lines:
        if is_spoken(line, narrate=spec.narrate, is_screenplay=document.is_screenplay):
            by_chapter[line.chapter].append(line)
    for index, lines in by_chapter.items():
        if not any(speaks(line.text) for line in lines):
            continue
        if len(lines) > MAX_LINES:
            raise SourceRefused(
                f"Chapter {index} of {spec.source} has {len(lines):,} lines; a job speaks at most {MAX_LINES:,}.",
                hint="Divide it by headings.",
            )
        yield (
            index,
            SynthesizeSpec(
                kind="synthesize",
                voice=voices.get(production.narrator, production.narrator),
                lines=list(_spoken_lines(lines, production, spec, voices=voices, directed=directed)),
                **{key: value for key, value in _common(spec).items() if key != "model"},  # a lock's own speaks
            ),
        )


def _spoken_lines(
    lines: Sequence[ScriptLine],
    production: Production,
    spec: ScriptSpec,
    *,
    voices: Mapping[str, str],
    directed: Collection[str],
) -> Iterator[LineSpec]:
    for line, following in zip(lines, [*lines[1:], None], strict=True):
        reference = production.cast.voice_of(line.speaker) if line.speaker else None
        is_preset = may_be_preset(parse_voice_reference(reference or production.narrator))
        directs = line.direction is not None and reference in directed
        yield LineSpec(
            text=line.text,
            voice=voices.get(reference, reference) if reference else None,
            model=spec.model if is_preset else None,
            instruct=line.direction if directs else None,
            pause_after_s=_pause_s(line, following),
            start_s=line.start_s,
        )


def _pause_s(line: ScriptLine, following: ScriptLine | None) -> float | None:
    if not speaks(line.text):
        return SCENE_BREAK_PAUSE_S
    if line.kind == "heading":
        return HEADING_PAUSE_S
    is_one = following is not None and bool(line.place) and line.place == following.place and line.kind != "lyric"
    return SAME_PARAGRAPH_PAUSE_S if is_one and following is not None and following.kind != line.kind else None


def _common(spec: ScriptSpec) -> dict[str, object]:
    """Keys that every job of a script takes over."""
    return {
        key: value
        for key in ("model", "language", "seed", "priority", "sampling", "fresh")
        if (value := getattr(spec, key)) is not None
    }


def script_from(reading: Reading, name: str) -> ReadScript:
    """The script that the process has read. Raises SourceRefused."""
    if reading.header is not None:
        return ReadScript.from_answer(reading.header, reading.content)
    if reading.error is not None:
        raise SourceRefused(reading.error.message, hint=reading.error.hint)
    raise SourceRefused(f"The process that reads sources could not read {name}: {reading.failure}.")
