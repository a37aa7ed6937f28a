"""A lock's transcript and what a recogniser heard in its recording → sentences for the receipt. Pure functions."""

from __future__ import annotations

from models.listen.values import Heard

QUOTED_CHARACTERS = 200
CONTEXT_WORDS = 4
MANY = 3  # times as many words heard as written: the recording has more than the transcript


def machine_made(heard: Heard) -> str:
    """The warning about a transcript that nobody has read."""
    return (
        f"The transcript was heard by {heard.recogniser} (confidence {heard.confidence:.2f}) and read by nobody: "
        f"{quoted(heard.transcript)}. If it is wrong, lock the recording again with the right words."
    )


def transcript_doubt(heard: Heard, transcript: str) -> str | None:
    """A sentence on where a transcript and its recording differ most; None where they fit."""
    worst = heard.worst
    if heard.passes or worst is None:
        return None
    written, said = str(worst["expected"]), str(worst["heard"])
    told = f"according to {heard.recogniser}"
    at = f"from {worst['start_s']:.1f} s on"
    words, has_more = transcript.split(), len(said.split()) >= MANY * max(1, len(written.split()))
    if said and has_more and worst["end_s"] >= heard.words[-1].end_s:
        return f"The recording goes on after {quoted(_end(words))}: {quoted(said)} ({at}, {told})."
    if said and has_more and worst["start_s"] <= heard.words[0].start_s:
        return f"The recording begins before {quoted(_beginning(words))}: {quoted(said)} ({told})."
    if not said:
        return f"The transcript has {quoted(written)}, which is not heard in the recording ({at}, {told})."
    if has_more:
        return f"The recording has {quoted(said)}, which the transcript lacks ({at}, {told})."
    return f"The transcript has {quoted(written)} where {quoted(said)} is heard ({at}, {told})."


def _end(words: list[str]) -> str:
    return " ".join(words[-CONTEXT_WORDS:])


def _beginning(words: list[str]) -> str:
    return " ".join(words[:CONTEXT_WORDS])


def quoted(text: str) -> str:
    """A text in quotation marks, cut where it is long."""
    return f"“{text if len(text) <= QUOTED_CHARACTERS else text[: QUOTED_CHARACTERS - 1] + '…'}”"
