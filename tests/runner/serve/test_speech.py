"""Speech as OpenAI's own client asks for it, and as other programs do, against a running server."""

import base64
import contextlib
import http.client
import io
import json
import time
import wave

import av
import numpy as np
import openai
import pytest

from tests.patience import PATIENCE_S, wait_until
from tests.runner.serve.served import Served

FORMATS = {
    "mp3": "audio/mpeg", "opus": "audio/ogg", "aac": "audio/aac", "flac": "audio/flac", "wav": "audio/wav",
    "pcm": "audio/pcm",
}  # fmt: skip
TEXT = "The quick brown fox jumps over the lazy dog."


@pytest.fixture(scope="module")
def client(served):
    with openai.OpenAI(base_url=f"http://127.0.0.1:{served.port}/v1", api_key="unused", max_retries=0) as made:
        yield made


def speak(served, body):
    return served.request("POST", "/v1/audio/speech", json.dumps(body), content_type="application/json")


def duration_s(content, kind):
    if kind == "pcm":
        return len(content) / 48_000
    with av.open(io.BytesIO(content)) as container:
        return sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_whole_and_the_same_streamed_and_repeated(client, kind):
    with client.audio.speech.with_streaming_response.create(
        model="tts-1", voice="ryan", input=TEXT, response_format=kind
    ) as answer:
        assert answer.headers["content-type"] == FORMATS[kind]
        assert answer.headers["x-voicejobs-job"].startswith("speech-")
        first = b"".join(answer.iter_bytes())
    again = client.audio.speech.create(model="tts-1", voice="ryan", input=TEXT, response_format=kind).read()
    assert first == again
    assert 1.0 < duration_s(first, kind) < 8.0


def test_a_streamed_wav_has_no_length_and_16_bits_mono(client):
    content = client.audio.speech.create(model="tts-1", voice="ryan", input=TEXT, response_format="wav").read()
    assert content[4:8] == content[40:44] == b"\xff\xff\xff\xff"
    with wave.open(io.BytesIO(content)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 24_000)


def test_a_repeated_request_is_answered_by_the_first_job(served):
    body = {"model": "tts-1", "voice": "ryan", "input": "Battery low.", "response_format": "pcm"}
    first, again = speak(served, body), speak(served, {**body, "response_format": "wav"})
    assert first.headers["x-voicejobs-job"] == again.headers["x-voicejobs-job"]
    assert again.body[44:] == first.body
    job = served.ended(first.headers["x-voicejobs-job"])
    assert (job["kind"], job["status"]) == ("synthesize", "done")


@pytest.mark.parametrize(("speed", "factor"), [(0.25, 4.0), (0.5, 2.0), (2.0, 0.5), (4, 0.25)])
def test_another_speed_is_another_length_of_the_same_pitch(served, speed, factor):
    body = {"voice": "ryan", "input": TEXT, "response_format": "pcm"}
    plain, other = speak(served, body), speak(served, {**body, "speed": speed})
    assert len(other.body) == pytest.approx(len(plain.body) * factor, rel=0.05)
    assert pitch_hz(other.body) == pytest.approx(pitch_hz(plain.body), rel=0.15)


def pitch_hz(pcm):
    samples = np.frombuffer(pcm, "<i2").astype(float)
    spectrum = np.abs(np.fft.rfft(samples)) ** 2
    frequencies = np.fft.rfftfreq(samples.size, 1 / 24_000)
    low = (frequencies > 70) & (frequencies < 2_000)
    return (spectrum[low] * frequencies[low]).sum() / spectrum[low].sum()


def test_events_carry_the_same_sound_and_end_with_done(served):
    body = {"voice": "ryan", "input": TEXT, "response_format": "pcm"}
    answer = speak(served, {**body, "stream_format": "sse"})
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(line[6:]) for line in answer.body.decode().splitlines() if line]
    assert b"".join(base64.b64decode(each["audio"]) for each in events[:-1]) == speak(served, body).body
    assert events[-1]["type"] == "speech.audio.done"
    assert set(events[-1]["usage"]) == {"input_tokens", "output_tokens", "total_tokens"}


