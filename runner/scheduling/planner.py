"""A job about to start → its plan and its lines: names become digests, texts become requests with seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.audio.encoder import check_can_write
from models.text.markup import Words
from models.text.pronunciation import Respellings
from models.text.spoken_form import spoken_form
from models.text.timed_text import TimedText, timed_text
from registry.jobs.line_request import LineRequest
from registry.jobs.values import NewLine
from registry.storage.digests import canonical_json
from registry.storage.session import Session
from runner.config.settings import Settings
from runner.inbox.line_texts import check_caps, job_texts
from runner.jobfile.audio_format import audio_format_of
from runner.jobfile.specs import DesignSpec, LineSpec, SynthesizeSpec
from runner.scheduling.instructions import instruction_warnings
from runner.scheduling.line_plan import (
    SEED_LIMIT,
    WORDLESS_PAUSE_S,
    Ordinals,
    derived_seed,
    line_files,
    merged_sampling,
    spoken_content,
)
from runner.scheduling.pronunciation_file import NONE, no_word_left, respellings_for, spoken_line
from runner.scheduling.voice_resolution import ModelNames, ResolvedVoice, described_voice, resolve_voice

RandomSeed = Callable[[], int]


@dataclass(frozen=True, kw_only=True)
class JobPlan:
    """A job's lines and the voices that its names mean, fixed over every retry."""

    model: str
    lines: Sequence[NewLine] = ()
    plan: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Planner:
    """Turns the specs of jobs that speak into lines."""

    settings: Settings
    models: ModelNames
    random_seed: RandomSeed
    pronunciations: Respellings = NONE  # the instance's own

    def plan(self, spec: DesignSpec | SynthesizeSpec, *, session: Session, folder: Path | None) -> JobPlan:
        """As `design` or `synthesize`."""
        if isinstance(spec, DesignSpec):
            return self.design(spec)
        return self.synthesize(spec, session=session, folder=folder)

    def design(self, spec: DesignSpec) -> JobPlan:
        """N candidates: one text, one description, N seeds. Raises InvalidInput."""
        check_caps(spec)
        voice = described_voice(spec.design_instruction())
        model = self.models.for_ability(voice.ability, wanted=spec.model)
        spoken = timed_text(Words([(spec.text, 0.0)]), spoken_form)
        request = self._request(spec, None, text=spec.text, spoken=spoken, voice=voice)
        first_seed = self._seeds(spec)(request, None)
        lines = [
            NewLine(
                position=n,
                file=f"candidate-{n}.wav",
                model=model,
                request_json=canonical_json(request.to_json()),
                seed=(first_seed + n - 1) % SEED_LIMIT,  # consecutive: `DescribedVoice` promises it to engines
            )
            for n in range(1, spec.candidates + 1)
        ]
        return JobPlan(model=model, lines=lines)

    def synthesize(self, spec: SynthesizeSpec, *, session: Session, folder: Path | None) -> JobPlan:
        """Lines with their voices; `folder` holds what the job refers to. Raises NotFound, InvalidInput, …"""
        wanted = audio_format_of(spec, self.settings)
        wanted.check()
        check_can_write(wanted.format)
        texts = job_texts(spec, folder=folder)
        parts = texts.lines
        references = dict.fromkeys(part.voice or spec.voice or "" for part in parts)
        voices = {reference: resolve_voice(session, reference) for reference in references}
        tables = {name: respellings_for(voice, beneath=self.pronunciations) for name, voice in voices.items()}
        files = line_files([part.id for part in parts], extension=wanted.extension)
        seeds = self._seeds(spec)
        lines = []
        for position, (part, file) in enumerate(zip(parts, files, strict=True), start=1):
            name = part.voice or spec.voice or ""
            model = self.models.for_voice(voices[name], wanted=part.model or spec.model)
            request = self._request(
                spec,
                part,
                text=part.text,
                spoken=spoken_line(texts, position, tables[name]),
                voice=voices[name].spoken_by(model),
                markup=texts.markup.get(position, ()),
            )
            seed = seeds(request, part.seed)
            lines.append(
                NewLine(
                    position=position,
                    file=file,
                    model=model,
                    request_json=canonical_json(request.to_json()),
                    seed=seed,
                    key=part.id,
                    is_pause=request.is_pause,
                )
            )
        resolved = {name: voice.source.to_json() for name, voice in voices.items()}
        asked = [
            (line.position, line.model)
            for line, part in zip(lines, parts, strict=True)
            if (part.instruct or spec.instruct) and not line.is_pause
        ]
        first = next((line for line in lines if not line.is_pause), None)
        if first is None:
            raise no_word_left()
        warnings = (*texts.ignored_warnings(), *instruction_warnings(asked, models_dir=self.models.directory))
        plan = {"voices": resolved, **({"warnings": list(warnings)} if warnings else {})}
        return JobPlan(model=first.model, lines=lines, plan=plan, warnings=warnings)

    def _request(
        self,
        spec: DesignSpec | SynthesizeSpec,
        part: LineSpec | None,
        *,
        text: str,
        spoken: TimedText,
        voice: ResolvedVoice,
        markup: Sequence[str] = (),
    ) -> LineRequest:
        layers = (self.settings.sampling, spec.sampling, part.sampling if part else None)
        sampling = merged_sampling(*(layer.model_dump() for layer in layers if layer is not None))
        job_instruct = spec.instruct if isinstance(spec, SynthesizeSpec) else None
        own_s, job_s = (
            part.pause_after_s if part else None,
            spec.pause_after_s if isinstance(spec, SynthesizeSpec) else None,
        )
        is_said = bool(spoken.spoken)
        if own_s is None:
            own_s = (job_s or 0.0) if is_said or spoken.end_s else max(job_s or 0.0, WORDLESS_PAUSE_S)
        return LineRequest(
            text=text,
            spoken=spoken.spoken,
            instruct=(part.instruct if part else None) or job_instruct,
            language=(part.language if part else None) or spec.language or self.settings.language,
            max_seconds=sampling.pop("max_seconds", None),
            sampling=sampling,
            voice=voice.source,
            voice_digest=voice.digest,
            pause_after_s=own_s + spoken.end_s,
            start_s=part.start_s if part else None,
            pauses=spoken.pauses,
            markup=tuple(markup),
        )

    def _seeds(self, spec: DesignSpec | SynthesizeSpec) -> Callable[[LineRequest, int | None], int]:
        """(request, the line's own seed) -> seed, for the lines of one job in order."""
        ordinals = Ordinals()

        def seed_for(request: LineRequest, own: int | None) -> int:
            content = spoken_content(request)
            ordinal = ordinals.next(content)
            if own is not None:
                return own
            if spec.fresh and spec.seed is None:
                return self.random_seed() % SEED_LIMIT
            return derived_seed(content, job_seed=spec.seed, ordinal=ordinal)

        return seed_for
