"""The manifest of a `.vox` file: its bytes ↔ JSON, the errors in it, and its form in the newest version.

Keys that the format does not know are no error, and stay.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

from models.errors import VoxRefused

VERSION = "0.4.0"
EMBEDDINGS = "embeddings/"
GENDERS = ("male", "female", "nonbinary", "neutral")
METHODS = ("designed", "synthesized", "cloned", "preset", "hybrid")
CONSENTS = ("self", "granted", "unknown")
CONSENTS_TO_SHARE = ("self", "granted")
SHORTEST_DESCRIPTION = 10
POINTER_KEYS = ("clone_prompt", "embedding_file")

_VERSION = re.compile(r"\d{1,9}\.\d{1,9}\.\d{1,9}", re.ASCII)
_UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_TIMESTAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)
_PARTS: dict[str, type] = {
    "prosody": dict, "reference_audio": list, "character": dict, "provenance": dict, "embeddings": dict,
    "extensions": dict,
}  # fmt: skip

Manifest = dict[str, Any]


def parse_manifest(content: bytes) -> Manifest:
    """The JSON object in these bytes. Raises VoxRefused."""
    try:
        manifest = strict_json(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise VoxRefused(f"The manifest.json is no JSON that can be read: {str(error)[:200]}.") from None
    if not isinstance(manifest, dict):
        raise VoxRefused("The manifest.json is no JSON object.")
    return manifest


def strict_json(text: str) -> Any:
    """The value of a JSON text that can be written again. Raises ValueError or RecursionError.

    Half characters, `NaN` and numbers beyond a float's range would break files that we write later.
    """
    value = json.loads(text, parse_constant=_refuse_constant)
    json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    return value


def manifest_bytes(manifest: Mapping[str, Any]) -> bytes:
    """Indented JSON with sorted keys and a last line break: equal manifests give equal bytes."""
    return (json.dumps(manifest, ensure_ascii=False, indent=2, sort_keys=True) + "\n").encode()


def errors_in(manifest: Manifest) -> list[str]:
    """Errors that make the manifest invalid, in words."""
    shape = [
        f"{key} is not {'an object' if kind is dict else 'a list'}"
        for key, kind in _PARTS.items()
        if key in manifest and not isinstance(manifest[key], kind)
    ]
    if shape:
        return shape
    return [
        *_head_errors(manifest),
        *_voice_errors(manifest.get("voice")),
        *_reference_errors(manifest.get("reference_audio", [])),
        *_embedding_errors(manifest.get("embeddings", {})),
        *_provenance_errors(manifest.get("provenance", {})),
    ]


def warnings_in(manifest: Manifest, paths: Collection[str]) -> list[str]:
    """Warnings about a manifest without errors; `paths` are those of the archive."""
    embeddings, clips = manifest.get("embeddings", {}), manifest.get("reference_audio", [])
    declared = [*(entry["file"] for entry in embeddings.values()), *(clip["file"] for clip in clips)]
    found = [f"{path} is declared but absent from the archive" for path in declared if path not in paths]
    method = manifest.get("provenance", {}).get("method")
    if method is not None and method not in METHODS:
        found.append(f"the provenance method {method!r} is unknown")
    models = {entry["model"] for entry in embeddings.values()}
    for clip in clips:
        if clip.get("model") and clip["model"] not in models:
            found.append(f"the clip {clip['file']} is for {clip['model']!r}, of which there is no embedding")
    return found


def migrated(manifest: Manifest, paths: Collection[str]) -> Manifest:
    """The manifest in the form of 0.4.0; an embeddings map that is missing is made from the archive's files."""
    inside = sorted(path for path in paths if path.startswith(EMBEDDINGS))
    if manifest.get("embeddings") or not inside:
        return {**manifest, "vox_version": VERSION}
    pointed = dict(_extension_pointers(manifest.get("extensions", {}), inside))
    taken = {entry["file"] for entry in pointed.values()}
    found = dict(pointed)
    for path in (path for path in inside if path not in taken):
        key = _key_from(path)
        found[path if key in found else key] = _entry_from(path)
    return {**manifest, "vox_version": VERSION, "embeddings": found}


def _head_errors(manifest: Manifest) -> Iterator[str]:
    version, identity, created = (manifest.get(key) for key in ("vox_version", "id", "created"))
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        yield f"vox_version is {shown(version)}, not of the form 0.4.0"
    elif int(version.split(".")[0]) > 0:
        yield f"vox_version is {version}; voicejobs reads 0.1.0 to {VERSION}"
    if not isinstance(identity, str) or not _UUID4.fullmatch(identity.lower()):
        yield f"id is {shown(identity)}, not a UUID of version 4"
    if not isinstance(created, str) or not _is_timestamp(created):
        yield f"created is {shown(created)}, not a time such as 2026-02-14T12:00:00Z"


