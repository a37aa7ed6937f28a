"""A part's evidence → the question to a model, with the schema of its answer; and the digest that names both. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from runner.script.cast.parts import Part

PROMPT_VERSION = 1  # of the question: another one gives other answers
SYSTEM = (
    "You cast voices for audiobooks. From what a script shows of one character, describe how that character sounds. "
    "Use nothing but what is given. What nobody says about gender is unknown; about age, adult. "
    "The traits name the sound of the voice: pitch, timbre, pace, manner. "
    "Answer with one JSON object and nothing else."
)
SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "gender": {"type": "string", "enum": ["male", "female", "nonBinary", "unknown"]},
        "ageRange": {"type": "string", "description": "such as 30-40, child or adult"},
        "description": {"type": "string", "description": "one to three sentences on the voice"},
        "voiceTraits": {"type": "array", "items": {"type": "string"}, "minItems": 3, "maxItems": 6},
        "summary": {"type": "string", "description": "one or two sentences on who this is"},
    },
    "required": ["name", "gender", "ageRange", "description", "voiceTraits", "summary"],
    "additionalProperties": False,
}


LONGEST = {"name": 80, "ageRange": 30, "description": 400, "summary": 300}
LONGEST_TRAIT = 40
_TEXT = r"[^\s\x00-\x1f][^\x00-\x1f]"  # no line break, and no blank before it


def bounded_schema() -> dict[str, Any]:
    """The schema for a model that is held to it: no text is empty, or without end."""
    texts = {name: {"type": "string", "pattern": f"^{_TEXT}{{0,{most - 1}}}$"} for name, most in LONGEST.items()}
    trait = {"type": "string", "pattern": f"^{_TEXT}{{0,{LONGEST_TRAIT - 1}}}$"}
    traits = {**SCHEMA["properties"]["voiceTraits"], "items": trait}
    return {**SCHEMA, "properties": {**SCHEMA["properties"], **texts, "voiceTraits": traits}}


def question(part: Part) -> str:
    """The evidence of a part in words."""
    evidence = part.evidence
    sections = [f"Character: {part.name}"]
    if evidence.speeches:
        spoken = [f"{number}. {speech}" for number, speech in enumerate(evidence.speeches, start=1)]
        more = part.lines - len(evidence.speeches)
        sections.append("\n".join(["Lines:", *spoken, *([f"and {more} more"] if more > 0 else [])]))
    for heading, entries in (
        ("Directions", evidence.directions),
        ("Scenes", evidence.scenes),
        ("Told about the character", evidence.mentions),
    ):
        if entries:
            sections.append("\n".join([f"{heading}:", *(f"- {entry}" for entry in entries)]))
    sections.append(f"Reply with JSON of this schema: {json.dumps(SCHEMA)}")
    return "\n\n".join(sections)


def evidence_digest(part: Part, *, model: str) -> str:
    """SHA-256 that is equal for equal questions to equal models."""
    asked = [PROMPT_VERSION, model, SYSTEM, question(part)]
    return hashlib.sha256(json.dumps(asked, ensure_ascii=False).encode("utf-8", "replace")).hexdigest()
