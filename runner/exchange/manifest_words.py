"""Versions of a voice → the words of a `.vox` manifest that other tools read: voice, reference clips, provenance."""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from models.languages import AUTO, language_code
from models.voices.vox_manifest import SHORTEST_DESCRIPTION, VERSION, Manifest
from registry.voices.values import Version
from runner.exchange.version_record import VOX
from runner.exchange.voice_file_names import voice_name_from

GENDERS = {"male": "male", "female": "female", "nonBinary": "nonbinary", "unknown": "neutral"}


def describe(manifest: Manifest, chosen: Version, versions: Sequence[Version], *, paths: Collection[str]) -> None:
    """Describe the voice in the manifest of a file that has these `paths`."""
    manifest["vox_version"] = VERSION
    manifest["voice"] = _voice(dict(manifest.get("voice", {})), chosen)
    clips = _clips(manifest.get("reference_audio", []), versions, paths)
    if clips:
        manifest["reference_audio"] = clips
    manifest["provenance"] = _provenance(dict(manifest.get("provenance", {})), chosen, paths)


def method_of(version: Version) -> str:
    """Method by which a voice was made, in the words of the `.vox` format."""
    stated = version.provenance.get("method")
    if isinstance(stated, str):
        return stated
    return "cloned" if version.description is None or "audio" in version.provenance else "designed"


def is_listed(version: Version) -> bool:
    """Whether the recording is to be listed among the reference clips; one that came in a file is listed already."""
    return bool(version.transcript.strip()) and "recording" not in version.provenance.get(VOX, {})


def _voice(came: dict[str, Any], chosen: Version) -> dict[str, Any]:
    """The voice in words; what came in a file stays as it was, but for its name and description here."""
    voice = came or _own_words(chosen)
    if not voice.get("name") or not _is_named(voice["name"], chosen.voice):
        voice["name"] = chosen.voice
    if chosen.description and len(chosen.description.strip()) >= SHORTEST_DESCRIPTION:
        voice["description"] = chosen.description
    voice.setdefault("description", f"Voice identity for {chosen.voice}.")
    return voice


def _is_named(display_name: str, voice: str) -> bool:
    try:
        return voice_name_from(display_name) == voice
    except ValueError:
        return False


def _own_words(chosen: Version) -> dict[str, Any]:
    character = chosen.character or {}
    voice: dict[str, Any] = {}
    if chosen.language != AUTO:
        voice["language"] = language_code(chosen.language)
    if character.get("gender") in GENDERS:
        voice["gender"] = GENDERS[character["gender"]]
    years = [int(text) for text in re.findall(r"\d{1,3}", str(character.get("age_range", "")))]
    if len(years) == 2 and years[0] < years[1]:
        voice["age_range"] = years
    traits = [trait for trait in character.get("voice_traits", ()) if isinstance(trait, str) and trait]
    if traits:
        voice["tags"] = traits
    return voice


def _clips(kept: Iterable[Any], versions: Sequence[Version], paths: Collection[str]) -> list[dict[str, Any]]:
    clips = [copy.deepcopy(clip) for clip in kept]
    for version in versions:
        start = f"reference/{(version.reference_sha256 or '-')[:16]}."
        path = next((path for path in paths if path.startswith(start)), None)
        if path is None or not is_listed(version) or any(clip["file"] == path for clip in clips):
            continue
        clip: dict[str, Any] = {"file": path, "transcript": version.transcript, "engine": version.model.engine}
        if version.reference_duration_s is not None:
            clip["duration_seconds"] = version.reference_duration_s
        if version.language != AUTO:
            clip["language"] = language_code(version.language)
        clips.append(clip)
    return clips


def _provenance(provenance: dict[str, Any], chosen: Version, paths: Collection[str]) -> dict[str, Any]:
    method = method_of(chosen)
    if method:
        provenance["method"] = method
    provenance.setdefault("engine", chosen.model.engine)
    if method == "cloned":
        provenance["consent"] = chosen.consent
        own = f"/{(chosen.reference_sha256 or chosen.prompt_sha256)[:16]}."
        found = sorted(path for path in paths if own in path) or sorted(
            path for path in paths if path.startswith(("reference/", "embeddings/"))
        )
        provenance.setdefault("source", found[:1] or ["manifest.json"])
    return provenance
