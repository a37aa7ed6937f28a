"""A voice's name as a person writes it → a checked name or reference; no database is asked."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from registry.voices.errors import InvalidVoiceName, InvalidVoiceReference

CURRENT = "current"  # the alias that a bare name stands for
PRESET_PREFIX = "preset:"
DIGEST_PREFIX = "sha256:"
SHORTEST_DIGEST = 8  # hex digits of `name@sha256:…`
NAME = re.compile(r"[\w.-]{1,64}")
PRESET = re.compile(r"\S(?:.{0,62}\S)?")  # as the model has it: a fine-tuned speaker may be called Maria Lopez
NUMBER = re.compile(r"-?\d+(\.\d+)?")
RULE = "1 to 64 letters, digits, `_`, `.` or `-`"


@dataclass(frozen=True, kw_only=True)
class VoiceReference:
    """A voice as a job names it: a preset, or a voice with at most one of number, alias and digest."""

    name: str
    preset: bool = False
    number: int | None = None
    alias: str | None = None
    digest: str | None = None  # hex digits, possibly only the first of them

    def __str__(self) -> str:
        if self.preset:
            return PRESET_PREFIX + self.name
        if self.digest is not None:
            return f"{self.name}@{DIGEST_PREFIX}{self.digest}"
        which = self.number if self.number is not None else self.alias
        return self.name if which is None else f"{self.name}@{which}"


def name_key(name: str) -> str:
    """Key that names are compared by: NFC and casefold, so that `Zoë`, `zoe\u0308` and `ZOË` are one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def check_voice_name(name: str) -> str:
    """The name in NFC. Raises InvalidVoiceName when it breaks the rule."""
    normal = unicodedata.normalize("NFC", name)
    if not NAME.fullmatch(normal) or not normal.strip("."):
        raise InvalidVoiceName(f"{name!r} cannot name a voice: {RULE} were expected.")
    return normal


def check_alias_name(name: str) -> str:
    """The alias in NFC. Raises InvalidVoiceName when it breaks the rule or is a number."""
    normal = unicodedata.normalize("NFC", name)
    if not NAME.fullmatch(normal) or not normal.strip("."):
        raise InvalidVoiceName(f"{name!r} cannot be an alias: {RULE} were expected.")
    if NUMBER.fullmatch(normal):
        raise InvalidVoiceName(f"{name!r} cannot be an alias: numbers stand for versions.")
    return normal


def parse_voice_reference(text: str) -> VoiceReference:
    """Reference that a text means: `elena`, `elena@2`, `elena@alias`, `elena@sha256:…`, `preset:ryan`.

    Raises InvalidVoiceReference or InvalidVoiceName.
    """
    if text.startswith(PRESET_PREFIX):
        return VoiceReference(name=_checked_preset(text), preset=True)
    name, at, which = text.partition("@")
    name = check_voice_name(name)
    if not at:
        return VoiceReference(name=name)
    if which.startswith(DIGEST_PREFIX):
        return VoiceReference(name=name, digest=_checked_digest(text, which.removeprefix(DIGEST_PREFIX)))
    if re.fullmatch(r"[0-9]{1,18}", which):
        if int(which) < 1:
            raise InvalidVoiceReference(f"{text!r} names no version: they count from 1.")
        return VoiceReference(name=name, number=int(which))
    try:
        return VoiceReference(name=name, alias=check_alias_name(which))
    except InvalidVoiceName:
        raise InvalidVoiceReference(
            f"{text!r} names no voice.", hint=f"Write {name}, {name}@2, {name}@{CURRENT} or {name}@{DIGEST_PREFIX}…"
        ) from None


def _checked_preset(text: str) -> str:
    name = unicodedata.normalize("NFC", text.removeprefix(PRESET_PREFIX))
    if not PRESET.fullmatch(name) or not name.isprintable():
        raise InvalidVoiceReference(f"{text!r} names no preset.", hint=f"Write {PRESET_PREFIX}ryan, for example.")
    return name


def _checked_digest(text: str, digits: str) -> str:
    if not re.fullmatch(rf"[0-9a-fA-F]{{{SHORTEST_DIGEST},64}}", digits):
        raise InvalidVoiceReference(f"{text!r} names no version: {SHORTEST_DIGEST} to 64 hex digits were expected.")
    return digits.lower()
