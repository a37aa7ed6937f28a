"""A voice as a job names it → what it means at this moment: a preset, or one version of a locked voice.

Names are resolved once, when a job starts; what comes out is stored with the job and kept over every retry.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from models.engine_kinds import MLX_AUDIO, kind_of_model, model_without_folder
from models.errors import PromptModelMismatch
from models.store.catalog import entry_named
from models.store.shared_directory import resolve_models_dir
from models.voices.recorded_prompt import PROFILED_PROMPT
from registry.jobs.line_request import VoiceSource
from registry.storage.digests import sha256_of_json
from registry.storage.session import Session
from registry.voices.lookup import resolve
from registry.voices.names import name_key
from registry.voices.values import Version
from runner.config.instance import Instance
from runner.config.model_names import CLONE, DESIGN, PRESETS, model_name
from runner.names import may_be_preset, parse_voice_reference

OTHER_VOICE = "Leave `model` out, or choose another voice."
SPEAKER_OF_PRESET = {"anna": "ono_anna"}  # the Swift tools' name of the same speaker


@dataclass(frozen=True, kw_only=True)
class ResolvedVoice:
    """A voice that a reference means. `digest` names it in take keys; `model` is a lock's own."""

    source: VoiceSource
    digest: str
    ability: str
    model: str | None = None
    engine: str | None = None
    pronunciations: Mapping[str, str] | None = None
    has_recording: bool = True  # of a lock: another model's prompt can be made from it
    profiled_prompt: str | None = None  # of a lock: digest of its prompt for mlx-audio, beside that of its own model

    def spoken_by(self, model: str) -> ResolvedVoice:
        """The voice with the prompt for a model that may speak with it."""
        if self.profiled_prompt is None or kind_of_model(model) != MLX_AUDIO:
            return self
        return replace(self, source=replace(self.source, prompt=self.profiled_prompt))


def resolve_voice(session: Session, reference: str) -> ResolvedVoice:
    """The voice that `elena@2`, `elena@alias`, `ryan` or `preset:ryan` means now. Raises NotFound and its kin."""
    wanted = parse_voice_reference(reference)
    if may_be_preset(wanted):
        return preset_voice(wanted.name)
    return locked_voice(resolve(session, reference))


def preset_voice(name: str) -> ResolvedVoice:
    """A voice that the model brings along."""
    speaker = SPEAKER_OF_PRESET.get(name_key(name), name_key(name))
    return ResolvedVoice(source=VoiceSource(kind="preset", name=speaker), digest=f"preset:{speaker}", ability=PRESETS)


def locked_voice(version: Version) -> ResolvedVoice:
    """One version of a voice."""
    return ResolvedVoice(
        source=VoiceSource(
            kind="lock",
            name=version.voice,
            version=version.number,
            digest=version.digest,
            prompt=version.prompt_sha256,
        ),
        digest=version.digest,
        ability=CLONE,
        model=version.model.model,
        engine=version.model.engine,
        pronunciations=version.pronunciations,
        has_recording=version.reference_sha256 is not None,
        profiled_prompt=version.attachments.get(PROFILED_PROMPT),
    )


def described_voice(description: str) -> ResolvedVoice:
    """A voice that exists only in words."""
    source = VoiceSource(kind="description", description=description)
    return ResolvedVoice(source=source, digest=f"description:{sha256_of_json(description)}", ability=DESIGN)


@dataclass(frozen=True)
class ModelNames:
    """Which model is meant where: a job's own wish, a lock's own model, or the setting."""

    instance: Instance

    def for_voice(self, voice: ResolvedVoice, *, wanted: str | None) -> str:
        """The model that speaks with `voice`. Raises PromptModelMismatch, or UnknownModel."""
        if wanted is None and voice.model is not None:
            return self.named(voice.model, ability=voice.ability)
        name = self.for_ability(voice.ability, wanted=wanted)
        engine = kind_of_model(name)
        fits = engine.name == voice.engine or (engine == MLX_AUDIO and voice.profiled_prompt is not None)
        if voice.engine is not None and not fits:
            raise prompt_mismatch(voice, name)
        return name

    def for_ability(self, ability: str, *, wanted: str | None) -> str:
        """The model for work that needs an ability: the one asked for, else the instance's, or its sibling."""
        if wanted is not None:
            return self.named(wanted, ability=ability)
        return sibling_for(self.named(self.instance.settings.model, ability=ability), ability)

    @property
    def directory(self) -> Path:
        """The shared model directory."""
        return resolve_models_dir(configured=self.instance.models_dir)

    def named(self, name: str, *, ability: str) -> str:
        """A model's one name. Raises UnknownModel."""
        if (simple := model_without_folder(name)) is not None:
            return simple
        return model_name(name, ability=ability, settings=self.instance.settings, models_dir=self.directory)


def sibling_for(name: str, ability: str) -> str:
    """`name`, or the known model of the same size and quantisation that can do what it cannot."""
    entry = entry_named(name)
    if entry is None or entry.family is not None or ability in entry.abilities:
        return name
    for variant in ("base", "voicedesign", "customvoice"):
        for parameters in (entry.parameters, "1.7B"):
            suffix = f"-{entry.quantization}" if entry.quantization else ""
            other = entry_named(f"qwen3-tts-{parameters.lower()}-{variant}{suffix}")
            if other is not None and ability in other.abilities:
                return other.name
    return name


def prompt_mismatch(voice: ResolvedVoice, model: str) -> PromptModelMismatch:
    """The error for a lock that another model is to speak with."""
    name = f"{voice.source.name}@{voice.source.version}"
    hint = relock_hint(name, model) if voice.has_recording else OTHER_VOICE
    return PromptModelMismatch(f"{name} was locked with {voice.model} and cannot be spoken by {model}.", hint=hint)


def relock_hint(name: str, model: str) -> str:
    """A hint on how to make a lock fit another model, where that model or its sibling can clone."""
    sibling = sibling_for(model, CLONE)
    entry = entry_named(sibling)
    if not kind_of_model(model).clones or (entry is not None and CLONE not in entry.abilities):
        return OTHER_VOICE
    return (
        f"Leave `model` out, or run `voicejobs voices relock {name} --model {shlex.quote(sibling)}` "
        "for a version that fits."
    )
