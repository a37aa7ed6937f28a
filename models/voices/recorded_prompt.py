"""A recording and its transcript ↔ the bytes of a clone prompt, for models that clone from the recording itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.errors import InvalidClonePrompt, PromptModelMismatch
from models.protocol import SAMPLE_RATE_HZ, Waveform
from models.voices.outetts_profile import checked_profile
from models.voices.tensor_blob import BrokenBlob, Tensor, read_blob, write_blob

WAVEFORM, FACTS = "recording", "facts"
FORM = "voicejobs-recording-1"
PROFILED_PROMPT = "mlx-audio-prompt"  # a version keeps one under this name, with a profile, beside another model's


@dataclass(frozen=True, kw_only=True)
class RecordedPrompt:
    """A voice as it was recorded."""

    waveform: Waveform
    transcript: str  # "" where only the sound of the voice is wanted
    profile: Mapping[str, Any] | None = None  # of OuteTTS, made from the same recording; it may come without one

    def to_bytes(self) -> bytes:
        """The prompt; equal recordings give equal bytes."""
        facts: dict[str, Any] = {"form": FORM, "sample_rate_hz": SAMPLE_RATE_HZ, "transcript": self.transcript}
        if self.profile is not None:
            facts["profile"] = self.profile
        text = json.dumps(facts, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
        samples = self.waveform.astype("<f4")
        return write_blob(
            {FACTS: Tensor("U8", (len(text),), text), WAVEFORM: Tensor("F32", samples.shape, samples.tobytes())}
        )


def recorded_prompt(content: bytes) -> RecordedPrompt:
    """The prompt in these bytes. Raises PromptModelMismatch for one of another kind of engine."""
    try:
        tensors = read_blob(content)
    except BrokenBlob:
        tensors = {}
    if FACTS not in tensors or WAVEFORM not in tensors:
        raise PromptModelMismatch(
            "The voice was locked for another kind of model.",
            hint="`voicejobs voices relock NAME --model MODEL` makes a version that fits.",
        )
    try:
        facts = json.loads(tensors[FACTS].data)
        transcript, profile = str(facts["transcript"]), facts.get("profile")
        waveform = tensors[WAVEFORM].floats()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidClonePrompt(f"The recorded prompt cannot be read: {error!r}.") from error
    if waveform.ndim != 1 or not np.isfinite(waveform).all():
        raise InvalidClonePrompt("The recorded prompt holds no mono recording.")
    checked = None if profile is None else checked_profile(profile)
    return RecordedPrompt(waveform=waveform, transcript=transcript, profile=checked)
