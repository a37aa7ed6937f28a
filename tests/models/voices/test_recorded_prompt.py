"""A recording as a clone prompt: its bytes, and bytes that are none."""

import numpy as np
import pytest

from models.errors import InvalidClonePrompt, PromptModelMismatch
from models.voices.recorded_prompt import RecordedPrompt, recorded_prompt
from models.voices.tensor_blob import Tensor, read_blob, write_blob

WAVEFORM = np.linspace(-1, 1, 480, dtype=np.float32)
PROMPT = RecordedPrompt(waveform=WAVEFORM, transcript="Grüße, “friend”.")


def test_a_prompt_is_read_as_it_was_written():
    read = recorded_prompt(PROMPT.to_bytes())
    assert np.array_equal(read.waveform, WAVEFORM)
    assert read.transcript == "Grüße, “friend”."
    assert PROMPT.to_bytes() == RecordedPrompt(waveform=WAVEFORM, transcript=PROMPT.transcript).to_bytes()


def test_a_prompt_of_another_engine_is_a_mismatch_that_names_relock():
    for content in (b"", b"VJCP and more", write_blob({"codes": Tensor("U8", (1,), b"\0")})):
        with pytest.raises(PromptModelMismatch) as caught:
            recorded_prompt(content)
        assert "relock" in caught.value.hint


@pytest.mark.parametrize("facts", [b"[]", b"{}", b"\xff"])
def test_a_broken_prompt_is_refused(facts):
    parts = {**read_blob(PROMPT.to_bytes()), "facts": Tensor("U8", (len(facts),), facts)}
    with pytest.raises(InvalidClonePrompt):
        recorded_prompt(write_blob(parts))
