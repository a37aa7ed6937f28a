"""A job about to start → its plan and its lines: names become digests, texts become requests with seeds."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydantic

from models.audio.encoder import check_can_write
from models.text.pronunciation import checked_table, merged, respelled
from registry.errors import InvalidInput
from registry.jobs.line_request import LineRequest
from registry.jobs.values import NewLine
from registry.storage.digests import canonical_json
from registry.storage.session import Session
from runner.config.instance import Instance
from runner.config.settings import Settings
from runner.inbox.attachments import lost_or_refused
from runner.jobfile.specs import MAX_LINES, DesignSpec, LineSpec, SynthesizeSpec
from runner.scheduling.line_plan import (
    SEED_LIMIT,
    Ordinals,
    cut_text,
    derived_seed,
    line_files,
    merged_sampling,
    spoken_content,
)
from runner.scheduling.voice_resolution import ModelNames, ResolvedVoice, described_voice, resolve_voice

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PRONUNCIATIONS_HINT = 'Every line is `word = "respelling"`; `pronunciations` in voicejobs.toml names the file.'
RandomSeed = Callable[[], int]


@dataclass(frozen=True, kw_only=True)
class JobPlan:
    """A job's lines and the voices that its names mean, fixed over every retry."""

    model: str
    lines: Sequence[NewLine] = ()
    plan: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Planner:
    """Dispatcher the specs of jobs that speak into lines."""

    settings: Settings
    models: ModelNames
    random_seed: RandomSeed
    pronunciations: Mapping[str, str] = field(default_factory=dict)  # the instance's own

    def design(self, spec: DesignSpec) -> JobPlan:
        """N candidates: one text, one description, N seeds."""
        voice = described_voice(spec.design_instruction())
        model = self.models.for_ability(voice.ability, wanted=spec.model)
        request = self._request(spec, None, text=spec.text, voice=voice, pause_s=0.0)
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
        check_can_write(spec.format or self.settings.format)
        parts = line_specs(spec, folder=folder)
        references = dict.fromkeys(part.voice or spec.voice or "" for part in parts)
        voices = {reference: resolve_voice(session, reference) for reference in references}
        files = line_files([part.id for part in parts], extension=spec.format or self.settings.format)
        seeds = self._seeds(spec)
        lines = []
        for position, (part, file) in enumerate(zip(parts, files, strict=True), start=1):
            voice = voices[part.voice or spec.voice or ""]
            model = self.models.for_voice(voice, wanted=part.model or spec.model)
            pause_s = part.pause_after_s if part.pause_after_s is not None else spec.pause_after_s
            request = self._request(spec, part, text=part.text, voice=voice, pause_s=pause_s or 0.0)
            seed = seeds(request, part.seed)
            content = canonical_json(request.to_json())
            lines.append(
                NewLine(position=position, file=file, model=model, request_json=content, seed=seed, key=part.id)
            )
        resolved = {name: voice.source.to_json() for name, voice in voices.items()}
        return JobPlan(model=lines[0].model, lines=lines, plan={"voices": resolved})

    def _request(
        self,
        spec: DesignSpec | SynthesizeSpec,
        part: LineSpec | None,
        *,
        text: str,
        voice: ResolvedVoice,
        pause_s: float,
    ) -> LineRequest:
        layers = (self.settings.sampling, spec.sampling, part.sampling if part else None)
        sampling = merged_sampling(*(layer.model_dump() for layer in layers if layer is not None))
        job_instruct = spec.instruct if isinstance(spec, SynthesizeSpec) else None
        spoken = text
        if isinstance(spec, SynthesizeSpec):  # what a candidate says is its transcript, word for word
            spoken = respelled(text, merged(self.pronunciations, voice.pronunciations or {}))
        return LineRequest(
            text=text,
            spoken=spoken,
            instruct=(part.instruct if part else None) or job_instruct,
            language=(part.language if part else None) or spec.language or self.settings.language,
            max_seconds=sampling.pop("max_seconds", None),
            sampling=sampling,
            voice=voice.source,
            voice_digest=voice.digest,
            pause_after_s=pause_s,
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


def line_specs(spec: SynthesizeSpec, *, folder: Path | None) -> Sequence[LineSpec]:
    """The lines of a job, also when it was given one text or a file. Raises InvalidInput for a file without text."""
    if spec.lines is not None:
        return spec.lines
    if spec.text is not None:
        text = spec.text
    else:
        assert spec.text_file is not None and folder is not None  # parse_job and the inbox have checked that
        text = read_text(folder / spec.text_file)
    pieces = cut_text(text)
    if len(pieces) > MAX_LINES:
        where = spec.text_file or "The text"
        raise InvalidInput(f"{where} has {len(pieces):,} paragraphs, over the limit of {MAX_LINES:,}.", hint=SHORTER)
    try:
        return [LineSpec(text=piece, pause_after_s=pause_s) for piece, pause_s in pieces]
    except pydantic.ValidationError as error:
        reason = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise InvalidInput(f"The text of {spec.text_file or 'the job'} cannot be spoken: {reason}.") from None


def load_pronunciations(instance: Instance) -> dict[str, str]:
    """The instance's own respellings. Raises InvalidInput when the file is absent or wrong."""
    if not instance.settings.pronunciations:
        return {}
    path = instance.root / Path(instance.settings.pronunciations).expanduser()
    try:
        return checked_table(tomllib.loads(path.read_text(encoding="utf-8-sig")))
    except (OSError, ValueError, RecursionError) as error:
        reason = str((isinstance(error, OSError) and error.strerror) or error).removesuffix(".")
        raise InvalidInput(f"The file of pronunciations {path}: {reason}.", hint=PRONUNCIATIONS_HINT) from None


MAX_TEXT_FILE_BYTES = 4 << 20
SHORTER = "Cut it into chapters."


def read_text(path: Path) -> str:
    """A text file as text. Raises InvalidInput when it is no UTF-8, too large, or says nothing; AttachmentMissing."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_TEXT_FILE_BYTES + 1)
    except OSError as error:
        raise lost_or_refused(path, error) from error
    if len(content) > MAX_TEXT_FILE_BYTES:
        raise InvalidInput(f"{path.name} is larger than {MAX_TEXT_FILE_BYTES:,} bytes.", hint=SHORTER)
    try:
        text = content.decode("utf-8-sig").replace("\f", "\n\n")  # a new page, as extracted text has it
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path.name} is not UTF-8 (byte {error.start}).") from None
    if not text.strip():
        raise InvalidInput(f"{path.name} holds no text to speak.")
    return text
