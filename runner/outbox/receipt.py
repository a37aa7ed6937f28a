"""A finished job and its lines in the ledger → its receipt, `result.json`. Pure functions.

`docs/receipts.md` and `docs/receipt.schema.json` describe the keys. Everything here comes from the ledger, so the
same receipt is written with the same bytes however often it has to be.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from models.text.timed_text import shown
from registry.jobs.line_request import VoiceSource
from registry.jobs.values import SCRIPT, Job, JobError, Line, LineStatus
from registry.voices.values import Version
from runner.redaction import redact

if TYPE_CHECKING:
    from models.listen.values import Heard  # loads NumPy

SCHEMA = 1


class Encoded(str):
    """JSON already: an entry of a job of many lines takes a tenth of the room that its values take."""


def receipt(job: Job, lines: Iterable[Line]) -> dict[str, Any]:
    """The receipt of a job that has an outcome, for `encoded`; `lines` are all its lines, in order, read once."""
    is_design = job.kind == "design"
    entries: list[Encoded] = []
    audio_s = render_s = 0.0
    by_position = job.facts.get("ranks", {})
    for line in lines:
        entry, result = line_entry(line), line.result or {}
        entries.append(Encoded(_compact(_candidate(entry, by_position) if is_design else entry)))
        audio_s += result.get("duration_s", 0.0)
        render_s += 0.0 if result.get("reused") else result.get("render_s", 0.0)
    facts = job.facts
    spec = json.loads(job.spec_json) if job.spec_json else {}
    return {
        "schema": SCHEMA,
        "job": job.name,
        "id": spec.get("id"),
        "kind": job.kind,
        "status": job.outcome or job.status,
        "error": error_entry(job.error),
        "warnings": [redact(warning) for warning in job.warnings],
        "lines": [] if is_design else entries,
        "candidates": entries if is_design else [],
        "voice": facts.get("voice"),
        "files": facts.get("files", []),
        "track": facts.get("track"),
        "job_file": facts.get("job_file"),
        "duplicate_of": facts.get("duplicate_of"),
        **({"children": facts.get("children", [])} if job.kind == SCRIPT else {}),
        **({"heard": facts["heard"]} if "heard" in facts else {}),
        "model": facts.get("model"),
        "engine": facts.get("engine"),
        "versions": facts.get("versions", {}),
        "timings": timings(job, audio_s=audio_s, render_s=render_s),
        "attempts": job.attempts,
        "metadata": spec.get("metadata", {}),
    }


def encoded(content: Mapping[str, Any]) -> bytes:
    """The bytes of `result.json`: a key a line, and an entry of a list a line, for people who look."""
    parts = (f"  {_compact(key)}: {_value(value)}" for key, value in content.items())
    return ("{\n" + ",\n".join(parts) + "\n}\n").encode()


def _value(value: Any) -> str:
    if not isinstance(value, list) or not value:
        return _compact(value)
    items = (item if isinstance(item, Encoded) else _compact(item) for item in value)
    return "[\n" + ",\n".join(f"    {item}" for item in items) + "\n  ]"


_compact = json.JSONEncoder(ensure_ascii=False).encode


def line_entry(line: Line) -> dict[str, Any]:
    """One line of the receipt."""
    result = line.result or {}
    is_done = line.status == LineStatus.PUBLISHED
    is_pause = line.request.is_pause
    spoken = shown(line.request.spoken, line.request.pauses)
    return {
        "index": line.position,
        "id": line.key,
        "status": "done" if is_done else line.status,
        "file": line.file if is_done and not is_pause else None,
        "text": line.request.text,
        **({"spoken": spoken} if spoken not in ("", line.request.text) else {}),
        "voice": voice_entry(line.request.voice),
        "model": result.get("model", line.model),
        "revision": result.get("revision"),
        "seed": result.get("seed", line.seed),
        "requested_seed": line.seed,
        "finish_reason": "pause" if is_pause else result.get("finish_reason"),
        "duration_s": line.request.pause_after_s if is_pause else result.get("duration_s"),
        "frames": result.get("frames"),
        "sha256": result.get("file_sha256") if is_done else None,
        "take": line.take_key,
        "reused": result.get("reused", False),
        "attempts": result.get("attempts", line.failures),
        "quality": result.get("quality"),
        "render_s": result.get("render_s"),
        "batch": result.get("batch"),
        "warnings": [*(f"Spoken literally: {kind}." for kind in line.request.markup), *result.get("warnings", [])],
        "error": error_entry(line.error),
    }


def _candidate(entry: dict[str, Any], ranks: Mapping[str, int]) -> dict[str, Any]:
    shown = {key: value for key, value in entry.items() if key not in ("id", "voice")}
    return {**shown, "rank": ranks.get(str(entry["index"]))}


# Faults of usable takes, by the gate of `models/audio/quality.py` that found them.
FAULTS = {
    "clipped": "is overdriven",
    "too-short": "is too short for its text",
    "too-long": "is too long for its text",
    "length-cap": "was cut at the longest length allowed",
    "long-silence": "is silent for too long",
    "runs-on": "goes on after its text",
    "click": "clicks",
    "misheard": "is heard as another text",
    "dissimilar": "sounds like another voice",
}


def gates_warning(file: str, *, attempts: int, failed: Iterable[str]) -> str:
    """The warning about a line whose best take is not good."""
    best = f"the best of {attempts} takes" if attempts > 1 else "the only take"
    faults = [f"{FAULTS.get(gate, 'failed')} ({gate})" for gate in failed]
    return f"{file}: {best} {' and '.join(faults)}."


def voice_entry(voice: VoiceSource) -> dict[str, Any] | None:
    """A line's voice as `{name, version, digest}`; a preset has neither version nor digest, a description no name."""
    if voice.kind == "description":
        return None
    if voice.kind == "preset":
        return {"name": f"preset:{voice.name}", "version": None, "digest": None}
    return {"name": voice.name, "version": voice.version, "digest": f"sha256:{voice.digest}"}


