"""A job that has spoken, and a change to one of its lines → the job file of a new job. Pure.

All other lines stay as they were, word for word and voice for voice, so their takes are used again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from registry.jobs.line_request import VoiceSource
from registry.jobs.values import Job, Line
from registry.voices.names import PRESET_PREFIX

NOT_REPEATED = ("id", "fresh", "text", "text_file", "markup")


def changed_values(job: Job, lines: Sequence[Line], *, position: int, text: str, seed: int) -> dict[str, Any]:
    """Values of the new job file; the line gets `text`, or `seed` when that is the text it had."""
    spec: dict[str, Any] = json.loads(job.spec_json)
    has_lines = spec.get("lines") is not None and len(spec["lines"]) == len(lines)
    entries = [
        {**(spec["lines"][index] if has_lines else _entry(line)), **_kept(line, is_fresh=spec.get("fresh", False))}
        for index, line in enumerate(lines)
    ]
    wanted = entries[position - 1]
    if text.strip() and text.strip() != wanted["text"].strip():
        wanted["text"] = text.strip()
    else:
        wanted["seed"] = seed
    values = {key: value for key, value in spec.items() if key not in NOT_REPEATED}
    if not has_lines:
        values["markup"] = "plain"  # it was read when the job began
    elif "markup" in spec:
        values["markup"] = spec["markup"]
    return {**values, "lines": entries}


def _entry(line: Line) -> dict[str, Any]:
    return {"text": line.request.text, "pause_after_s": line.request.pause_after_s}


def _kept(line: Line, *, is_fresh: bool) -> dict[str, Any]:
    """The version that spoke, whatever its name means today, and a seed that was drawn."""
    reference = _reference(line.request.voice)
    return {**({"voice": reference} if reference else {}), **({"seed": line.seed} if is_fresh else {})}


def _reference(voice: VoiceSource) -> str | None:
    if voice.kind == "preset":
        return f"{PRESET_PREFIX}{voice.name}"
    return f"{voice.name}@{voice.version}" if voice.is_lock else None
