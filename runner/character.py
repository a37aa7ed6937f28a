"""A character's traits → the description from which its voice is designed, word for word as VoxAlta composes it."""

from __future__ import annotations

from collections.abc import Sequence

GENDER_WORDS = {"male": "male", "female": "female", "nonBinary": "non-binary", "unknown": "neutral"}


def compose_description(*, gender: str, age_range: str, summary: str, voice_traits: Sequence[str] = ()) -> str:
    """The design instruction. `gender` is one of GENDER_WORDS.

    The period after the summary is always added, also after a summary that ends in one: locks made by the Swift
    tools carry exactly this text, and voices are compared by it.
    """
    description = f"A {GENDER_WORDS[gender]} voice, {age_range}. {summary}."
    if voice_traits:
        description += f" Voice traits: {', '.join(voice_traits)}."
    return description
