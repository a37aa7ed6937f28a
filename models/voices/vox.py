"""A `.vox` file: one voice with its clone prompts, recordings and whatever else came along.

Reads 0.1.0 to 0.4.0, writes 0.4.0. Entries and keys that nothing here knows stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from models.errors import InvalidClonePrompt, VoxInvalid
from models.voices.swift_prompt import SwiftPrompt, other_kind, parse_swift_prompt
from models.voices.vox_archive import MANIFEST, read_archive, write_archive
from models.voices.vox_manifest import Manifest, errors_in, manifest_bytes, migrated, parse_manifest, warnings_in

PROMPT_NAME, SAMPLE_NAME = "clone-prompt", "sample-audio"
ENGINE = "qwen3-tts"
DEFAULT_LANGUAGES = ("", "default")
_SIZE = re.compile(r"(?<![\d.])(1\.7|0\.6)b(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True)
class VoxFile:
    """An opened voice file. `files` holds every entry but the manifest, by path."""

    manifest: Manifest  # as 0.4.0 says it
    files: Mapping[str, bytes]
    warnings: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return str(self.manifest["voice"]["name"])

    @property
    def description(self) -> str:
        return str(self.manifest["voice"]["description"])

    @property
    def language(self) -> str | None:
        language: str | None = self.manifest["voice"].get("language")
        return language

    @property
    def provenance(self) -> Mapping[str, Any]:
        provenance: Mapping[str, Any] = self.manifest.get("provenance", {})
        return provenance

    def to_bytes(self) -> bytes:
        """The archive. Equal voices give equal bytes."""
        return write_archive({MANIFEST: manifest_bytes(self.manifest), **self.files})


@dataclass(frozen=True)
class PromptSlot:
    """One clone prompt of a voice: for which model size and language, and the bytes in its place, parsed or not."""

    key: str
    file: str
    entry: Mapping[str, Any]
    content: bytes
    prompt: SwiftPrompt | None
    problem: str | None  # why there is no prompt

    @property
    def language(self) -> str | None:
        return entry_language(self.entry)

    @property
    def size(self) -> str | None:
        """ "1.7b" or "0.6b": what the embedding says, else what the entry says; a prompt in the wrong slot is known."""
        measured = self.prompt.model_size if self.prompt else None
        return measured or stated_size(self.key, self.entry)


@dataclass(frozen=True)
class Recording:
    """A recording of the voice: a reference clip, or the sample beside a prompt."""

    file: str
    content: bytes
    transcript: str | None
    language: str | None
    model: str | None


def read_vox(content: bytes, *, strict: bool = False) -> VoxFile:
    """The voice in these bytes. Raises VoxRefused, and VoxInvalid with every error (`strict`: every warning too)."""
    files = read_archive(content)
    manifest = parse_manifest(files.pop(MANIFEST))
    if errors := errors_in(manifest):
        raise VoxInvalid(errors)
    manifest = migrated(manifest, files)
    warnings = warnings_in(manifest, files)
    if strict and warnings:
        raise VoxInvalid(warnings)
    return VoxFile(manifest, files, tuple(warnings))


def prompt_slots(vox: VoxFile) -> list[PromptSlot]:
    """The places where Qwen3-TTS clone prompts belong, and what lies there; never a sample by mistake."""
    return [
        _slot(key, entry, vox.files[entry["file"]])
        for key, entry in vox.manifest.get("embeddings", {}).items()
        if is_prompt_entry(key, entry) and entry["file"] in vox.files
    ]


def is_prompt_entry(key: str, entry: Mapping[str, Any]) -> bool:
    """Whether an embeddings entry is a Qwen3-TTS clone prompt: by its file's name, or by what its key calls it."""
    name = entry["file"].rpartition("/")[2]
    ours = ENGINE in (entry.get("engine"), entry["file"].split("/")[1]) or entry.get("engine") is None
    called = PROMPT_NAME in name or "clone_prompt" in key or name.endswith(".cloneprompt")
    return ours and called and SAMPLE_NAME not in name


def recordings(vox: VoxFile) -> list[Recording]:
    """Every recording that came along: reference clips first, as they have a transcript, then samples."""
    return [*_clips(vox), *_samples(vox)]


def entry_language(entry: Mapping[str, Any]) -> str | None:
    """The language of an embeddings entry; None: any."""
    language = entry.get("language")
    return None if language is None or language.lower() in DEFAULT_LANGUAGES else str(language)


def stated_size(key: str, entry: Mapping[str, Any]) -> str | None:
    """The model size that an entry names in its model, its key or its path."""
    for text in (entry.get("model", ""), key, entry.get("file", "")):
        if match := _SIZE.search(text):
            return f"{match[1]}b"
    return None


def _slot(key: str, entry: Mapping[str, Any], content: bytes) -> PromptSlot:
    file = entry["file"]
    try:
        return PromptSlot(key, file, entry, content, parse_swift_prompt(content), None)
    except InvalidClonePrompt as error:
        return PromptSlot(key, file, entry, content, None, f"{file}: {error.message}")


def _clips(vox: VoxFile) -> Iterator[Recording]:
    for clip in vox.manifest.get("reference_audio", []):
        content = vox.files.get(clip["file"])
        if content is not None:
            yield Recording(
                clip["file"], content, clip.get("transcript") or None, clip.get("language"), clip.get("model")
            )


def _samples(vox: VoxFile) -> Iterator[Recording]:
    for key, entry in vox.manifest.get("embeddings", {}).items():
        content = vox.files.get(entry["file"])
        if content is None:
            continue
        is_sample = SAMPLE_NAME in entry["file"].rpartition("/")[2]
        misplaced = is_prompt_entry(key, entry) and "recording" in (other_kind(content) or "")
        if is_sample or misplaced:
            yield Recording(entry["file"], content, None, entry_language(entry), stated_size(key, entry))
