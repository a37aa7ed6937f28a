"""Clone prompts of the Swift tools: every variant in, the same bytes out, and everything else refused."""

import json
import struct

import numpy as np
import pytest

from models.errors import InvalidClonePrompt
from models.voices.clone_prompt import ClonePrompt
from models.voices.swift_prompt import from_clone_prompt, parse_swift_prompt, to_clone_prompt
from models.voices.tensor_blob import Tensor, write_blob
from tests.models.voices.vox_making import a_swift_prompt, a_wav, prompt_parts, samples_folder

CODES = write_blob({"ref_codes": Tensor("U32", (1, 16, 2), bytes(128))})
FACTS = {"hasEmbedding": False, "language": "en", "refText": "Hi.", "speakerDataSize": 0, "refCodesSize": len(CODES)}


def codes_blob(dtype, shape, data):
    blob = write_blob({"ref_codes": Tensor(dtype, shape, data)})
    return prompt_parts({**FACTS, "refCodesSize": len(blob)}, blob)


def speaker_blob(dtype, shape, data):
    blob = write_blob({"speaker_embedding": Tensor(dtype, shape, data)})
    return prompt_parts({**FACTS, "hasEmbedding": True, "speakerDataSize": len(blob)}, CODES, blob)


def raw_blob(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    blob = struct.pack("<Q", len(text)) + text + data
    return prompt_parts({**FACTS, "refCodesSize": len(blob)}, blob)


@pytest.mark.parametrize("codes", ["U32", "I32", "I64", "U16"])
@pytest.mark.parametrize("embedding", ["F16", "BF16", "F32", None])
def test_every_variant_comes_back_byte_for_byte(codes, embedding):
    content = a_swift_prompt(codes=codes, embedding=embedding, text="Zwölf Boxkämpfer: 3/4 — “今天”\t\x01\\").to_bytes()
    assert parse_swift_prompt(content).to_bytes() == content


def test_the_layout_is_that_of_the_swift_writer():
    content = a_swift_prompt(text="either/or ü").to_bytes()
    length = int.from_bytes(content[:4], "little")
    assert content[4 : 4 + length].decode() == (
        '{"hasEmbedding":true,"language":"english","refCodesSize":1379,"refText":"either\\/or ü",'
        '"speakerDataSize":4202}'
    )
    header = b'{"__metadata__":null,"ref_codes":{"data_offsets":[0,1280],"dtype":"U32","shape":[1,16,20]}}'
    assert content[4 + length + 8 :].startswith(header)


def test_values_are_those_of_the_native_layout():
    prompt = a_swift_prompt(1024, frames=3, embedding="BF16")
    native = to_clone_prompt(parse_swift_prompt(prompt.to_bytes()))
    assert native.reference_codes.shape == (3, 16)
    assert native.reference_codes[2, 5] == prompt.codes.integers()[0, 5, 2]
    assert (native.embedding_size, native.model_size, native.transcript) == (1024, "0.6b", prompt.transcript)


def test_a_native_prompt_survives_the_swift_layout_without_loss():
    native = ClonePrompt(
        np.linspace(-1, 1, 2048, dtype=np.float32),
        np.arange(48, dtype=np.int32).reshape(3, 16),
        "Hi.",
        "english",
        model_size="1.7b",
    )
    assert to_clone_prompt(parse_swift_prompt(from_clone_prompt(native).to_bytes())) == native


def test_an_x_vector_prompt_has_no_swift_form():
    assert from_clone_prompt(ClonePrompt(np.ones(1024, np.float32), None, None)) is None


def test_a_prompt_without_embedding_speaks_once_one_is_given():
    prompt = parse_swift_prompt(a_swift_prompt(embedding=None).to_bytes())
    with pytest.raises(InvalidClonePrompt, match="no speaker embedding"):
        to_clone_prompt(prompt)
    assert to_clone_prompt(prompt, speaker_embedding=np.ones(2048, np.float32)).model_size == "1.7b"


def test_trailing_bytes_are_ignored():
    content = a_swift_prompt().to_bytes()
    assert parse_swift_prompt(content + b"rest").to_bytes() == content


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "too short"),
        (b"\1\0\0", "too short"),
        (a_wav(0.1), "a WAV recording"),
        (b"PK\3\4....", "ZIP"),
        (b"\x93NUMPY\1\0", "numpy"),
        (b'{"refText":""}', "a JSON file"),
        (b"\x80\x02}q\0.", "pickle"),
        (struct.pack("<I", 0xFFFFFFF0) + b"{}", "claims 4294967280 bytes"),
        (prompt_parts(b"[]"), "no JSON object"),
        (prompt_parts(b"[" * 100_000), "no JSON"),
        (prompt_parts(b'{"refText":"\\ud800"}'), "lone surrogate"),
        (prompt_parts({**FACTS, "refText": 3}), "refText"),
        (prompt_parts({**FACTS, "refCodesSize": -1}), "refCodesSize"),
        (prompt_parts({**FACTS, "refCodesSize": True}), "refCodesSize"),
        (prompt_parts({**FACTS, "refCodesSize": 1 << 70}), "refCodesSize"),
        (prompt_parts(FACTS, CODES[:-1]), "truncated"),
        (prompt_parts({**FACTS, "refCodesSize": 0}, CODES), "too short for a header"),
        (prompt_parts({**FACTS, "hasEmbedding": "yes"}, CODES), "hasEmbedding"),
        (prompt_parts({**FACTS, "hasEmbedding": True}, CODES), "speaker_embedding"),
        (raw_blob({}), "no tensor ref_codes"),
        (raw_blob(b"{"), "no JSON"),
        (raw_blob({"ref_codes": 3}), "no object"),
        (raw_blob({"ref_codes": {"dtype": "U32", "shape": [1, 16, 1 << 40], "data_offsets": [0, 0]}}), "shape"),
        (
            raw_blob({"ref_codes": {"dtype": "U32", "shape": [1, 16, 1], "data_offsets": [0, 64]}}),
            "bytes 0 to 64",
        ),
        (raw_blob({"ref_codes": {"dtype": "U32", "shape": [1, 16, -1], "data_offsets": [0, 64]}}), "shape"),
        (raw_blob({"ref_codes": {"dtype": "C64", "shape": [1], "data_offsets": [0, 0]}}), "unknown type"),
        (codes_blob("F32", (1, 16, 1), bytes(64)), "not whole numbers"),
        (codes_blob("U32", (16, 2), bytes(128)), "shape"),
        (codes_blob("U32", (1, 8, 2), bytes(64)), "shape"),
        (codes_blob("U32", (1, 16, 0), b""), "shape"),
        (codes_blob("U32", (1, 16, 1), struct.pack("<16I", *[2048] * 16)), "2048"),
        (codes_blob("I32", (1, 16, 1), struct.pack("<16i", *[-1] * 16)), "-1"),
        (codes_blob("U64", (1, 16, 1), b"\xff" * 128), "-1"),
        (speaker_blob("F32", (1, 2), struct.pack("<2f", 1, float("nan"))), "not finite"),
        (speaker_blob("F64", (1, 1), struct.pack("<d", 1e300)), "not finite"),
        (speaker_blob("I32", (1, 2), bytes(8)), "floating-point"),
        (speaker_blob("F32", (2, 1), bytes(8)), "shape"),
        (speaker_blob("F32", (1, 0), b""), "shape"),
    ],
)
def test_a_broken_prompt_is_refused_with_the_reason(content, reason):
    with pytest.raises(InvalidClonePrompt, match=reason):
        parse_swift_prompt(content)


