"""A job that is about to be admitted → a refusal where it wants a language that a model is known not to speak.

What depends on jobs that have not ended, on a model that cannot be told, or on one that is still to be fetched and
that nobody here knows, is judged when the job starts.
"""

from __future__ import annotations

import contextlib

from models.languages import AUTO
from registry.errors import VoiceJobsError
from registry.jobs import dependencies
from registry.storage.session import Session
from registry.voices.names import name_key
from runner.config.model_names import DESIGN
from runner.inbox.line_texts import JudgedTexts
from runner.jobfile.specs import DesignSpec, JobSpec
from runner.names import may_be_preset, parse_voice_reference
from runner.scheduling.spoken_languages import check_spoken
from runner.scheduling.voice_resolution import ModelNames, preset_voice, resolve_voice

MOST_JUDGED = 20  # models of one job: each is looked up on the disk while other drops wait


def check_languages(session: Session, spec: JobSpec, texts: JudgedTexts | None, *, models: ModelNames) -> None:
    """Raise LanguageNotSpoken for a line, or a design, in a language that its model does not speak."""
    default = models.instance.settings.language
    if isinstance(spec, DesignSpec):
        _check_design(spec, spec.language or default, models=models)
    elif texts is not None:
        found: dict[tuple[str, str | None], str | None] = {}
        for one in texts.languages:
            if (language := one.language or default) == AUTO:
                continue
            if (key := (one.voice, one.model)) not in found:
                if len(found) == MOST_JUDGED:
                    return
                found[key] = _settled_model(session, *key, models=models)
            if (model := found[key]) is not None:
                check_spoken(language, model, models_dir=models.directory, position=one.position)


def _check_design(spec: DesignSpec, language: str, *, models: ModelNames) -> None:
    model = None
    if language != AUTO:
        with contextlib.suppress(VoiceJobsError):
            model = models.for_ability(DESIGN, wanted=spec.model)
    if model is not None:
        check_spoken(language, model, models_dir=models.directory)


def _settled_model(session: Session, reference: str, wanted: str | None, *, models: ModelNames) -> str | None:
    """The model that will speak with a voice, whatever jobs before do; None where they may change it."""
    named = parse_voice_reference(reference)
    with contextlib.suppress(VoiceJobsError):
        if may_be_preset(named):
            return models.for_voice(preset_voice(named.name), wanted=wanted)
        is_fixed = named.number is not None or named.digest is not None
        if is_fixed or not dependencies.open_makers(session, name_key(named.name)):
            return models.for_voice(resolve_voice(session, reference), wanted=wanted)
    return None
