"""Values → the SHA-256 that names them: voice digests and take keys, and the canonical JSON beneath both."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from registry.errors import InvalidInput

VOICE_DIGEST_FORM = "voicejobs-voice-1"  # changes only with a migration that rewrites every digest
TAKE_KEY_FORM = "voicejobs-take-1"  # a change makes every take be rendered again


_CANONICAL = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def canonical_json(value: object) -> str:
    """Equal values → equal text: sorted keys, no spaces, no escapes but JSON's own. Raises InvalidInput."""
    try:
        text = _CANONICAL.encode(value)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"A value cannot be stored as JSON: {error}.") from None
    return text


def sha256_of_json(value: object) -> str:
    """SHA-256 of the canonical JSON, as lower-case hex."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def as_floats(sampling: Mapping[str, float]) -> dict[str, float]:
    """Sampling settings as they enter a digest: `50` and `50.0` are the same setting. Raises InvalidInput."""
    try:
        return {name: float(value) for name, value in sampling.items()}
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidInput(f"The sampling settings {dict(sampling)} are not all numbers: {error}.") from None


def voice_digest(
    *,
    engine: str,
    model_fingerprint: str,
    quantization: str | None,
    prompt_sha256: str,
    reference_sha256: str | None,
    transcript: str,
    description: str | None,
    language: str,
    seed: int | None,
    sampling: Mapping[str, float],
    pronunciations: Mapping[str, str],
) -> str:
    """The digest of a voice version: what it sounds like and what it was made from.

    Its name, number, age, job, consent and other records stay outside, so the same voice has the same digest in
    every registry, and two locks of one recording with one model are one voice.
    """
    content: dict[str, Any] = {
        "form": VOICE_DIGEST_FORM,
        "engine": engine,
        "model_fingerprint": model_fingerprint,
        "quantization": quantization,
        "prompt_sha256": prompt_sha256,
        "reference_sha256": reference_sha256,
        "transcript": transcript,
        "description": description,
        "language": language,
        "seed": seed,
        "sampling": as_floats(sampling),
        "pronunciations": dict(pronunciations),
    }
    return sha256_of_json(content)


def take_key(
    *,
    voice_digest: str,
    text: str,
    instruct: str | None,
    language: str,
    sampling: Mapping[str, float],
    seed: int,
    model_fingerprint: str,
    render_version: str,
    pauses: Sequence[tuple[int, float]] = (),
) -> str:
    """The name of a take: everything that decides how a line sounds.

    `voice_digest` is the digest of a locked version, or any text that names a preset or a description; `text` is
    what reaches the engine, pronunciations applied; `seed` is the requested one.
    """
    content: dict[str, Any] = {
        "form": TAKE_KEY_FORM,
        "voice": voice_digest,
        "text": text,
        "instruct": instruct or None,
        "language": language,
        "sampling": as_floats(sampling),
        "seed": seed,
        "model_fingerprint": model_fingerprint,
        "render_version": render_version,
        **({"pauses": [[at, float(pause_s)] for at, pause_s in pauses]} if pauses else {}),
    }
    return sha256_of_json(content)