@pytest.mark.parametrize("voice", ["ryan", "RYAN", "preset:ryan", "alloy", "Alloy", {"id": "ryan"}])
def test_a_voice_may_be_named_in_many_ways(served, voice):
    body = {"model": "tts-1", "voice": voice, "input": "One voice.", "response_format": "pcm"}
    assert speak(served, body).body == speak(served, {**body, "voice": "ryan"}).body


def test_a_new_lock_is_listed_and_speaks_at_once(served, client):
    design = {"kind": "design", "voice": "elena", "description": "A warm female voice.", "candidates": 1}
    lock = {"kind": "lock", "voice": "elena", "from": {"job": "elena-design", "candidate": 1}}
    assert served.post_job(design, name="elena-design").status == 202
    assert served.post_job(lock, name="elena-lock").status == 202
    digest = served.ended("elena-lock")["voice"]["digest"]
    listed = served.get("/v1/audio/voices").json
    assert listed["voices"] == listed["data"]
    assert {"id": "elena", "name": "elena"} in listed["voices"]
    named = ("elena", "Elena", "elena@1", "elena@current", digest, digest[:20], f"elena@{digest}")
    sounds = {client.audio.speech.create(model="tts-1", voice=each, input="Hello.").read() for each in named}
    assert len(sounds) == 1


def test_each_listed_voice_is_spoken(served):
    for voice in served.get("/v1/audio/voices").json["voices"]:
        assert speak(served, {"voice": voice["id"], "input": "Hello."}).status == 200, voice


@pytest.mark.parametrize(
    ("more", "status", "param", "code"),
    [
        ({"voice": "nobody"}, 404, "voice", "voice_not_found"),
        ({"voice": "nobody@2"}, 404, "voice", "voice_not_found"),
        ({"voice": "preset:nobody"}, 404, "voice", "voice_not_found"),
        ({"voice": "sha256:0123456789"}, 404, "voice", "voice_not_found"),
        ({"voice": "af_bella(2)+af_sky(1)"}, 400, "voice", "invalid_value"),
        ({"voice": None}, 400, "voice", "invalid_value"),
        ({"voice": 3}, 400, "voice", "invalid_value"),
        ({"voice": "../../etc/passwd"}, 404, "voice", "voice_not_found"),
        ({"model": "no-such-model"}, 404, "model", "model_not_found"),
        ({"model": 1}, 400, "model", "invalid_value"),
        ({"input": ""}, 400, "input", "invalid_value"),
        ({"input": " \n"}, 400, "input", "invalid_value"),
        ({"input": "…"}, 400, "input", "invalid_value"),
        ({"input": ["a"]}, 400, "input", "invalid_value"),
        ({"input": "a\0b"}, 400, None, None),
        ({"input": "x " * 10_001}, 400, "input", "string_too_long"),
        ({"response_format": "exe"}, 400, "response_format", "invalid_value"),
        ({"stream_format": "x"}, 400, "stream_format", "invalid_value"),
        ({"speed": 5}, 400, "speed", "invalid_value"),
        ({"speed": 0.2}, 400, "speed", "invalid_value"),
        ({"speed": "fast"}, 400, "speed", "invalid_value"),
        ({"language": "klingonese"}, 400, "language", "invalid_value"),
        ({"lang_code": "zzz"}, 400, "lang_code", "invalid_value"),
        ({"language": "klingon-x-no"}, None, None, None),
        ({"seed": -1}, 400, "seed", "invalid_value"),
    ],
)
def test_what_is_wrong_is_told_in_openais_shape(served, more, status, param, code):
    answer = speak(served, {"model": "tts-1", "voice": "ryan", "input": "Hello.", **more})
    if status is None:
        assert answer.status in (200, 400)
        return
    assert answer.status == status, answer.body
    assert set(answer.error) == {"message", "type", "param", "code"}
    assert answer.error["type"] == "invalid_request_error"
    if code is not None:
        assert (answer.error["param"], answer.error["code"]) == (param, code)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'"x"', b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_object_is_refused(served, content):
    answer = served.request("POST", "/v1/audio/speech", content, content_type="application/json")
    assert (answer.status, answer.error["code"]) == (400, "invalid_json")


