"""The body of a request for speech → what is to be spoken, and how; or the parameter that is wrong."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models.languages import canonical_language
from models.named_paths import is_no_text
from models.text.markup import words_in
from models.text.spoken_form import speaks
from registry.errors import VoiceJobsError
from registry.voices.names import DIGEST_PREFIX, name_key
from runner.config.serve_settings import ServeSettings
from runner.serve.errors import RequestRefused

FORMATS = ("mp3", "opus", "aac", "flac", "wav", "pcm")
STREAM_FORMATS = ("audio", "sse")
SLOWEST, FASTEST = 0.25, 4.0
LONGEST_INSTRUCTIONS = 4_000
LARGEST_SEED = 2**63 - 1
DEFAULT = "default"  # in [serve.models]: the instance's own model
MIX = re.compile(r"[^(]+\(\s*[\d.]+\s*\)|.*\+.*")


@dataclass(frozen=True, kw_only=True)
class SpeechRequest:
    """One request for speech. `voice` is a reference as jobs write it, or a bare `sha256:…`."""

    text: str
    voice: str
    model: str | None
    format: str
    speed: float
    is_sse: bool
    instruct: str | None
    language: str | None
    seed: int | None

    def job_values(self) -> dict[str, Any]:
        """The job file that it becomes."""
        values: dict[str, Any] = {"kind": "synthesize", "voice": self.voice, "text": self.text, "format": "wav"}
        more = {"model": self.model, "language": self.language, "instruct": self.instruct, "seed": self.seed}
        return {**values, "priority": 100, **{key: value for key, value in more.items() if value is not None}}


def refused(param: str | None, message: str, *, code: str = "invalid_value", status: int = 400) -> RequestRefused:
    """The answer to a wrong parameter."""
    return RequestRefused(status, message, wire_code=code, param=param)


def speech_request(content: bytes, settings: ServeSettings) -> SpeechRequest:
    """A request, checked as far as that needs no ledger; unknown keys are ignored. Raises RequestRefused."""
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        raise refused(None, "The request is not valid JSON.", code="invalid_json") from None
    if not isinstance(body, dict):
        raise refused(None, "The request must be a JSON object.", code="invalid_json")
    return speech_request_from(body, settings)


def speech_request_from(body: Mapping[str, Any], settings: ServeSettings) -> SpeechRequest:
    """The same of an object that was read already."""
    return SpeechRequest(
        text=_text(body, settings.max_input_chars),
        voice=_voice(body.get("voice"), settings.voices),
        model=model_named(body.get("model"), settings.models),
        format=_choice(body, "response_format", FORMATS),
        speed=_speed(body),
        is_sse=_choice(body, "stream_format", STREAM_FORMATS) == "sse",
        instruct=_instructions(body),
        language=_language(body),
        seed=_seed(body),
    )


def _text(body: Mapping[str, Any], limit: int) -> str:
    text = body.get("input")
    if not isinstance(text, str) or not text.strip():
        raise refused("input", "`input` must be a text to speak.")
    if len(text) > limit:
        raise refused("input", f"`input` has {len(text):,} characters; the limit is {limit:,}.", code="string_too_long")
    if is_no_text(text):
        raise refused("input", "`input` holds half of a surrogate pair.")
    if not speaks(words_in(text).text):
        raise refused("input", "`input` holds no word to speak: no letter and no digit.")
    return text


def _voice(value: object, others: Mapping[str, str]) -> str:
    name = value.get("id") if isinstance(value, dict) else value
    if not isinstance(name, str) or not name.strip():
        raise refused("voice", '`voice` must be the name of a voice, or {"id": …}.')
    name = name.strip()
    if (known := _other(name, others)) is not None:
        return known
    if not name.startswith(DIGEST_PREFIX) and MIX.fullmatch(name):
        raise refused("voice", "Voices cannot be mixed: a locked voice is one recording, which has no average.")
    return name


def model_named(value: object, others: Mapping[str, str]) -> str | None:
    """The model that a request names; None for the instance's own."""
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise refused("model", "`model` must be the name of a model.")
    name = _other(value, others) or value
    return None if name == DEFAULT else name


def _other(name: str, others: Mapping[str, str]) -> str | None:
    by_key = {name_key(each): meant for each, meant in others.items()}
    return by_key.get(name_key(name))


def _choice(body: Mapping[str, Any], param: str, choices: tuple[str, ...]) -> str:
    value = body.get(param)
    if value is None:
        return choices[0]
    if value not in choices:
        raise refused(param, f"`{param}` must be one of {', '.join(choices)}.")
    return str(value)


def _speed(body: Mapping[str, Any]) -> float:
    value = body.get("speed")
    if value is None:
        return 1.0
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or not SLOWEST <= value <= FASTEST:
        raise refused("speed", f"`speed` must be a number from {SLOWEST} to {FASTEST:g}.")
    return float(value)


def _instructions(body: Mapping[str, Any]) -> str | None:
    value = body.get("instructions")
    if value is None or value == "":
        return None
    if not isinstance(value, str) or not value.strip() or len(value) > LONGEST_INSTRUCTIONS:
        raise refused("instructions", f"`instructions` must be a text of up to {LONGEST_INSTRUCTIONS:,} characters.")
    return value


def _language(body: Mapping[str, Any]) -> str | None:
    param = "language" if body.get("language") else "lang_code"
    value = body.get(param)
    if value is None or value == "":
        return None
    try:
        return canonical_language(value)
    except (VoiceJobsError, AttributeError, TypeError) as error:
        raise refused(param, f"`{param}` is no language that we know. {getattr(error, 'hint', '')}".strip()) from None


def _seed(body: Mapping[str, Any]) -> int | None:
    value = body.get("seed")
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= LARGEST_SEED:
        raise refused("seed", f"`seed` must be a whole number from 0 to {LARGEST_SEED}.")
    return value