SAMPLES = samples_folder()


@pytest.mark.skipif(SAMPLES is None, reason="the sample folder is not here")
@pytest.mark.parametrize(
    ("name", "frames", "embedding", "size"),
    [
        ("elena-1.7b", 69, "F16", "1.7b"),
        ("elena-0.6b", 41, "BF16", "0.6b"),
        ("int32-codes-f32", 50, "F32", "1.7b"),
        ("xvector-none", 69, None, None),
    ],
)
def test_the_good_samples_are_read_and_written_byte_for_byte(name, frames, embedding, size):
    content = (SAMPLES / "synthetic" / f"{name}.cloneprompt").read_bytes()
    prompt = parse_swift_prompt(content)
    assert prompt.to_bytes() == content
    assert (prompt.frames, prompt.model_size) == (frames, size)
    assert (prompt.embedding.dtype if prompt.embedding else None) == embedding


@pytest.mark.skipif(SAMPLES is None, reason="the sample folder is not here")
@pytest.mark.parametrize(
    ("name", "reason"), [("3-bytes", "too short"), ("is-wav", "WAV recording"), ("truncated", "truncated")]
)
def test_the_bad_samples_are_refused(name, reason):
    with pytest.raises(InvalidClonePrompt, match=reason):
        parse_swift_prompt((SAMPLES / "synthetic" / f"bad-{name}.cloneprompt").read_bytes())
