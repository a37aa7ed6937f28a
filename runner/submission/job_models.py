"""A checked job → the models that will do its work, as far as that is known before it begins.

A voice that is still to be locked is taken to be spoken by the model that would lock it now. Only reads.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from models.errors import InvalidModelId, InvalidPath, UnknownModel
from models.store.forecast import free_bytes, to_download
from models.text.pronunciation import Respellings
from models.text.spoken_form import speaks
from registry.errors import NotFound, VoiceJobsError
from registry.jobs.takes import speeds
from registry.storage.database import Database
from registry.storage.session import Session
from runner.config.instance import Instance
from runner.config.model_names import CLONE, DESIGN
from runner.inbox.line_texts import JobTexts
from runner.jobfile.specs import DesignSpec, JobSpec, LineSpec, LockSpec, RelockSpec, SynthesizeSpec
from runner.names import may_be_preset, parse_voice_reference
from runner.scheduling.instructions import instruction_warnings
from runner.scheduling.pronunciation_file import load_pronunciations, no_word_left, respellings_for, spoken_line
from runner.scheduling.spoken_languages import check_spoken
from runner.scheduling.voice_resolution import ModelNames, ResolvedVoice, preset_voice, resolve_voice
from runner.text_format import size

MEANS_NONE = (UnknownModel.code, InvalidModelId.code, InvalidPath.code)  # errors of names, not of what they name


@dataclass(frozen=True, kw_only=True)
class JobModels:
    """The models of one job: of its lines by position, and all of them in the order of their work."""

    of_lines: Mapping[int, str] = field(default_factory=dict)
    names: tuple[str, ...] = ()


def models_of(spec: JobSpec, texts: JobTexts | None, *, instance: Instance) -> JobModels:
    """The models that a job needs; those that cannot be told are left out."""
    names = ModelNames(instance)
    if isinstance(spec, DesignSpec | LockSpec | RelockSpec):
        with contextlib.suppress(VoiceJobsError):
            ability = DESIGN if isinstance(spec, DesignSpec) else CLONE
            return JobModels(names=(names.for_ability(ability, wanted=spec.model),))
    if not isinstance(spec, SynthesizeSpec) or texts is None:
        return JobModels()
    with _snapshot(instance) as session:
        models = _LineModels(names, session)
        found = {
            position: models.of(line.voice or spec.voice or "", line.model or spec.model)
            for position, line in enumerate(texts.lines, start=1)
            if speaks(line.text)
        }
    known = {position: model for position, model in found.items() if model is not None}
    return JobModels(of_lines=known, names=tuple(dict.fromkeys(known.values())))


def check_named_models(spec: JobSpec, texts: JobTexts | None, *, instance: Instance) -> None:
    """Raises UnknownModel and its kin for a `model` that can mean no model here, as the job's start would."""
    if not isinstance(spec, DesignSpec | LockSpec | RelockSpec | SynthesizeSpec):
        return
    lines = texts.lines if texts is not None else ()
    names, wanted = ModelNames(instance), [spec.model, *(line.model for line in lines)]
    for name in dict.fromkeys(name for name in wanted if name is not None):
        try:
            names.named(name, ability=DESIGN if isinstance(spec, DesignSpec) else CLONE)
        except VoiceJobsError as error:
            if error.code in MEANS_NONE:
                raise


def check_present_models(models: JobModels, *, instance: Instance) -> None:
    """Raises ModelIncomplete or ModelNotInstalled for a model on this disk that the job's start would refuse."""
    from models.fetch.prepare import check_present

    directory = ModelNames(instance).directory
    for name in models.names:
        check_present(name, directory=directory)


def check_languages(spec: JobSpec, texts: JobTexts | None, models: JobModels, *, instance: Instance) -> None:
    """Raises LanguageNotSpoken for a line in a language that its model is known not to speak."""
    directory, settings = ModelNames(instance).directory, instance.settings
    if isinstance(spec, DesignSpec):
        for model in models.names:
            check_spoken(spec.language or settings.language, model, models_dir=directory)
    if not isinstance(spec, SynthesizeSpec) or texts is None:
        return
    seen: set[tuple[str, str]] = set()
    for position, model in models.of_lines.items():
        language = texts.lines[position - 1].language or spec.language or settings.language
        if (language, model) in seen:
            continue
        seen.add((language, model))
        at = None if spec.lines is None else position
        check_spoken(language, model, models_dir=directory, position=at)