def version_entry(version: Version) -> dict[str, Any]:
    """A version that a job has made, or moved, as `{name, version, digest}`."""
    return {"name": version.voice, "version": version.number, "digest": f"sha256:{version.digest}"}


def heard_entry(heard: Heard) -> dict[str, Any]:
    """Facts about the words of a recording that a recogniser heard."""
    return {
        "recogniser": heard.recogniser,
        "language": heard.language,
        "confidence": heard.confidence,
        "duration_s": heard.duration_s,
        "words": len(heard.words),
    }


def timings(job: Job, *, audio_s: float, render_s: float) -> dict[str, Any]:
    """Times of claim, start and end, and how long speech and its rendering took together."""
    end_s = job.finished_s if job.finished_s is not None else job.claimed_s
    return {
        "claimed_at": iso(job.claimed_s),
        "started_at": iso(job.started_s),
        "finished_at": iso(job.finished_s),
        "waited_s": _span_s(job.claimed_s, job.started_s or end_s),
        "ran_s": _span_s(job.started_s or end_s, end_s),
        "audio_s": round(audio_s, 3),
        "render_s": round(render_s, 3),
    }


def _span_s(start_s: float, end_s: float) -> float:
    """Between two looks at a clock that may have been set back meanwhile."""
    return round(max(0.0, end_s - start_s), 3)


def iso(at_s: float | None) -> str | None:
    """Epoch seconds as UTC in ISO 8601 with milliseconds."""
    if at_s is None:
        return None
    return datetime.fromtimestamp(at_s, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def error_entry(error: JobError | None) -> dict[str, str] | None:
    """An error without the credentials that a library may have put into its message."""
    if error is None:
        return None
    return {"code": error.code, "message": redact(error.message), "hint": redact(error.hint)}


def summary_error(errors: Sequence[JobError], *, lines: int) -> JobError | None:
    """The error of a job of so many lines of which some failed: the commonest reason, and how many lines it hit."""
    if not errors:
        return None
    codes = [error.code for error in errors]
    code = max(dict.fromkeys(codes), key=codes.count)
    first = next(error for error in errors if error.code == code)
    if lines == 1:
        return first
    message = f"{len(errors)} of {lines} lines failed; the first: {first.message}"
    return JobError(code=code, message=message, hint=first.hint)
