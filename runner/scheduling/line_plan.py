"""A job file's values and what its names mean → the lines to be spoken, with seeds and file names. Pure functions.

A line's seed follows from what it says and how, never from its place: inserting a line above it, renaming
its id or its file changes nothing, so its take is found again.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from models.text.spoken_form import spoken_form
from registry.jobs.line_request import LineRequest
from registry.storage.digests import canonical_json
from registry.voices.names import name_key

SEED_LIMIT = 1 << 31
MAX_CRASHES = 3  # engine deaths over one line or recording before it is quarantined
MAX_FAILURES = 3  # failed renderings of it that another try might have made good
WORDLESS_PAUSE_S = 1.4  # of a line without a word: a scene break, an ellipsis

# Names that the outbox folder needs for itself, without their extension.
RESERVED_STEMS = frozenset({"track", "captions", "result", "audition", "con", "prn", "aux", "nul"})
_RESERVED_PATTERN = re.compile(r"(candidate-\d+|line-\d+|result\.\d+|com\d|lpt\d)", re.IGNORECASE)
MAX_STEM_BYTES = 200


def derived_seed(content: Mapping[str, Any], *, job_seed: int | None, ordinal: int) -> int:
    """The seed of a line that names none: `ordinal` counts lines with equal content within the job, from 0."""
    return _seed_of("line", canonical_json(dict(content)), job_seed, ordinal)


def retry_seed(seed: int, *, attempt: int) -> int:
    """The seed of attempt 2, 3, … at a line whose earlier takes failed their gates; attempt 1 has the line's own."""
    return seed if attempt == 1 else _seed_of("retry", seed, attempt)


def _seed_of(*parts: object) -> int:
    digest = hashlib.sha256(canonical_json(list(parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") % SEED_LIMIT


class Ordinals:
    """Counts equal contents: the first gets 0, its twin 1."""

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()

    def next(self, content: Mapping[str, Any]) -> int:
        digest = hashlib.sha256(canonical_json(dict(content)).encode()).hexdigest()
        self._seen[digest] += 1
        return self._seen[digest] - 1


def line_files(ids: Sequence[str | None], *, extension: str) -> list[str]:
    """One file name a line: its id, else its number. No two are equal on any file system, and none is special."""
    width = len(str(len(ids)))
    used: set[str] = set()
    names = []
    for position, line_id in enumerate(ids, start=1):
        stem = _safe_stem(line_id) if line_id else f"line-{position:0{width}d}"
        unique, number = stem, 1
        while name_key(unique) in used:
            number += 1
            unique = f"{stem}_{number}"
        used.add(name_key(unique))
        names.append(f"{unique}.{extension}")
    return names


def _safe_stem(line_id: str) -> str:
    """An id as a file name: ids are letters, digits, `_`, `.` and `-`, but some such names mean something."""
    stem = line_id.encode()[:MAX_STEM_BYTES].decode("utf-8", "ignore").strip(".") or "line"
    first = stem.split(".")[0]
    special = (
        name_key(first) in RESERVED_STEMS or _RESERVED_PATTERN.fullmatch(stem) or _RESERVED_PATTERN.fullmatch(first)
    )
    return f"_{stem}" if special else stem


def merged_sampling(*layers: Mapping[str, Any] | None) -> dict[str, float]:
    """Sampling settings, later layers over earlier ones; keys that nobody gave are left to the model."""
    merged: dict[str, float] = {}
    for layer in layers:
        merged |= {key: value for key, value in (layer or {}).items() if value is not None}
    return merged


def spoken_content(request: LineRequest) -> dict[str, Any]:
    """The part of a line's request that decides how it sounds."""
    return {
        "text": spoken_form(request.text),
        "instruct": request.instruct,
        "language": request.language,
        "sampling": dict(request.sampling),
        "max_seconds": request.max_seconds,
        "voice_digest": request.voice_digest,
        **({"pauses": [list(pause) for pause in request.pauses]} if request.pauses else {}),
    }
