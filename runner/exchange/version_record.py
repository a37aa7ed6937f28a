"""A version → its record in a `.vox` manifest; and the facts that a version keeps of the file that it came in.

A record taken from a file is kept with the version and written again as it was, so that a voice can travel on without
changing. `models.voices.vox_records` reads records.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from models.voices.vox_archive import MANIFEST
from models.voices.vox_records import CONTENT_KEYS, DETAIL_KEYS, MODEL_KEYS
from registry.storage.digests import canonical_json
from registry.voices.values import Version
from registry.voices.version_rows import packed

VOX = "vox"  # the key of a version's provenance under which its file's own facts are kept
BASE = "vox/"  # attachments under this prefix are the rest of the file that a version came in
MANIFEST_ATTACHMENT = BASE + MANIFEST


def record_of(version: Version) -> dict[str, Any]:
    """Everything about a version but its number, its parent's and the paths of its files."""
    kept = version.provenance.get(VOX, {}).get("record")
    if kept is not None:
        return dict(kept)
    details = {name: getattr(version, name) for name in ("character", *DETAIL_KEYS[:3])}
    embedding = packed(version.speaker_embedding)
    values = {
        "digest": f"sha256:{version.digest}",
        **{name: getattr(version, name) for name in ("origin", "created_s", "made_by_job", *CONTENT_KEYS)},
        **{name: getattr(version.model, name) for name in MODEL_KEYS},
        "attachments": own_attachments(version),
        "details": canonical_json({**details, "software": version.model.software}),
        "speaker_embedding": None if embedding is None else base64.b64encode(embedding).decode(),
    }
    return {name: value for name, value in values.items() if value is not None}


def own_attachments(version: Version) -> dict[str, str]:
    """Attachments of a version, without the rest of the file that it came in."""
    return {name: sha256 for name, sha256 in version.attachments.items() if not name.startswith(BASE)}


def without_file(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """A version's provenance without the facts of the voice file that it came in."""
    return {name: value for name, value in provenance.items() if name != VOX}


def without_nulls(value: Any) -> Any:
    """A JSON value whose objects have no null members."""
    if isinstance(value, dict):
        return {key: without_nulls(member) for key, member in value.items() if member is not None}
    return [without_nulls(member) for member in value] if isinstance(value, list) else value
