"""A job that is tried again → its lines for which no file names a model and no lock decides it: today's default's.

The rest of the plan holds over every retry: voices, seeds and texts stay as they were resolved first.
"""

from __future__ import annotations

import json

from registry.jobs import lines
from registry.jobs.values import Job
from registry.storage.session import Session
from runner.config.model_names import DESIGN, PRESETS
from runner.scheduling.voice_resolution import ModelNames

ABILITIES = {"design": ("description", DESIGN), "synthesize": ("preset", PRESETS)}


def renew_model(session: Session, job: Job, models: ModelNames) -> str | None:
    """The default model, when lines of the job that wait are given to it now. Raises UnknownModel and its kin."""
    if not job.is_planned or job.kind not in ABILITIES:
        return None
    voice_kind, ability = ABILITIES[job.kind]
    before = lines.models_waiting(session, job.id, voice_kind=voice_kind)
    if not before:
        return None
    default = models.for_ability(ability, wanted=None)
    spec = json.loads(job.spec_json)
    if before == {default} or spec.get("model") is not None:
        return None
    own = [position for position, line in enumerate(spec.get("lines") or (), start=1) if line.get("model")]
    renewed = lines.give_to_model(session, job.id, default, voice_kind=voice_kind, but=own)
    return default if renewed else None
