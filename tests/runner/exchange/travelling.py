"""Voices that travel: locked in one registry, exported, imported into another."""

import io
import json
import zipfile
from dataclasses import replace

import numpy as np

from models.audio.encoder import encode_audio
from models.audio.file_format import FileFormat
from models.voices.clone_prompt import ClonePrompt
from registry.voices.values import ModelFacts, NewVersion
from registry.voices.versions import add_version
from runner.exchange.exporter import export_voice
from runner.exchange.importer import add_versions, read_voice_file, store

MODEL = ModelFacts(
    engine="qwen3-tts",
    engine_version="1",
    render_version="qwen3-tts-1",
    model="qwen3-tts-1.7b-base",
    model_fingerprint="f" * 64,
    software={"mlx": "0.30"},
)


def native_prompt(size=2048, text="Look out, I shout.", frames=5):
    draw = np.random.default_rng(size + frames)
    codes = draw.integers(0, 2048, (frames, 16))
    return ClonePrompt(draw.normal(size=size).astype(np.float32), codes, text, "english", model_fingerprint="f" * 64)


def locked(registry, voice="elena", *, prompt=None, now_s=1_700_000_000.5, **changes):
    """A version as a lock of a designed candidate makes it."""
    sound = encode_audio(
        np.sin(np.arange(48_000) / 20).astype(np.float32) * 0.3, FileFormat(format="flac", encoding="pcm24")
    )
    plain = NewVersion(
        voice=voice,
        model=MODEL,
        prompt_sha256=registry.objects.put((prompt or native_prompt()).to_bytes()),
        prompt_facts={"embedding_size": (prompt or native_prompt()).embedding_size, "frames": 5},
        transcript="Look out, I shout.",
        made_by_job="lock-elena",
        idempotency_key=f"key-{now_s}",
        speaker_embedding=(0.5, -0.25),
        reference_sha256=registry.objects.put(sound),
        reference_duration_s=2.0,
        audition_sha256=registry.objects.put(sound + b"audition"),
        attachments={"design_state": registry.objects.put(b"state")},
        description="A female voice, 30-40. A seasoned detective.",
        language="english",
        seed=2**62 + 1,
        sampling={"temperature": 0.7},
        consent="self",
        character={"gender": "female", "age_range": "30-40", "voice_traits": ["warm"]},
        metadata={"note": None, "scene": 3},
        provenance={"job": "design-elena", "candidate": 2},
        pronunciations={"Nguyen": "Win"},
    )
    with registry.db.write() as session:
        return add_version(session, replace(plain, **changes), now_s=now_s)


def exported(registry, reference="elena"):
    with registry.db.read() as session:
        return export_voice(session, registry.objects, reference)


def imported(registry, content, *, name="voice.vox", now_s=1_800_000_000.0, set_current=True, **how):
    found = read_voice_file(content, file_name=name, **how)
    store(registry.objects, found)
    with registry.db.write() as session:
        return add_versions(session, found, now_s=now_s, set_current=set_current)


def manifest_in(content):
    return json.loads(zipfile.ZipFile(io.BytesIO(content)).read("manifest.json"))