def test_errors_reach_the_official_client(client):
    with pytest.raises(openai.NotFoundError, match=r"There is no voice 'elina'") as caught:
        client.audio.speech.create(model="tts-1", voice="elina", input="Hello.")
    assert (caught.value.code, caught.value.param) == ("voice_not_found", "voice")
    with pytest.raises(openai.BadRequestError, match="20,000"):
        client.audio.speech.create(model="tts-1", voice="ryan", input="x" * 20_001)
    with pytest.raises(openai.InternalServerError, match="recogniser"):
        client.audio.transcriptions.create(model="whisper-1", file=("a.wav", b"RIFF"))


def test_models_are_listed_as_clients_read_them(client, served):
    names = [model.id for model in client.models.list()]
    assert {"draft", "tts-1", "tts-1-hd", "gpt-4o-mini-tts", "kokoro", "whisper-1"} <= set(names)
    assert client.models.retrieve("tts-1").id == "tts-1"
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("no/such")
    assert caught.value.code == "model_not_found"
    assert {"id": "tts-1", "name": "tts-1"} in served.get("/v1/audio/models").json["models"]


def test_requests_of_other_programs_are_understood(served):
    webui = {"model": "tts-1", "input": "Hello.", "voice": "alloy", "unknown": {"x": 1}}
    tavern = {"model": "tts-1", "input": "Hello.", "voice": "ryan", "response_format": "mp3", "speed": 1}
    kokoro = {"model": "kokoro", "input": "Hello.", "voice": "ryan", "lang_code": "en", "stream": True}
    anything_llm = {"model": "tts-1", "input": "Hello.", "voice": "alloy"}
    answers = [speak(served, body) for body in (webui, tavern, kokoro, anything_llm)]
    assert [(each.status, each.headers["content-type"]) for each in answers] == [(200, "audio/mpeg")] * 4
    wyoming_openai = {**anything_llm, "response_format": "pcm", "speed": 1.0, "instructions": "Calmly."}
    answer = speak(served, wyoming_openai)
    assert (answer.status, answer.headers["content-type"], len(answer.body) > 12_000) == (200, "audio/pcm", True)


def test_a_client_that_goes_cancels_what_only_it_wanted(served, client):
    text = "\n\n".join(f"Paragraph {n} of a story that nobody hears to its end." for n in range(350))
    stream = client.audio.speech.with_streaming_response.create(
        model="tts-1", voice="aiden", input=text, response_format="pcm"
    )
    with stream as answer:
        job = answer.headers["x-voicejobs-job"]
        next(answer.iter_bytes(100))
        assert served.get(f"/api/jobs/{job}").json["status"] == "running"
    assert served.ended(job)["status"] in ("cancelled", "done")


def test_most_of_a_story_is_never_spoken_when_its_only_listener_goes(tmp_path):
    slow = Served(tmp_path, settings="batch = 1").start_runner(VOICEJOBS_TEST_LINE_S="0.2").start()
    text = "\n\n".join(f"Paragraph {number} of a story." for number in range(400))
    body = {"model": "tests.engines.noop:open_slow_engine", "voice": "ryan", "input": text, "response_format": "pcm"}
    client = http.client.HTTPConnection("127.0.0.1", slow.port, timeout=PATIENCE_S)
    try:
        client.request("POST", "/v1/audio/speech", json.dumps(body))
        answer = client.getresponse()
        answer.read(100)
        client.close()
        receipt = slow.ended(answer.headers["x-voicejobs-job"])
        assert receipt["status"] == "cancelled"
        assert sum(line["status"] == "done" for line in receipt["lines"]) < 300
    finally:
        client.close()
        assert slow.stop() == 0


