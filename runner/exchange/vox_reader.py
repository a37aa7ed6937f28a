"""An opened voice file → versions to be added, or the recording that a lock has to be made from.

Prompts of the Swift tools are kept byte for byte. Nothing is stored here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from models.audio.files import decode_audio, encode_audio
from models.errors import InvalidReferenceAudio, UnknownLanguage
from models.languages import AUTO, canonical_language
from models.protocol import SAMPLE_RATE_HZ
from models.text.sentences import expected_seconds
from models.voices import vox
from models.voices.swift_prompt import FORMAT as SWIFT_FORMAT
from models.voices.swift_prompt import SwiftPrompt, parse_swift_prompt
from models.voices.vox_manifest import manifest_bytes
from registry.errors import InvalidInput
from registry.voices.values import ModelFacts, NewVersion
from runner.exchange.values import LockNeeded, NewVoiceVersion, NothingToSpeakWith, VoiceImport
from runner.exchange.voice_file_names import prompt_stem, voice_name_from
from runner.exchange.vox_carried import Carried
from runner.exchange.vox_records import BASE, MANIFEST_ATTACHMENT, PROVIDER, VOX, without_nulls

MODEL_OF_SIZE = {"1.7b": "qwen3-tts-1.7b-base", "0.6b": "qwen3-tts-0.6b-base"}
OLDEST_SIZE = "1.7b"  # what a prompt is for that says nothing: the Swift tools' first model
MAX_RECORDING_S = 300.0
# What VoxAlta lets a candidate say; the sample beside a prompt carries no transcript of its own.
KNOWN_SENTENCES = (
    "Hello, this is a voice sample for testing purposes.",
    "That quick beige fox jumped in the air over each thin dog. Look out, I shout, for he's foiled you again, "
    "creating chaos.",
    "Hello, this is a test of my voice.",
)


@dataclass
class VoiceFileReader:
    """One file being read; bytes to be stored gather in `objects`."""

    file_name: str
    voice: str | None
    consent: str | None
    transcript: str | None
    objects: dict[str, bytes] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def from_prompt(self, content: bytes) -> VoiceImport:
        prompt = parse_swift_prompt(content)
        stem = prompt_stem(self.file_name)
        size = prompt.model_size or vox.stated_size(stem, {}) or OLDEST_SIZE
        version = self._prompt_version(prompt, content, voice=self._name(stem), size=size, language=prompt.language)
        return self._result(version.voice, [NewVoiceVersion(content=version)])

    def from_vox(self, file: vox.VoxFile) -> VoiceImport:
        self.warnings += file.warnings
        voice = self._name(file.name)
        carried = file.manifest.get("extensions", {}).get(PROVIDER)
        if carried is not None:
            return self._from_records(file, carried, voice=voice)
        slots = vox.prompt_slots(file)
        self.warnings += [slot.problem for slot in slots if slot.problem]
        usable = sorted((slot for slot in slots if slot.prompt), key=_rank)
        base = self._base(file, without=[slot.key for slot in usable], clips=())
        if not usable:
            return self._needing_lock(file, voice=voice, base=base)
        versions = [self._slot_version(file, slot, voice=voice, base=base) for slot in reversed(usable)]
        return self._result(voice, versions, chosen=len(versions) - 1)

    def _result(self, voice: str, versions: list[NewVoiceVersion], chosen: int | None = None) -> VoiceImport:
        return VoiceImport(
            voice=voice,
            versions=tuple(versions),
            chosen=len(versions) - 1 if chosen is None else chosen,
            objects=self.objects,
            warnings=tuple(self.warnings),
        )

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

    def _prompt_version(
        self, prompt: SwiftPrompt, content: bytes, *, voice: str, size: str, language: str | None
    ) -> NewVersion:
        embedding = prompt.speaker_embedding()
        facts = {"format": SWIFT_FORMAT, "frames": prompt.frames, "codebooks": 16, "model_size": size}
        if embedding is not None:
            facts["embedding_size"] = len(embedding)
        else:
            self.warnings.append("The prompt has no speaker embedding; it is taken from its own codes when it speaks.")
        return NewVersion(
            voice=voice,
            model=ModelFacts(
                engine="qwen3-tts",
                engine_version="",
                render_version="",
                model=MODEL_OF_SIZE[size],
                model_fingerprint="",
            ),
            prompt_sha256=self._put(content),
            transcript=prompt.transcript,
            origin="import",
            prompt_facts=facts,
            speaker_embedding=None if embedding is None else [float(value) for value in embedding],
            language=self._language(language),
            consent=self.consent or "unknown",
            provenance={"file": self.file_name, VOX: {}},
        )

    def _slot_version(
        self, file: vox.VoxFile, slot: vox.PromptSlot, *, voice: str, base: Mapping[str, str]
    ) -> NewVoiceVersion:
        assert slot.prompt is not None
        size = slot.size or OLDEST_SIZE
        stated = vox.stated_size(slot.key, slot.entry)
        if stated not in (None, size):
            self.warnings.append(f"{slot.file} lies in the place of the {stated} model, but is a prompt for {size}.")
        language = slot.language or file.language or slot.prompt.language
        plain = self._prompt_version(slot.prompt, slot.content, voice=voice, size=size, language=language)
        kept: dict[str, Any] = {"slot": {"key": slot.key, "entry": without_nulls(dict(slot.entry))}}
        recording = self._recording_for(file, slot, size=size)
        sound: dict[str, Any] = {}
        if recording is not None:
            kept["recording"] = recording.file
            sound = self._sound(recording)
        content = replace(
            plain,
            **sound,
            description=file.description,
            consent=self._consent(file),
            attachments=dict(base),
            metadata={},
            provenance={**self._origin(file), VOX: kept},
        )
        return NewVoiceVersion(content=content)

    def _recording_for(self, file: vox.VoxFile, slot: vox.PromptSlot, *, size: str) -> vox.Recording | None:
        """The recording that belongs to a prompt, so that it can be made anew for another model."""
        folder = slot.file.rpartition("/")[0]
        found = vox.recordings(file)
        beside = [item for item in found if item.file.rpartition("/")[0] == folder and item.transcript is None]
        above = [item for item in found if item.transcript is None and item.model in (None, size) and not item.language]
        assert slot.prompt is not None
        said = [item for item in found if item.transcript == slot.prompt.transcript]
        return next(iter([*said, *beside, *above]), None)

    def _sound(self, recording: vox.Recording) -> dict[str, Any]:
        try:
            waveform, _ = decode_audio(recording.content, name=recording.file, max_duration_s=MAX_RECORDING_S)
        except InvalidReferenceAudio as error:
            self.warnings.append(error.message)
            return {}
        flac = encode_audio(waveform, format="flac", encoding="pcm24")
        return {"reference_sha256": self._put(flac), "reference_duration_s": waveform.size / SAMPLE_RATE_HZ}

    def _consent(self, file: vox.VoxFile) -> str:
        return self.consent or file.provenance.get("consent") or "unknown"

    def _origin(self, file: vox.VoxFile) -> dict[str, Any]:
        return {"file": self.file_name, "method": str(file.provenance.get("method") or "")}

    def _base(self, file: vox.VoxFile, *, without: list[str], clips: tuple[str, ...]) -> dict[str, str]:
        """The rest of the file, as attachments: its manifest, and every entry that is nowhere else."""
        manifest = dict(file.manifest)
        embeddings = dict(manifest.pop("embeddings", {}))
        owned = {embeddings.pop(key)["file"] for key in without if key in embeddings}
        if embeddings:
            manifest["embeddings"] = embeddings
        listed = [clip for clip in manifest.pop("reference_audio", []) if clip["file"] not in clips]
        if listed:
            manifest["reference_audio"] = listed
        extensions = {key: value for key, value in manifest.pop("extensions", {}).items() if key != PROVIDER}
        if extensions:
            manifest["extensions"] = extensions
        kept = {BASE + path: self._put(content) for path, content in file.files.items() if path not in owned}
        return {**kept, MANIFEST_ATTACHMENT: self._put(manifest_bytes(manifest))}

    # ---- recordings alone --------------------------------------------------------------------------------------

    def _needing_lock(self, file: vox.VoxFile, *, voice: str, base: Mapping[str, str]) -> VoiceImport:
        recording = next(iter(vox.recordings(file)), None)
        if recording is None:
            raise NothingToSpeakWith(
                f"The voice file of {file.name!r} holds neither a usable clone prompt nor a recording.",
                hint=f"Design the voice from its description: {file.description[:200]!r}.",
            )
        needed = LockNeeded(
            audio=recording.content,
            file=recording.file,
            transcript=self._words_of(recording),
            language=self._language(recording.language or file.language),
            description=file.description,
            consent=self._consent(file),
            provenance={**self._origin(file), VOX: {"recording": recording.file}},
            attachments=base,
        )
        return VoiceImport(voice=voice, needs_lock=needed, objects=self.objects, warnings=tuple(self.warnings))

    def _words_of(self, recording: vox.Recording) -> str:
        """What is said in a recording: as its file says, as the caller says, or what the Swift tools let it say."""
        if words := self.transcript or recording.transcript:
            return words
        waveform, _ = decode_audio(recording.content, name=recording.file, max_duration_s=MAX_RECORDING_S)
        duration_s = waveform.size / SAMPLE_RATE_HZ
        gaps = {text: abs(expected_seconds(text, "english") / duration_s - 1) for text in KNOWN_SENTENCES}
        words = min(gaps, key=lambda text: gaps[text])
        if gaps[words] > 0.5:
            raise NothingToSpeakWith(
                f"Nobody knows what is said in {recording.file} ({duration_s:.1f} s); a lock needs the exact words.",
                hint='Give them: `voicejobs voices import FILE --transcript "…"`.',
            )
        self.warnings.append(f"The words of {recording.file} are not in the file; taken to be {words!r}.")
        return words

    # ---- our own records ---------------------------------------------------------------------------------------

    def _from_records(self, file: vox.VoxFile, raw: object, *, voice: str) -> VoiceImport:
        carried = Carried.of(file, raw)
        base = self._base(carried.rest, without=carried.keys, clips=carried.clips)
        versions = carried.versions(voice, base=base, put=self._put)
        for slot in vox.prompt_slots(file):  # prompts that another tool has put into the file since
            if slot.key not in carried.keys and slot.prompt is not None:
                versions.append(self._slot_version(file, slot, voice=voice, base=base))
        return self._result(voice, versions, chosen=carried.chosen - 1)


def _rank(slot: vox.PromptSlot) -> tuple[bool, bool, str, str]:
    """The prompt that the voice's bare name is to mean comes first: the larger model, and any language."""
    return slot.size == "0.6b", slot.language is not None, slot.language or "", slot.key
