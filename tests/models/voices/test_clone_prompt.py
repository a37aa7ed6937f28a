"""Clone prompts: one blob out and in, and no blob that is not one."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from models.errors import InvalidClonePrompt, PromptModelMismatch
from models.voices.clone_prompt import ClonePrompt

EMBEDDING = np.linspace(-1, 1, 48, dtype=np.float32)
CODES = np.arange(3 * 16, dtype=np.int32).reshape(3, 16)


@pytest.fixture
def prompt():
    return ClonePrompt(
        EMBEDDING, CODES, "Zwölf Boxkämpfer – 今天", "german", model_fingerprint="f00d", model_size="0b6"
    )


def test_a_prompt_comes_back_from_its_bytes(prompt):
    back = ClonePrompt.from_bytes(prompt.to_bytes())
    assert back == prompt
    np.testing.assert_array_equal(back.speaker_embedding, EMBEDDING)
    np.testing.assert_array_equal(back.reference_codes, CODES)
    assert (back.transcript, back.language, back.model_size) == (prompt.transcript, "german", "0b6")
    assert (back.speaker_embedding.dtype, back.reference_codes.dtype) == (np.float32, np.int32)


def test_equal_prompts_give_equal_bytes(prompt):
    assert prompt.to_bytes() == dataclasses.replace(prompt, reference_codes=CODES.astype(np.int64)).to_bytes()


def test_an_x_vector_prompt_has_no_codes_and_needs_no_transcript():
    back = ClonePrompt.from_bytes(ClonePrompt(EMBEDDING, None, None, None).to_bytes())
    assert back.language == "auto"
    assert back.reference_codes is None


def test_codes_without_a_transcript_are_refused():
    with pytest.raises(ValueError, match="transcript"):
        ClonePrompt(EMBEDDING, CODES, "", "auto")


def test_a_prompt_cannot_be_changed(prompt):
    with pytest.raises(ValueError, match="read-only"):
        prompt.speaker_embedding[0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        prompt.language = "english"


def test_the_array_that_a_prompt_was_made_from_may_change():
    embedding = EMBEDDING.copy()
    prompt = ClonePrompt(embedding, None, None, "auto")
    embedding[:] = 0
    np.testing.assert_array_equal(prompt.speaker_embedding, EMBEDDING)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("speaker_embedding", np.zeros((1, 48), np.float32)),
        ("speaker_embedding", np.array([np.nan], np.float32)),
        ("reference_codes", CODES.astype(np.float32)),
        ("reference_codes", -CODES),
        ("reference_codes", CODES[0]),
        ("speaker_embedding", "no numbers"),
        ("reference_codes", [[1], [2, 3]]),
        ("transcript", 5),
        ("transcript", "half a pair: \ud83d"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_impossible_parts_are_refused(prompt, field, value):
    with pytest.raises(InvalidClonePrompt):
        dataclasses.replace(prompt, **{field: value})


@given(st.binary(max_size=64))
def test_other_bytes_are_no_prompt(blob):
    with pytest.raises(InvalidClonePrompt):
        ClonePrompt.from_bytes(blob)


def test_a_torn_prompt_is_refused(prompt):
    blob = prompt.to_bytes()
    for length in range(0, len(blob), 97):
        with pytest.raises(InvalidClonePrompt):
            ClonePrompt.from_bytes(blob[:length])


def test_a_single_damaged_bit_is_refused_and_a_prompt_without_digest_is_not(prompt):
    blob = prompt.to_bytes()
    for place in (len(blob) - 1, len(blob) - 700, blob.index(b"Boxk") + 1):
        with pytest.raises(InvalidClonePrompt):
            ClonePrompt.from_bytes(blob[:place] + bytes([blob[place] ^ 4]) + blob[place + 1 :])
    assert ClonePrompt.from_bytes(blob.replace(b'\\"sha256', b'\\"sha000')) == prompt


def test_another_safetensors_file_is_no_prompt():
    with pytest.raises(InvalidClonePrompt):
        ClonePrompt.from_bytes(save({"speaker_embedding": EMBEDDING}))


def test_a_prompt_of_a_newer_version_says_so(prompt):
    newer = prompt.to_bytes().replace(b'\\"version\\": 1', b'\\"version\\": 9')
    with pytest.raises(InvalidClonePrompt, match="version 9"):
        ClonePrompt.from_bytes(newer)


DIMENSIONS = {"embedding_size": 48, "codebooks": 16, "codebook_size": 64, "model": "tiny"}


def test_a_prompt_fits_a_model_of_its_dimensions(prompt):
    prompt.refuse_other_model(**DIMENSIONS)


@pytest.mark.parametrize(
    "other", [{"embedding_size": 96}, {"codebooks": 8}, {"codebook_size": 32}], ids=["size", "codebooks", "codewords"]
)
def test_a_prompt_for_another_model_is_refused_by_name(prompt, other):
    with pytest.raises(PromptModelMismatch, match="tiny"):
        prompt.refuse_other_model(**{**DIMENSIONS, **other})