def test_a_runner_that_dies_breaks_the_sound_off(tmp_path):
    dying = Served(tmp_path, settings="batch = 1").start_runner(VOICEJOBS_TEST_LINE_S="0.2").start()
    model = "tests.engines.noop:open_slow_engine"
    text = "\n\n".join(f"Paragraph {n} of a story." for n in range(400))
    try:
        with openai.OpenAI(base_url=f"http://127.0.0.1:{dying.port}/v1", api_key="x", max_retries=0) as client:
            with (
                pytest.raises(Exception, match=r"(?i)peer closed|incomplete|disconnect|clos"),
                client.audio.speech.with_streaming_response.create(
                    model=model, voice="ryan", input=text, response_format="pcm"
                ) as answer,
            ):
                pieces = answer.iter_bytes(100)
                next(pieces)
                dying.runner.kill()
                started_s = time.monotonic()
                for _ in pieces:
                    assert time.monotonic() - started_s < PATIENCE_S
            refused = speak(dying, {"voice": "ryan", "input": "Anything else."})
            assert (refused.status, refused.error["code"]) == (503, "no_runner")
            assert "--with-runner" in refused.error["message"]
            wait_until(lambda: dying.get("/health").status == 503, what="health without a runner")
    finally:
        assert dying.stop() == 0


def test_a_runner_that_dies_is_an_error_among_the_events(tmp_path):
    dying = Served(tmp_path, settings="batch = 1").start_runner(VOICEJOBS_TEST_LINE_S="0.2").start()
    text = "\n\n".join(f"Paragraph {n} of a story." for n in range(400))
    body = {"model": "tests.engines.noop:open_slow_engine", "voice": "ryan", "input": text, "stream_format": "sse"}
    client = http.client.HTTPConnection("127.0.0.1", dying.port, timeout=PATIENCE_S)
    try:
        client.request("POST", "/v1/audio/speech", json.dumps({**body, "response_format": "pcm"}))
        answer = client.getresponse()
        events = [json.loads(answer.readline()[6:])]
        dying.runner.kill()
        with contextlib.suppress(http.client.IncompleteRead):  # the connection is broken off as well
            while line := answer.readline():
                events += [json.loads(line[6:])] if line.strip() else []
        assert (events[0]["type"], events[-1]["type"]) == ("speech.audio.delta", "error")
        assert set(events[-1]["error"]) == {"message", "type", "param", "code"}
    finally:
        client.close()
        assert dying.stop() == 0


def test_without_a_network_a_request_that_needs_a_download_is_refused_soon(tmp_path):
    served = Served(tmp_path / "away", settings=f'models_dir = "{tmp_path / "models"}"\n')
    body = {"model": "qwen3-tts-0.6b-customvoice", "voice": "ryan", "input": TEXT}
    try:
        served.start_runner(HF_ENDPOINT="http://127.0.0.1:9", HF_HUB_CACHE=str(tmp_path / "cache"))
        served.start()
        first = speak(served, body)
        start_s = time.monotonic()
        second = speak(served, body)
        assert time.monotonic() - start_s < 2.0
        assert [answer.status for answer in (first, second)] == [503, 503]
        assert second.error["code"] == "model_not_here"
        assert "127.0.0.1:9 cannot be reached" in second.error["message"]
        assert int(second.headers["retry-after"]) > 0
        served.post_job(
            {"kind": "synthesize", "text": TEXT, **{key: body[key] for key in ("model", "voice")}}, name="far"
        )
        page = served.get("/", Accept="text/html").body.decode()
        assert "waits (network)" in page
    finally:
        served.stop()
