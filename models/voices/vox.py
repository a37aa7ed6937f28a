"""The bytes of a `.vox` file → the voice in them, checked whole: prompts, recordings, records of our own, the rest.

Reads 0.1.0 to 0.4.0, writes 0.4.0. Entries and keys that nothing here knows stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models.errors import InvalidClonePrompt, VoxInvalid
from models.voices.swift_prompt import SwiftPrompt, other_kind, parse_swift_prompt
from models.voices.vox_archive import MANIFEST, read_archive, write_archive
from models.voices.vox_manifest import Manifest, errors_in, manifest_bytes, migrated, parse_manifest, warnings_in
from models.voices.vox_records import PROVIDER, VoiceRecords, read_records

PROMPT_NAME, SAMPLE_NAME = "clone-prompt", "sample-audio"
ENGINE = "qwen3-tts"
OLDEST_SIZE = "1.7b"  # of a prompt that says nothing: the Swift tools' first model
DEFAULT_LANGUAGES = ("", "default")
_SIZE = re.compile(r"(?<![\d.])(1\.7|0\.6)b(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True)
class Recording:
    """A recording of the voice: a reference clip, or the sample beside a prompt."""

    file: str
    content: bytes
    transcript: str | None
    language: str | None
    model: str | None


@dataclass(frozen=True, kw_only=True)
class PromptSlot:
    """A usable clone prompt, its entry in the embeddings map, and the model size and language that it is for."""

    key: str
    entry: Mapping[str, Any]
    content: bytes
    prompt: SwiftPrompt
    size: str  # "1.7b" or "0.6b": as its embedding says, else its entry; one in the wrong slot is known so
    stated_size: str | None  # as its entry says
    language: str | None  # None: any
    recording: Recording | None = None  # that a prompt for another model can be made from


@dataclass(frozen=True, kw_only=True)
class Vox:
    """A voice file, checked whole."""

    name: str
    description: str
    language: str | None
    method: str  # how it was made; "" when the file does not say
    consent: str
    manifest: Manifest  # as 0.4.0 says it
    files: Mapping[str, bytes]  # every entry but the manifest, by path
    prompts: tuple[PromptSlot, ...]  # without those of our records; the one that the voice's bare name is to mean last
    recordings: tuple[Recording, ...]  # reference clips first, as they have a transcript, then samples
    records: VoiceRecords | None
    rest: Mapping[str, bytes]  # entries that neither prompts nor records hold, and a manifest of them
    warnings: tuple[str, ...]


def read_vox(content: bytes) -> Vox:
    """The voice in these bytes. Raises VoxRefused, and VoxInvalid with every error of the manifest."""
    manifest, files = _opened(content)
    embeddings = manifest.get("embeddings", {})
    recordings = (*_clips(manifest, files), *_samples(embeddings, files))
    prompts, problems = _prompts(embeddings, files, recordings)
    carried = manifest.get("extensions", {}).get(PROVIDER)
    warnings = warnings_in(manifest, files)
    if carried is None:
        prompts.sort(key=_rank, reverse=True)
        records, keys, paths = None, {slot.key for slot in prompts}, set()
        warnings += problems
    else:
        records = read_records(carried, files, embeddings=embeddings)
        keys = {version.slot["key"] for version in records.versions if version.slot}
        prompts = [slot for slot in prompts if slot.key not in keys]  # other tools have put these into the file since
        paths = {path for version in records.versions for path in version.paths}
    voice, provenance = manifest["voice"], manifest.get("provenance", {})
    return Vox(
        name=voice["name"],
        description=voice["description"],
        language=voice.get("language"),
        method=provenance.get("method") or "",
        consent=provenance.get("consent") or "unknown",
        manifest=manifest,
        files=files,
        prompts=tuple(prompts),
        recordings=recordings,
        records=records,
        rest=_rest(manifest, files, keys=keys, paths=paths),
        warnings=tuple(warnings),
    )


def _opened(content: bytes) -> tuple[Manifest, dict[str, bytes]]:
    """The manifest without errors, as 0.4.0 says it, and every other entry by path."""
    files = read_archive(content)
    manifest = parse_manifest(files.pop(MANIFEST))
    if errors := errors_in(manifest):
        raise VoxInvalid(errors)
    return migrated(manifest, files), files


def write_vox(manifest: Manifest, files: Mapping[str, bytes]) -> bytes:
    """Bytes of the archive. Equal voices give equal bytes."""
    return write_archive({MANIFEST: manifest_bytes(manifest), **files})


def read_prompt(
    content: bytes, *, key: str, entry: Mapping[str, Any], recordings: Sequence[Recording] = ()
) -> PromptSlot:
    """The clone prompt in these bytes, with the recording that belongs to it. Raises InvalidClonePrompt."""
    prompt = parse_swift_prompt(content)
    stated = _stated_size(key, entry)
    size = prompt.model_size or stated or OLDEST_SIZE
    return PromptSlot(
        key=key,
        entry=entry,
        content=content,
        prompt=prompt,
        size=size,
        stated_size=stated,
        language=_language_of(entry),
        recording=_recording_for(prompt, recordings, beside=entry.get("file", ""), size=size),
    )


def _prompts(
    embeddings: Mapping[str, Any], files: Mapping[str, bytes], recordings: Sequence[Recording]
) -> tuple[list[PromptSlot], list[str]]:
    """Usable Qwen3-TTS clone prompts, and the problems of others; never a sample by mistake."""
    slots, problems = [], []
    for key, entry in embeddings.items():
        if _is_prompt(key, entry) and entry["file"] in files:
            try:
                slots.append(read_prompt(files[entry["file"]], key=key, entry=entry, recordings=recordings))
            except InvalidClonePrompt as error:
                problems.append(f"{entry['file']}: {error.message}")
    return slots, problems


def _rank(slot: PromptSlot) -> tuple[bool, bool, str, str]:
    """Sort key of a prompt: the larger model first, then any language."""
    return slot.size == "0.6b", slot.language is not None, slot.language or "", slot.key


def _is_prompt(key: str, entry: Mapping[str, Any]) -> bool:
    """Whether an embeddings entry is a Qwen3-TTS clone prompt: by its file's name, or by what its key calls it."""
    name = entry["file"].rpartition("/")[2]
    ours = ENGINE in (entry.get("engine"), entry["file"].split("/")[1]) or entry.get("engine") is None
    called = PROMPT_NAME in name or "clone_prompt" in key or name.endswith(".cloneprompt")
    return ours and called and SAMPLE_NAME not in name


