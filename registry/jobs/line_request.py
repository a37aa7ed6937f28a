"""A line's `request_json` → the text to be spoken and its voice, every name resolved; and back, byte for byte."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

VoiceKind = Literal["preset", "lock", "description"]
KEYS: Mapping[VoiceKind, tuple[str, ...]] = {
    "preset": ("name",),
    "lock": ("name", "version", "digest", "prompt"),
    "description": ("description",),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class VoiceSource:
    """Origin of a line's voice: a preset of the model, one version of a locked voice, or a description."""

    kind: VoiceKind
    name: str = ""
    version: int = 0
    digest: str = ""  # of the version
    prompt: str = ""  # SHA-256 of the version's clone prompt
    description: str = ""

    @property
    def is_lock(self) -> bool:
        return self.kind == "lock"

    def to_json(self) -> dict[str, Any]:
        """Plain values under the keys that this kind of voice has."""
        return {"source": self.kind, **{key: getattr(self, key) for key in KEYS[self.kind]}}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> VoiceSource:
        """Value of what `to_json` gave."""
        kind: VoiceKind = content["source"]
        return cls(kind=kind, **{key: content[key] for key in KEYS[kind]})


@dataclass(frozen=True, kw_only=True, slots=True)
class LineRequest:
    """One line as it was asked for."""

    text: str
    spoken: str  # the text as the engine gets it, cleaned and with pronunciations in place; "" is a pause
    voice: VoiceSource
    voice_digest: str  # names the voice in take keys, whatever its kind
    language: str
    instruct: str | None
    sampling: Mapping[str, float]
    max_seconds: float | None
    pause_after_s: float
    start_s: float | None = None  # where in the track it begins
    pauses: tuple[tuple[int, float], ...] = ()  # (characters of `spoken` before it, seconds) of each silence within
    markup: tuple[str, ...] = ()  # kinds of it that are spoken as they stand, for the receipt

    @property
    def is_pause(self) -> bool:
        """Whether there is no word in it: it is silent, for `pause_after_s`."""
        return not self.spoken

    def to_json(self) -> dict[str, Any]:
        """Plain values; `spoken` only where it differs from the text, others where there is any."""
        content = {name: getattr(self, name) for name in self.__slots__}
        if self.spoken == self.text:
            del content["spoken"]
        if self.start_s is None:
            del content["start_s"]
        for name in ("pauses", "markup"):
            if not content[name]:
                del content[name]
        return {**content, "voice": self.voice.to_json(), "sampling": dict(self.sampling)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> LineRequest:
        """Value of what `to_json` gave."""
        voice = VoiceSource.from_json(content["voice"])
        markup = tuple(content.get("markup", ()))
        pauses = tuple((at, pause_s) for at, pause_s in content.get("pauses", ()))
        return cls(**{"spoken": content["text"], **content, "voice": voice, "pauses": pauses, "markup": markup})