def check_respellings(spec: JobSpec, texts: JobTexts | None, *, instance: Instance) -> None:
    """Raises InvalidInput where respellings leave no word, as the job's start would; not of voices still to be made."""
    if not isinstance(spec, SynthesizeSpec) or texts is None:
        return
    own = Respellings(load_pronunciations(instance))
    with _snapshot(instance) as session:
        tables: dict[str, Respellings] = {}
        for position, line in enumerate(texts.lines, start=1):
            name = line.voice or spec.voice or ""
            if name not in tables:
                if (voice := _voice_now(session, name)) is None:
                    return
                tables[name] = respellings_for(voice, beneath=own)
            if spoken_line(texts, position, tables[name]).spoken:
                return
    raise no_word_left()


def _voice_now(session: Session | None, reference: str) -> ResolvedVoice | None:
    """The voice that is meant now; None where it is still to be made."""
    if may_be_preset(named := parse_voice_reference(reference)):
        return preset_voice(named.name)
    if session is not None:
        with contextlib.suppress(NotFound):
            return resolve_voice(session, reference)
    return None


def warnings_about_instructions(
    spec: JobSpec, texts: JobTexts | None, models: JobModels, *, instance: Instance
) -> Iterator[str]:
    """A sentence on instructions that a model will not follow."""
    if isinstance(spec, SynthesizeSpec) and texts is not None:
        lines: list[LineSpec] = [*texts.lines]
        asked = [(at, model) for at, model in models.of_lines.items() if lines[at - 1].instruct or spec.instruct]
        yield from instruction_warnings(asked, models_dir=ModelNames(instance).directory)


def downloads_of(names: Iterable[str], *, instance: Instance) -> Iterator[str]:
    """A sentence on each model that must be downloaded before the job can be worked on, with its size."""
    directory = ModelNames(instance).directory
    with contextlib.suppress(VoiceJobsError):
        for needed in to_download(names, directory=directory):
            large = f"{size(needed.size_bytes)} are" if needed.size_bytes else "it is"
            if instance.settings.offline:
                yield f"{needed.name} is not here, and offline mode is on."
                continue
            yield f"{needed.name} is not here: {large} downloaded first ({size(free_bytes(directory))} free)."


def render_s_of(models: JobModels, audio_s: float, *, instance: Instance) -> float | None:
    """Time that so much speech is expected to take here, by the speed of the takes made last."""
    with _snapshot(instance) as session:
        if session is None:
            return None
        found = speeds(session).render_s(audio_s, model=models.names[0] if models.names else None)
        return None if found is None else round(found, 1)


class _LineModels:
    """The model of a voice as lines name it, looked up once."""

    def __init__(self, names: ModelNames, session: Session | None) -> None:
        self._names, self._session = names, session
        self._known: dict[tuple[str, str | None], str | None] = {}

    def of(self, reference: str, wanted: str | None) -> str | None:
        key = (reference, wanted)
        if key not in self._known:
            self._known[key] = None
            with contextlib.suppress(VoiceJobsError):
                self._known[key] = self._find(reference, wanted)
        return self._known[key]

    def _find(self, reference: str, wanted: str | None) -> str:
        """Model that speaks with a voice; of one that is not locked yet, the one that would lock it."""
        if may_be_preset(named := parse_voice_reference(reference)):
            return self._names.for_voice(preset_voice(named.name), wanted=wanted)
        if self._session is not None:
            with contextlib.suppress(NotFound):
                return self._names.for_voice(resolve_voice(self._session, reference), wanted=wanted)
        return self._names.for_ability(CLONE, wanted=wanted)


@contextlib.contextmanager
def _snapshot(instance: Instance) -> Iterator[Session | None]:
    """The registry as it is now; None where there is none, or none that can be read."""
    with contextlib.ExitStack() as stack:
        session = None
        if instance.database_path.is_file():
            with contextlib.suppress(VoiceJobsError):
                database = stack.enter_context(
                    Database.open(instance.database_path, root=instance.root, reads_only=True)
                )
                session = stack.enter_context(database.read())
        yield session