def _language_of(entry: Mapping[str, Any]) -> str | None:
    """The language of an embeddings entry; None: any."""
    language = entry.get("language")
    return None if language is None or language.lower() in DEFAULT_LANGUAGES else str(language)


def _stated_size(key: str, entry: Mapping[str, Any]) -> str | None:
    """The model size that an entry names in its model, its key or its path."""
    for text in (entry.get("model", ""), key, entry.get("file", "")):
        if match := _SIZE.search(text):
            return f"{match[1]}b"
    return None


def _recording_for(prompt: SwiftPrompt, recordings: Sequence[Recording], *, beside: str, size: str) -> Recording | None:
    """The recording that a prompt was made from, as far as the file tells."""
    folder = beside.rpartition("/")[0]
    said = [item for item in recordings if item.transcript == prompt.transcript]
    silent = [item for item in recordings if item.transcript is None]
    near = [item for item in silent if item.file.rpartition("/")[0] == folder]
    above = [item for item in silent if item.model in (None, size) and not item.language]
    return next(iter([*said, *near, *above]), None)


def _clips(manifest: Manifest, files: Mapping[str, bytes]) -> Iterator[Recording]:
    for clip in manifest.get("reference_audio", []):
        content = files.get(clip["file"])
        if content is not None:
            yield Recording(
                clip["file"], content, clip.get("transcript") or None, clip.get("language"), clip.get("model")
            )


def _samples(embeddings: Mapping[str, Any], files: Mapping[str, bytes]) -> Iterator[Recording]:
    for key, entry in embeddings.items():
        content = files.get(entry["file"])
        if content is None:
            continue
        is_sample = SAMPLE_NAME in entry["file"].rpartition("/")[2]
        misplaced = _is_prompt(key, entry) and "recording" in (other_kind(content) or "")
        if is_sample or misplaced:
            yield Recording(entry["file"], content, None, _language_of(entry), _stated_size(key, entry))


def _rest(
    manifest: Manifest, files: Mapping[str, bytes], *, keys: Collection[str], paths: Collection[str]
) -> dict[str, bytes]:
    """The file without the prompts under these `keys` and the entries at these `paths`."""
    embeddings = manifest.get("embeddings", {})
    owned = {*paths, *(embeddings[key]["file"] for key in keys)}
    parts = {
        "embeddings": {key: entry for key, entry in embeddings.items() if key not in keys},
        "reference_audio": [clip for clip in manifest.get("reference_audio", []) if clip["file"] not in paths],
        "extensions": {key: value for key, value in manifest.get("extensions", {}).items() if key != PROVIDER},
    }
    plain = {key: value for key, value in manifest.items() if key not in parts}
    left = {**plain, **{key: part for key, part in parts.items() if part}}
    return {**{path: content for path, content in files.items() if path not in owned}, MANIFEST: manifest_bytes(left)}
