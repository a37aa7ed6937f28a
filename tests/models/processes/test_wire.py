"""What crosses the pipe between runner and engine."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.processes import wire
from models.protocol import (
    DescribedVoice,
    EngineFacts,
    LockDone,
    LockedVoice,
    LockWork,
    ModelChoice,
    PresetVoice,
    Progress,
    SpeechDone,
    SpeechWork,
    WorkFailed,
)

WAVEFORM = np.linspace(-1, 1, 50, dtype=np.float32)
SPEECH_DONE = SpeechDone(
    id="x",
    waveform=WAVEFORM,
    frames=2,
    finish_reason="eos",
    seed=2**63 - 1,
    render_s=0.5,
    batch=4,
    design_state=b"\0\xff",
    warnings=("one", "two"),
)
MESSAGES = [
    wire.Hello(protocol_version=1, pid=7),
    wire.Load(choice=ModelChoice(engine="draft")),
    wire.Cancel(id="ü \ud800"),
    wire.LoadFailed(code="c", message="m"),
    wire.Ready(facts=EngineFacts(engine="e", engine_version="1", render_version="r", model="m", model_fingerprint="f")),
    SpeechWork(id="a", text="", voice=PresetVoice(name="ryan"), seed=0, sampling={"temperature": 0.7}),
    SpeechWork(id="b", text="t", voice=LockedVoice(prompt=b"p" * 1000, prompt_sha256="ab"), seed=1, max_seconds=2.5),
    SpeechWork(id="c", text="t", voice=DescribedVoice(description="warm"), seed=1, instruct="whisper"),
    LockWork(id="d", transcript="t", waveform=WAVEFORM),
    SPEECH_DONE,
    LockDone(id="e", prompt=b"", facts={"n": np.int64(3), "a": [1, {"$": "bytes"}]}, speaker_embedding=WAVEFORM),
    WorkFailed(id="f", code="c", message="m", retryable=True),
    Progress(id="g", frames=9),
]


def assert_equal(one, other):
    assert type(one) is type(other)
    if dataclasses.is_dataclass(one):
        for part in dataclasses.fields(one):
            assert_equal(getattr(one, part.name), getattr(other, part.name))
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        assert one.tobytes() == other.tobytes()
    elif isinstance(one, dict):
        assert json.dumps(one, default=int) == json.dumps(other, default=int)
    else:
        assert one == other


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_comes_out_as_it_went_in(message):
    (read,) = wire.FrameReader().feed(wire.encode(message))
    assert_equal(message, read)


def test_messages_may_arrive_in_pieces_of_any_size():
    content = b"".join(map(wire.encode, MESSAGES))
    for size in (1, 7, 1000, len(content)):
        reader = wire.FrameReader()
        read = [message for at in range(0, len(content), size) for message in reader.feed(content[at : at + size])]
        assert [type(message) for message in read] == [type(message) for message in MESSAGES]


def test_not_a_number_and_infinity_cross_in_arrays():
    samples = np.array([np.nan, np.inf, -0.0], np.float32)
    (read,) = wire.FrameReader().feed(wire.encode(dataclasses.replace(SPEECH_DONE, waveform=samples)))
    assert read.waveform.tobytes() == samples.tobytes()


@given(st.binary(max_size=200))
def test_bytes_that_are_no_message_are_an_error_or_wait_for_more(content):
    try:
        assert list(wire.FrameReader().feed(content)) == []
    except wire.WireError as error:
        assert error.retryable


@given(st.binary(min_size=1, max_size=60), st.integers(0, 400))
def test_a_damaged_message_is_an_error_and_never_another_exception(noise, position):
    content = bytearray(wire.encode(SPEECH_DONE))
    content[position : position + len(noise)] = noise
    try:
        for message in wire.FrameReader().feed(bytes(content)):
            assert type(message).__module__ in ("models.processes.wire", "models.protocol")
    except wire.WireError:
        pass


def framed(header, blob=b""):
    text = json.dumps(header).encode()
    return wire.PREFIX.pack(wire.MAGIC, len(text), len(blob)) + text + blob


@pytest.mark.parametrize(
    "content",
    [
        b"VJ00" + bytes(8),
        wire.PREFIX.pack(wire.MAGIC, wire.MAX_HEADER_BYTES + 1, 0),
        wire.PREFIX.pack(wire.MAGIC, 2, 2**32 - 1),
        framed({"$": "Popen", "args": "true"}),
        framed({"$": "Cancel"}),
        framed({"$": "Cancel", "id": "x", "more": 1}),
        framed({"$": "Cancel", "id": "x"}, b"left over"),
        framed({"$": "Cancel", "id": {"$": "bytes", "size": 10**12}}),
        framed({"$": "Cancel", "id": {"$": "bytes", "size": -1}}),
        framed({"$": "Cancel", "id": {"$": "array", "dtype": "object", "shape": [1]}}),
        framed({"$": "Cancel", "id": {"$": "array", "dtype": "int32", "shape": [2**40, 2**40]}}),
        framed([1, 2]),
        framed(None),
        framed({"$": "PresetVoice", "name": "x"})[:-1] + b"]",
        wire.PREFIX.pack(wire.MAGIC, 200_000, 0) + b"[" * 200_000,
    ],
)
def test_rubbish_and_impossible_sizes_are_refused_before_anything_is_allocated(content):
    with pytest.raises(wire.WireError):
        list(wire.FrameReader().feed(content))


@pytest.mark.parametrize("value", [object(), np.zeros(3, np.float64), {"key": {1, 2}}])
def test_what_is_none_of_the_protocols_values_cannot_be_sent(value):
    with pytest.raises(wire.WireError, match="cannot cross"):
        wire.encode(wire.Cancel(id=value))


def test_what_is_too_large_for_the_pipe_cannot_be_sent():
    with pytest.raises(wire.WireError, match="too large"):
        wire.encode(wire.Cancel(id="x" * (wire.MAX_HEADER_BYTES + 1)))
