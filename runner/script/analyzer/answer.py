"""A model's text → the profile in it, or what is wrong with it, in words that the model can act upon. Pure."""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any

from runner.script.cast.profile import Analyzer, Profile
from runner.script.dialogue.words import Gender

LONGEST_TEXT, LONGEST_SUMMARY, LONGEST_TRAIT, LONGEST_AGE = 1_000, 600, 80, 60
MOST_TRAITS = 6
_GENDERS: dict[str, Gender] = {
    "male": "male",
    "female": "female",
    "nonbinary": "nonBinary",
    "unknown": "unknown",
    "notspecified": "unknown",
    "neutral": "unknown",
}
_THOUGHT = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|$)", re.DOTALL | re.IGNORECASE)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]+")


class AnswerRefused(Exception):
    """A text that holds no profile; the message says why."""


def profile_in(text: str, *, analyzer: Analyzer) -> Profile:
    """The profile that an analyzer's text holds, among thoughts, fences and talk. Raises AnswerRefused."""
    plain = _THOUGHT.sub("", text)
    start, end = plain.find("{"), plain.rfind("}")
    if start < 0 or end < start:
        raise AnswerRefused("there is no JSON object in the answer")
    try:
        found = json.loads(plain[start : end + 1])
    except (ValueError, RecursionError) as error:
        raise AnswerRefused(f"the JSON cannot be read: {str(error)[:200]}") from None
    if not isinstance(found, dict):
        raise AnswerRefused("the JSON is no object")
    return _profile(found, analyzer)


def _profile(found: dict[str, Any], analyzer: Analyzer) -> Profile:
    gender = _GENDERS.get(re.sub(r"[^a-z]", "", _text(found, "gender", 40).casefold()))
    if gender is None:
        raise AnswerRefused("gender is none of male, female, nonBinary, unknown")
    traits = found.get("voiceTraits")
    if isinstance(traits, str):
        traits = traits.split(",")
    if not isinstance(traits, list):
        raise AnswerRefused("voiceTraits is no list of texts")
    kept = [clean for trait in traits if isinstance(trait, str) and (clean := _clean(trait)[:LONGEST_TRAIT])]
    if not kept:
        raise AnswerRefused("voiceTraits names no trait")
    return Profile(
        gender=gender,
        age_range=_text(found, "ageRange", LONGEST_AGE),
        summary=_text(found, "summary", LONGEST_SUMMARY).rstrip(".") or "",
        voice_traits=tuple(dict.fromkeys(kept))[:MOST_TRAITS],
        description=_text(found, "description", LONGEST_TEXT),
        analyzer=analyzer,
    )


def _text(found: dict[str, Any], key: str, longest: int) -> str:
    value = found.get(key)
    if not isinstance(value, str) or not _clean(value):
        raise AnswerRefused(f"{key} is no text")
    return _clean(value)[:longest]


def _clean(text: str) -> str:
    return " ".join(_CONTROLS.sub(" ", unicodedata.normalize("NFC", text)).split())
