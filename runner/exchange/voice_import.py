"""A checked voice file → the versions that it would add to the registry, or the recording to lock a voice from.

Prompts of the Swift tools are kept byte for byte. Nothing is stored here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from models.audio.encoder import encode_audio
from models.audio.file_format import FileFormat
from models.audio.files import decode_audio
from models.engine_kinds import MLX_AUDIO
from models.errors import InvalidReferenceAudio, UnknownLanguage
from models.languages import AUTO, canonical_language
from models.protocol import SAMPLE_RATE_HZ, Waveform
from models.text.pronunciation import checked_table
from models.text.spoken_time import spoken_time
from models.voices.recorded_prompt import RecordedPrompt
from models.voices.swift_prompt import CODEBOOKS, FORMAT
from models.voices.vox import ENGINE, PromptSlot, Recording, Vox
from models.voices.vox_records import VersionRecord, VoiceRecords, invalid_records
from registry.errors import InvalidInput
from registry.voices.names import check_alias_name
from registry.voices.values import ModelFacts, NewVersion
from registry.voices.version_rows import digest_of
from runner.exchange.version_record import BASE, VOX, without_nulls
from runner.exchange.voice_file_names import voice_name_from

MODEL_OF_SIZE = {"1.7b": "qwen3-tts-1.7b-base", "0.6b": "qwen3-tts-0.6b-base"}
MAX_RECORDING_S = 300.0
# What VoxAlta lets a candidate say; the sample beside a prompt carries no transcript of its own.
KNOWN_SENTENCES = (
    "Hello, this is a voice sample for testing purposes.",
    "That quick beige fox jumped in the air over each thin dog. Look out, I shout, for he's foiled you again, "
    "creating chaos.",
    "Hello, this is a test of my voice.",
)


Decode = Callable[[bytes, str], Waveform]  # a recording and its name -> `(S,)` at 24 kHz


def decoded(content: bytes, name: str) -> Waveform:
    """A recording as it is. Raises InvalidReferenceAudio."""
    return decode_audio(content, name=name, max_duration_s=MAX_RECORDING_S)[0]


class NothingToSpeakWith(InvalidInput):
    """Neither a usable clone prompt nor a recording with known words is in the file."""

    code = "nothing-to-speak-with"


@dataclass(frozen=True, kw_only=True)
class NewVoiceVersion:
    """One version that a file would add."""

    content: NewVersion
    aliases: tuple[str, ...] = ()
    parent_position: int | None = None  # counted from 1 among the versions of the file


@dataclass(frozen=True, kw_only=True)
class LockNeeded:
    """A recording that an engine has to make a prompt from, since no usable one came along."""

    audio: bytes
    file: str
    transcript: str
    language: str
    description: str | None
    consent: str
    provenance: Mapping[str, Any]
    attachments: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class VoiceImport:
    """Versions that a file would add, oldest first, or a lock that an engine has to make."""

    voice: str
    versions: tuple[NewVoiceVersion, ...] = ()
    chosen: int = 0  # index of the version that `current` is to mean
    needs_lock: LockNeeded | None = None
    objects: Mapping[str, bytes] = field(default_factory=dict)  # by SHA-256
    warnings: tuple[str, ...] = ()


@dataclass
class VoiceMapping:
    """One file being mapped, with what a person adds to it; `objects` are bytes to be stored."""

    file_name: str
    voice: str | None
    consent: str | None
    transcript: str | None
    decode: Decode
    base: dict[str, str] = field(default_factory=dict)  # attachments of each version: the rest of the file
    objects: dict[str, bytes] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def from_prompt(self, slot: PromptSlot) -> VoiceImport:
        """One version, from a bare clone prompt that is named after its file."""
        version = self._prompt_version(slot, voice=self._name(slot.key), language=slot.prompt.language)
        return self._result(version.voice, versions=(NewVoiceVersion(content=version),))

    def from_profile(self, profile: Mapping[str, Any], *, name: str) -> VoiceImport:
        """One version, from a speaker profile of OuteTTS: it has no recording, and speaks with OuteTTS alone."""
        prompt = RecordedPrompt(waveform=np.zeros(0, np.float32), transcript=profile["text"], profile=profile)
        content = NewVersion(
            voice=self._name(name),
            model=ModelFacts(
                engine=MLX_AUDIO.name, engine_version="", render_version="", model="outetts", model_fingerprint=""
            ),
            prompt_sha256=self._put(prompt.to_bytes()),
            transcript=profile["text"],
            origin="import",
            prompt_facts={"family": "outetts", "words": len(profile["words"])},
            consent=self.consent or "unknown",
            provenance={"file": self.file_name, VOX: {}},
        )
        return self._result(content.voice, versions=(NewVoiceVersion(content=content),))

    def from_vox(self, vox: Vox) -> VoiceImport:
        """Versions of our records, then those of other prompts; without either, a lock from a recording."""
        self.warnings += vox.warnings
        voice = self._name(vox.name)
        self.base = {BASE + path: self._put(content) for path, content in vox.rest.items()}
        if vox.records is None and not vox.prompts:
            return self._result(voice, needs_lock=self._lock_needed(vox))
        recorded = self._recorded_versions(vox.records, voice) if vox.records else []
        versions = [*recorded, *(self._slot_version(vox, slot, voice) for slot in vox.prompts)]
        chosen = vox.records.chosen if vox.records else len(versions)
        return self._result(voice, versions=tuple(versions), chosen=chosen - 1)

    def _result(self, voice: str, **what: Any) -> VoiceImport:
        return VoiceImport(voice=voice, objects=self.objects, warnings=tuple(self.warnings), **what)

    def _name(self, wanted: str) -> str:
        try:
            return voice_name_from(self.voice or wanted)
        except ValueError as error:
            hint = "Choose one with `--voice NAME`, or `voice` in a job."
            raise InvalidInput(f"{wanted[:80]!r} cannot name a voice here: {error}.", hint=hint) from None

    def _put(self, content: bytes) -> str:
        sha256 = hashlib.sha256(content).hexdigest()
        self.objects[sha256] = content
        return sha256

    def _language(self, tag: str | None) -> str:
        if not tag:
            return AUTO
        try:
            return canonical_language(tag)
        except UnknownLanguage:
            self.warnings.append(f"The language {tag[:40]!r} is unknown here; the voice is stored without one.")
            return AUTO

    # ---- prompts of the Swift tools ----------------------------------------------------------------------------

    def _prompt_version(self, slot: PromptSlot, *, voice: str, language: str | None) -> NewVersion:
        embedding = slot.prompt.speaker_embedding()
        facts = {"format": FORMAT, "frames": slot.prompt.frames, "codebooks": CODEBOOKS, "model_size": slot.size}
        if embedding is not None:
            facts["embedding_size"] = len(embedding)
        else:
            self.warnings.append("The prompt has no speaker embedding; it is taken from its own codes when it speaks.")
        model = MODEL_OF_SIZE[slot.size]
        return NewVersion(
            voice=voice,
            model=ModelFacts(engine=ENGINE, engine_version="", render_version="", model=model, model_fingerprint=""),
            prompt_sha256=self._put(slot.content),
            transcript=slot.prompt.transcript,
            origin="import",
            prompt_facts=facts,
            speaker_embedding=None if embedding is None else [float(value) for value in embedding],
            language=self._language(language),
            consent=self.consent or "unknown",
            provenance={"file": self.file_name, VOX: {}},
        )

    def _slot_version(self, vox: Vox, slot: PromptSlot, voice: str) -> NewVoiceVersion:
        if slot.stated_size not in (None, slot.size):
            place = f"{slot.entry['file']} is in the place of the {slot.stated_size} model"
            self.warnings.append(f"{place}, but is a prompt for {slot.size}.")
        plain = self._prompt_version(slot, voice=voice, language=slot.language or vox.language or slot.prompt.language)
        kept: dict[str, Any] = {"slot": {"key": slot.key, "entry": without_nulls(dict(slot.entry))}}
        sound: dict[str, Any] = {}
        if slot.recording is not None:
            kept["recording"] = slot.recording.file
            sound = self._sound(slot.recording)
        content = replace(
            plain,
            **sound,
            description=vox.description,
            consent=self.consent or vox.consent,
            attachments=dict(self.base),
            provenance={"file": self.file_name, "method": vox.method, VOX: kept},
        )
        return NewVoiceVersion(content=content)

    def _sound(self, recording: Recording) -> dict[str, Any]:
        try:
            waveform = self.decode(recording.content, recording.file)
        except InvalidReferenceAudio as error:
            self.warnings.append(error.message)
            return {}
        flac = encode_audio(waveform, FileFormat(format="flac", encoding="pcm24"))
        return {"reference_sha256": self._put(flac), "reference_duration_s": waveform.size / SAMPLE_RATE_HZ}

    # ---- recordings alone --------------------------------------------------------------------------------------

    def _lock_needed(self, vox: Vox) -> LockNeeded:
        recording = next(iter(vox.recordings), None)
        if recording is None:
            raise NothingToSpeakWith(
                f"The voice file of {vox.name!r} holds neither a usable clone prompt nor a recording.",
                hint=f"Design the voice from its description: {vox.description[:200]!r}.",
            )
        return LockNeeded(
            audio=recording.content,
            file=recording.file,
            transcript=self._words_of(recording),
            language=self._language(recording.language or vox.language),
            description=vox.description,
            consent=self.consent or vox.consent,
            provenance={"file": self.file_name, "method": vox.method, VOX: {"recording": recording.file}},
            attachments=self.base,
        )

    def _words_of(self, recording: Recording) -> str:
        """Words of a recording: the caller's, the file's, or the sentence of the Swift tools that fits its length."""
        if words := self.transcript or recording.transcript:
            return words
        waveform = self.decode(recording.content, recording.file)
        duration_s = waveform.size / SAMPLE_RATE_HZ
        gaps = {text: abs(spoken_time(text, "english").expected_s / duration_s - 1) for text in KNOWN_SENTENCES}
        words = min(gaps, key=lambda text: gaps[text])
        if gaps[words] > 0.5:
            raise NothingToSpeakWith(
                f"Nobody knows what is said in {recording.file} ({duration_s:.1f} s); a lock needs the exact words.",
                hint='Give them: `voicejobs voices import FILE --transcript "…"`.',
            )
        self.warnings.append(f"The words of {recording.file} are not in the file; taken to be {words!r}.")
        return words

    # ---- records of our own ------------------------------------------------------------------------------------

    def _recorded_versions(self, records: VoiceRecords, voice: str) -> list[NewVoiceVersion]:
        try:
            for name in records.aliases:
                check_alias_name(name)
            contents = [self._recorded_version(record, voice) for record in records.versions]
        except ValueError as error:
            raise invalid_records(f"cannot be used: {error}") from None
        pointing = [(name, records.versions[position - 1]) for name, position in records.aliases.items()]
        return [
            NewVoiceVersion(
                content=content,
                aliases=tuple(name for name, at in pointing if at is record),
                parent_position=record.parent,
            )
            for record, content in zip(records.versions, contents, strict=True)
        ]

    def _recorded_version(self, record: VersionRecord, voice: str) -> NewVersion:
        """Version that a record describes. Raises ValueError for values that the registry does not take."""
        if any(name.startswith(BASE) for name in record.attachments):
            raise ValueError(f"names of attachments that begin with {BASE} are taken")
        provenance, slot = record.details["provenance"], {"slot": record.slot} if record.slot else {}
        content = NewVersion(
            **{**record.content, "pronunciations": checked_table(record.content["pronunciations"])},
            voice=voice,
            model=ModelFacts(**record.model, software=record.details["software"]),
            origin="import",
            prompt_facts=record.details["prompt_facts"],
            speaker_embedding=record.speaker_embedding,
            attachments={**record.attachments, **self.base},
            character=record.details["character"],
            metadata=record.details["metadata"],
            provenance={**provenance, VOX: {**provenance.get(VOX, {}), "record": record.kept, **slot}},
        )
        if (stated := record.kept["digest"]) != f"sha256:{digest_of(content)}":
            raise ValueError(f"the content of a version is not that of its digest {stated[:23]}…")
        for data in record.objects:
            self._put(data)
        return content
