"""Recordings that a design job made → kept candidates, so that a lock never depends on the outbox; in plain SQL."""

from __future__ import annotations

import json

from registry.storage.digests import as_floats, canonical_json
from registry.storage.session import Row, Session
from registry.voices.errors import CandidateNotFound
from registry.voices.values import Candidate, NewCandidate
from registry.voices.version_rows import model_columns, model_from, optional_json

KEPT_AT_LEAST_S = 30 * 86_400.0


def add_candidate(session: Session, job_name: str, index: int, new: NewCandidate, *, now_s: float) -> Candidate:
    """Keep candidate `index` (from 1) of a design job; made again, it replaces the earlier one."""
    forget_candidates(session, job_name, index=index)
    columns = {
        "job_name": job_name,
        "ordinal": index,
        "created_s": now_s,
        "audio_object": new.audio_sha256,
        "design_state_object": new.design_state_sha256,
        "transcript": new.transcript,
        "description": new.description,
        "language": new.language,
        "seed": new.seed,
        "sampling_json": canonical_json(as_floats(new.sampling)),
        **model_columns(new.model),
        "frames": new.frames,
        "duration_s": new.duration_s,
        "quality_json": canonical_json(dict(new.quality)),
        "character_json": optional_json(new.character),
    }
    session.insert("candidate", columns)
    return Candidate(job_name=job_name, index=index, created_s=now_s, content=new)


def find_candidates(session: Session, job_name: str) -> list[Candidate]:
    """The candidates of a design job, by index; empty when it made none or they are past keeping."""
    question = "SELECT * FROM candidate WHERE job_name = :job ORDER BY ordinal"
    return [_candidate_from(row) for row in session.rows(question, {"job": job_name})]


def get_candidate(session: Session, job_name: str, index: int) -> Candidate:
    """One candidate. Raises CandidateNotFound, which names those there are."""
    found = find_candidates(session, job_name)
    for candidate in found:
        if candidate.index == index:
            return candidate
    known = ", ".join(str(candidate.index) for candidate in found)
    has = f"Its candidates are {known}" if found else "It has none"
    raise CandidateNotFound(
        f"The job {job_name!r} has no candidate {index}.", hint=f"{has}; `voicejobs jobs show {job_name}` tells more."
    )


def forget_candidates(session: Session, job_name: str, *, index: int | None = None) -> None:
    """Forget the candidates of an earlier job of this name: all of them, or one."""
    session.execute_many(
        "DELETE FROM candidate WHERE job_name = ? AND ordinal = coalesce(?, ordinal)", [(job_name, index)]
    )


def _candidate_from(row: Row) -> Candidate:
    content = NewCandidate(
        audio_sha256=row["audio_object"],
        design_state_sha256=row["design_state_object"],
        transcript=row["transcript"],
        description=row["description"],
        language=row["language"],
        seed=row["seed"],
        sampling=json.loads(row["sampling_json"]),
        model=model_from(row),
        frames=row["frames"],
        duration_s=row["duration_s"],
        quality=json.loads(row["quality_json"]),
        character=json.loads(row["character_json"] or "null"),
    )
    return Candidate(job_name=row["job_name"], index=row["ordinal"], created_s=row["created_s"], content=content)