def _is_timestamp(text: str) -> bool:
    match = _TIMESTAMP.fullmatch(text)
    try:
        return match is not None and bool(datetime.fromisoformat(match[1]))
    except ValueError:
        return False


def _voice_errors(voice: object) -> Iterator[str]:
    if not isinstance(voice, dict):
        yield "voice is missing" if voice is None else "voice is not an object"
        return
    name, description, age = voice.get("name"), voice.get("description"), voice.get("age_range")
    if not isinstance(name, str) or not name.strip():
        yield f"voice.name is {shown(name)}, not a name"
    if not isinstance(description, str) or len(description.strip()) < SHORTEST_DESCRIPTION:
        yield f"voice.description is {shown(description)}, shorter than {SHORTEST_DESCRIPTION} characters"
    if voice.get("gender") is not None and voice["gender"] not in GENDERS:
        yield f"voice.gender is {shown(voice['gender'])}, none of {', '.join(GENDERS)}"
    if age is not None and not _is_age_range(age):
        yield f"voice.age_range is {shown(age)}, not two whole numbers of which the first is smaller"
    if voice.get("language") is not None and not isinstance(voice["language"], str):
        yield f"voice.language is {shown(voice['language'])}, not text"


def _is_age_range(age: object) -> bool:
    whole = isinstance(age, list) and len(age) == 2 and all(type(year) is int and year >= 0 for year in age)
    return isinstance(age, list) and whole and age[0] < age[1]


def _reference_errors(clips: list[Any]) -> Iterator[str]:
    for index, clip in enumerate(clips):
        if not isinstance(clip, dict):
            yield f"reference_audio[{index}] is not an object"
        elif not _is_text(clip.get("file")):
            yield f"reference_audio[{index}].file is {shown(clip.get('file'))}"
        else:
            yield from _wrong_texts(clip, ("transcript", "language", "model"), f"reference_audio[{index}]")


def _embedding_errors(embeddings: dict[str, Any]) -> Iterator[str]:
    for key, entry in embeddings.items():
        yield from entry_errors(entry, f"embeddings.{key[:60]}")


def entry_errors(entry: object, where: str) -> Iterator[str]:
    """Errors of one entry of the embeddings map."""
    if not isinstance(entry, dict):
        yield f"{where} is not an object"
        return
    for field in ("model", "file"):
        if not _is_text(entry.get(field)):
            yield f"{where}.{field} is {shown(entry.get(field))}"
    if _is_text(entry.get("file")) and not entry["file"].startswith(EMBEDDINGS):
        yield f"{where}.file is {shown(entry['file'])}, which is not under {EMBEDDINGS}"
    yield from _wrong_texts(entry, ("language", "engine", "format"), where)


def _provenance_errors(provenance: dict[str, Any]) -> Iterator[str]:
    consent = provenance.get("consent")
    if consent is not None and consent not in CONSENTS:
        yield f"provenance.consent is {shown(consent)}, none of {', '.join(CONSENTS)}"
    yield from _wrong_texts(provenance, ("method",), "provenance")
    if provenance.get("method") != "cloned":
        return
    if not isinstance(provenance.get("source"), list) or not provenance["source"]:
        yield "provenance.source is missing: a cloned voice names the recordings it was made from"
    if consent not in CONSENTS_TO_SHARE:
        yield f"provenance.consent is {shown(consent)}: a cloned voice needs the consent self or granted"


def _wrong_texts(values: Mapping[str, Any], keys: tuple[str, ...], where: str) -> Iterator[str]:
    for key in keys:
        if values.get(key) is not None and not isinstance(values[key], str):
            yield f"{where}.{key} is {shown(values[key])}, not text"


def _extension_pointers(extensions: Mapping[str, Any], inside: Collection[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Files under `embeddings/` that the extensions of an old manifest point at."""
    for provider, content in extensions.items():
        for key, value in content.items() if isinstance(content, dict) else ():
            is_pointer = isinstance(value, str) and (value.startswith(EMBEDDINGS) or key in POINTER_KEYS)
            if is_pointer and value in inside:
                name = f"{provider}-{key}"
                yield name, {**_entry_from(value), "model": name, "engine": provider}


def _key_from(path: str) -> str:
    """The directories and the name of a file under `embeddings/`, joined."""
    inner = PurePosixPath(path.removeprefix(EMBEDDINGS))
    return "-".join((*inner.parts[:-1], inner.stem))


def _entry_from(path: str) -> dict[str, Any]:
    inner = PurePosixPath(path.removeprefix(EMBEDDINGS))
    entry: dict[str, Any] = {"model": _key_from(path), "file": path}
    if len(inner.parts) > 1:
        entry["engine"] = inner.parts[0]
    if inner.suffix:
        entry["format"] = inner.suffix[1:]
    return entry


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def shown(value: object) -> str:
    """A value in an error message, cut short."""
    text = "missing" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
