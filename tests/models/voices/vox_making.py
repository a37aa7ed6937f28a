"""Generators of the files other tools make, good and bad, and the sample folder."""

from __future__ import annotations

import io
import json
import os
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from models.audio.encoder import encode_audio
from models.voices.swift_prompt import SwiftPrompt
from models.voices.tensor_blob import Tensor

ROOT = Path(__file__).parents[3]
TEXT = "Hello, this is a voice sample for testing purposes."
SEED_PATH = "embeddings/qwen3-tts/clone-prompt.bin"


def samples_folder() -> Path | None:
    """The folder of real and synthetic voice files that is handed around beside the repository, if it is there."""
    named = os.environ.get("VOICEJOBS_SHARED")
    for folder in [Path(named)] if named else [parent / "shared" for parent in ROOT.parents]:
        if (folder / "vox_samples").is_dir():
            return folder / "vox_samples"
    return None


def a_swift_prompt(
    size: int = 2048, frames: int = 20, *, codes: str = "U32", embedding: str | None = "F16", text: str = TEXT
) -> SwiftPrompt:
    draw = np.random.default_rng([size, frames])
    drawn = draw.integers(0, 2048, (1, 16, frames))
    width = {"U": "u", "I": "i"}[codes[0]] + str(int(codes[1:]) // 8)
    vector = draw.normal(size=(1, size)).astype(np.float32)
    packed = {
        "F16": lambda: vector.astype("<f2").tobytes(),
        "BF16": lambda: (vector.view(np.uint32) >> 16).astype("<u2").tobytes(),
        "F32": lambda: vector.astype("<f4").tobytes(),
    }
    speaker = Tensor(embedding, (1, size), packed[embedding]()) if embedding else None
    return SwiftPrompt(text, "english", Tensor(codes, (1, 16, frames), drawn.astype(f"<{width}").tobytes()), speaker)


def prompt_parts(facts: Mapping[str, Any] | bytes, codes: bytes = b"", speaker: bytes = b"") -> bytes:
    """A prompt file with any description."""
    text = facts if isinstance(facts, bytes) else json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()
    return struct.pack("<I", len(text)) + text + codes + speaker


def a_wav(seconds: float = 3.2) -> bytes:
    time_s = np.arange(int(seconds * 24_000)) / 24_000
    return encode_audio((0.3 * np.sin(2 * np.pi * 220 * time_s)).astype(np.float32))


def a_manifest(**changes: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "vox_version": "0.4.0",
        "id": "6f0c2c1e-6a1b-4b0e-9d2a-3f5f7f3b2a10",
        "created": "2026-02-14T12:00:00Z",
        "voice": {"name": "ELENA", "description": "A female voice, 30-40. A seasoned detective."},
        "provenance": {"method": "designed", "engine": "qwen3-tts"},
    }
    return {key: value for key, value in {**plain, **changes}.items() if value is not None}


def an_archive(manifest: Mapping[str, Any] | bytes | None, /, deflate: bool = False, **files: bytes) -> bytes:
    """A zip file; `files` by path, `__` for `/` where a keyword must stand for a path is not needed: pass **{...}."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED if deflate else zipfile.ZIP_STORED) as archive:
        if manifest is not None:
            text = manifest if isinstance(manifest, bytes) else json.dumps(manifest, indent=2).encode()
            archive.writestr("manifest.json", text)
        for path, data in files.items():
            archive.writestr(path, data)
    return content.getvalue()


def seed_era_vox(**changes: Any) -> bytes:
    """As VoxAlta 0.5.0 wrote them: no map, one prompt, one sample."""
    files = {SEED_PATH: a_swift_prompt().to_bytes(), "embeddings/qwen3-tts/sample-audio.wav": a_wav()}
    return an_archive(a_manifest(vox_version="0.1.0", **changes), **files)


def entry(file: str, *, size: str = "1.7B", **changes: Any) -> dict[str, Any]:
    model = f"mlx-community/Qwen3-TTS-12Hz-{size}-Base-bf16"
    return {"model": model, "engine": "qwen3-tts", "file": file, "format": "bin", **changes}


def many_sized_vox() -> bytes:
    """Two model sizes and two languages of one voice, in the layout of 0.4.0."""
    root = "embeddings/qwen3-tts"
    embeddings = {
        "qwen3-tts-1.7b-clone-prompt": entry(f"{root}/1.7b/clone-prompt.bin"),
        "qwen3-tts-1.7b-es-clone-prompt": entry(f"{root}/1.7b/es/clone-prompt.bin", language="es"),
        "qwen3-tts-0.6b-clone-prompt": entry(f"{root}/0.6b/clone-prompt.bin", size="0.6B"),
        "qwen3-tts-1.7b-sample-audio": entry(f"{root}/1.7b/sample-audio.wav", format="wav"),
    }
    files = {
        f"{root}/1.7b/clone-prompt.bin": a_swift_prompt().to_bytes(),
        f"{root}/1.7b/es/clone-prompt.bin": a_swift_prompt(frames=30).to_bytes(),
        f"{root}/0.6b/clone-prompt.bin": a_swift_prompt(1024, embedding="BF16").to_bytes(),
        f"{root}/1.7b/sample-audio.wav": a_wav(),
        "assets/head.png": b"\x89PNG not really",
        "notes/unknown.txt": b"kept as it is",
    }
    return an_archive(a_manifest(embeddings=embeddings, x_studio={"take": 3}), **files)
