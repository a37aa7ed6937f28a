"""Two versions → what changed from the one to the other, and how alike their speakers are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from registry.voices.values import Change, ModelFacts, Version, VersionDiff

NOT_COMPARED = {"id", "voice", "number", "created_s", "speaker_embedding", "deleted_s", "deleted_why", "purged_s"}


def compare(before: Version, after: Version) -> VersionDiff:
    """Every field that differs, the model's facts one by one, and the cosine of the speaker embeddings."""
    old, new = _flat(before), _flat(after)
    changes = tuple(Change(field=name, before=old[name], after=new[name]) for name in old if old[name] != new[name])
    cosine = cosine_of(before.speaker_embedding, after.speaker_embedding)
    return VersionDiff(before=before.name, after=after.name, changes=changes, speaker_cosine=cosine)


def cosine_of(first: Sequence[float] | None, second: Sequence[float] | None) -> float | None:
    """The cosine between two embeddings `(D,)`; None when one is missing or empty, or they differ in size."""
    if first is None or second is None or len(first) != len(second):
        return None
    lengths = math.hypot(*first) * math.hypot(*second)
    if not lengths or not math.isfinite(lengths):
        return None
    dot = math.fsum(a * b for a, b in zip(first, second, strict=True))
    return max(-1.0, min(1.0, dot / lengths))


def _flat(version: Version) -> dict[str, Any]:
    own = {field.name: getattr(version, field.name) for field in fields(Version) if field.name not in NOT_COMPARED}
    model: ModelFacts = own.pop("model")
    return {**own, **{field.name: getattr(model, field.name) for field in fields(ModelFacts)}}
