"""Small values for the registry's tests."""

import dataclasses
import hashlib
from typing import Any

from registry.jobs.line_request import LineRequest, VoiceSource
from registry.jobs.values import TakeFacts
from registry.storage.digests import canonical_json
from registry.voices.values import ModelFacts, NewCandidate, NewVersion

BASE = ModelFacts(
    engine="draft",
    engine_version="1",
    render_version="draft-1",
    model="draft",
    model_fingerprint="f" * 64,
    model_revision="main",
    software={"voicejobs": "0.1.0"},
)

REQUEST_JSON = canonical_json(
    LineRequest(
        text="x",
        spoken="x",
        voice=VoiceSource(kind="preset", name="ryan"),
        voice_digest="preset:ryan",
        language="auto",
        instruct=None,
        sampling={},
        max_seconds=None,
        pause_after_s=0.0,
    ).to_json()
)


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def a_version(voice: str = "elena", **changes: Any) -> NewVersion:
    """A version whose every field says something."""
    plain = NewVersion(
        voice=voice,
        model=BASE,
        prompt_sha256=sha256("prompt"),
        prompt_facts={"embedding_size": 3, "frames": 69},
        speaker_embedding=(0.5, -0.25, 1.0),
        reference_sha256=sha256("reference"),
        reference_duration_s=5.5,
        audition_sha256=sha256("audition"),
        attachments={"assets/portrait.png": sha256("portrait")},
        transcript="That quick beige fox jumped.",
        description="A warm female voice, 30s.",
        language="english",
        seed=7,
        sampling={"temperature": 0.9, "top_k": 50},
        consent="self",
        character={"name": "Elena", "traits": ["warm"]},
        metadata={"scene": 3},
        provenance={"method": "designed"},
        pronunciations={"Nguyen": "Win"},
    )
    return dataclasses.replace(plain, **changes)


def a_candidate(**changes: Any) -> NewCandidate:
    plain = NewCandidate(
        audio_sha256=sha256("candidate"),
        design_state_sha256=sha256("state"),
        transcript="Hello.",
        description="A warm voice.",
        language="english",
        seed=3,
        sampling={"temperature": 0.7},
        model=BASE,
        frames=40,
        duration_s=3.2,
        quality={"peak": 0.8},
        character={"name": "Elena"},
    )
    return dataclasses.replace(plain, **changes)


def take_facts(**changes: Any) -> TakeFacts:
    plain = TakeFacts(
        requested_seed=1,
        accepted_seed=2,
        finish_reason="eos",
        frames=10,
        duration_s=0.8,
        render_s=0.1,
        attempts=2,
        failed_gates=("too-long",),
        quality={"peak": 0.5},
        engine={"batch": 4},
    )
    return dataclasses.replace(plain, **changes)
