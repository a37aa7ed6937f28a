"""The records of our own in a `.vox` file, checked against its bytes → versions to be added."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from models.errors import VoxInvalid
from models.voices.vox import VoxFile
from registry.voices.errors import InvalidVoiceName
from registry.voices.names import check_alias_name
from registry.voices.values import NewVersion
from registry.voices.version_rows import digest_of
from runner.exchange.values import NewVoiceVersion
from runner.exchange.vox_records import FORM, PROVIDER, checked_record, version_from_record

MAX_VERSIONS = 1_000
_OF_THE_FILE = ("objects", "slot", "parent")  # said anew in every file

Put = Callable[[bytes], str]


@dataclass(frozen=True)
class Carried:
    """What `extensions.voicejobs` says."""

    file: VoxFile
    records: tuple[dict[str, Any], ...]
    chosen: int  # position of the version that was exported, from 1
    aliases: Mapping[str, int]

    @classmethod
    def of(cls, file: VoxFile, raw: object) -> Carried:
        """Raises VoxInvalid."""
        if not isinstance(raw, dict) or raw.get("form") != FORM:
            raise _broken("is of a form that this voicejobs does not read")
        records, aliases = raw.get("versions"), raw.get("aliases", {})
        chosen: Any = raw.get("chosen")
        if not isinstance(records, list) or not 0 < len(records) <= MAX_VERSIONS:
            raise _broken("has no usable versions")
        if not _is_position(chosen, len(records)):
            raise _broken("names no version as the chosen one")
        if not isinstance(aliases, dict) or not all(_is_position(at, len(records)) for at in aliases.values()):
            raise _broken("has aliases that point nowhere")
        try:
            for name in aliases:
                check_alias_name(name)
        except InvalidVoiceName as error:
            raise _broken(f"has an unusable alias: {error.message}") from None
        return cls(file, tuple(checked_record(record) for record in records), chosen, aliases)

    @property
    def keys(self) -> list[str]:
        """The keys of those prompts in the file's map that our records account for."""
        return [slot["key"] for record in self.records if (slot := self._slot(record))]

    @property
    def clips(self) -> tuple[str, ...]:
        """The reference clips that belong to versions."""
        return tuple(record.get("objects", {}).get("reference", "") for record in self.records)

    @property
    def rest(self) -> VoxFile:
        """The file without what belongs to versions."""
        ours = {path for record in self.records for path in record.get("objects", {}).values()}
        return VoxFile(self.file.manifest, {path: data for path, data in self.file.files.items() if path not in ours})

    def versions(self, voice: str, *, base: Mapping[str, str], put: Put) -> list[NewVoiceVersion]:
        """The versions, oldest first; their bytes go to `put`. Raises VoxInvalid when anything was changed."""
        return [
            self._version(record, position, voice=voice, base=base, put=put)
            for position, record in enumerate(self.records, start=1)
        ]

    def _version(
        self, record: dict[str, Any], position: int, *, voice: str, base: Mapping[str, str], put: Put
    ) -> NewVoiceVersion:
        plain = {key: value for key, value in record.items() if key not in _OF_THE_FILE}
        kept: dict[str, Any] = {"record": plain}
        if slot := self._slot(record):
            kept["slot"] = {"key": slot["key"], "entry": slot["entry"]}
        content = version_from_record(plain, voice=voice, vox=kept, attachments=base)
        if plain["digest"] != f"sha256:{digest_of(content)}":
            raise _broken(f"has a version whose content is not that of its digest {plain['digest'][:23]}…")
        self._take_objects(record, content, put)
        parent = record.get("parent")
        return NewVoiceVersion(
            content=content,
            aliases=tuple(name for name, at in self.aliases.items() if at == position),
            parent_position=parent if _is_position(parent, position - 1) else None,
        )

    def _take_objects(self, record: Mapping[str, Any], content: NewVersion, put: Put) -> None:
        where: Mapping[str, str] = record.get("objects", {})
        wanted = {
            "prompt": content.prompt_sha256,
            "reference": content.reference_sha256,
            "audition": content.audition_sha256,
            **{f"attachment:{name}": sha256 for name, sha256 in record.get("attachments", {}).items()},
        }
        for name, sha256 in wanted.items():
            if sha256 is None:
                continue
            data = self.file.files.get(where.get(name, ""))
            if data is None:
                raise _broken(f"has a version whose {name} is absent from the file")
            if hashlib.sha256(data).hexdigest() != sha256:
                raise _broken(f"has a version whose {name} was changed: {where[name]}")
            put(data)

    def _slot(self, record: Mapping[str, Any]) -> dict[str, Any] | None:
        """Where the Swift tools find this version, as long as nobody has put something else there."""
        slot = record.get("slot")
        if (
            not isinstance(slot, dict)
            or not isinstance(slot.get("key"), str)
            or not isinstance(slot.get("entry"), dict)
        ):
            return None
        stated = self.file.manifest.get("embeddings", {}).get(slot["key"])
        if stated is None or stated["file"] != slot["entry"].get("file"):
            return None
        data = self.file.files.get(stated["file"])
        return slot if data is not None and hashlib.sha256(data).hexdigest() == slot.get("sha256") else None


def _is_position(value: object, last: int) -> bool:
    return type(value) is int and 1 <= value <= last


def _broken(reason: str) -> VoxInvalid:
    return VoxInvalid([f"extensions.{PROVIDER} {reason}"])
