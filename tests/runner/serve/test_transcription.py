"""Recordings sent to the server by OpenAI's own client and Wyoming's: heard by a job of the runner."""

import io
import warnings

import anyio
import openai
import pytest
import soundfile

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it imports audioop where Python has it
    from wyoming.asr import Transcribe, Transcript
    from wyoming.audio import AudioStart, AudioStop, wav_to_chunks
    from wyoming.client import AsyncTcpClient
    from wyoming.error import Error
    from wyoming.info import Describe, Info

from models.protocol import SAMPLE_RATE_HZ
from tests.natural_speech import BREEZE, memo, spoken
from tests.patience import PATIENCE_S, wait_until
from tests.runner.serve.served import Served, free_port


@pytest.fixture(scope="module")
def hearing(tmp_path_factory):
    made = Served(tmp_path_factory.mktemp("hearing"), settings='recogniser = "pocketsphinx"\nlanguage = "en"')
    made.wyoming_port = free_port()
    made.start_runner()
    made.start()
    yield made
    made.stop()


@pytest.fixture
def client(hearing):
    return openai.OpenAI(
        base_url=f"http://127.0.0.1:{hearing.port}/v1", api_key="none", max_retries=0, timeout=PATIENCE_S
    )


def wav(sound):
    content = io.BytesIO()
    soundfile.write(content, sound, SAMPLE_RATE_HZ, format="WAV")
    return content.getvalue()


def test_the_official_client_gets_words_phrases_and_their_times(client, hearing):
    heard = client.audio.transcriptions.with_raw_response.create(
        model="whisper-1",
        file=("../memo.wav", wav(memo())),
        language="en",
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
    )
    found = heard.parse()
    first, second = found.segments
    assert first.text.startswith("a gentle breeze")
    assert second.start == pytest.approx(6.3, abs=0.3)
    assert found.text == f"{first.text} {second.text}"
    assert [word.word for word in found.words] == found.text.split()
    assert (found.language, found.duration) == ("english", pytest.approx(9.8, abs=0.1))
    job = heard.headers["X-Voicejobs-Job"]
    assert hearing.get(f"/api/jobs/{job}").json["kind"] == "transcribe"
    assert list((hearing.root / ".voicejobs" / "uploads").iterdir()) == []


@pytest.mark.parametrize(
    ("form", "begins"),
    [("json", "hello"), ("text", "hello"), ("srt", "1\n00:00:00,"), ("vtt", "WEBVTT\n\n00:00:00.")],
)
def test_each_format_is_as_clients_read_it(client, form, begins):
    heard = client.audio.transcriptions.create(
        model="whisper-1", file=("memo.wav", wav(spoken("Hello, my friends."))), response_format=form
    )
    text = heard.text if form == "json" else heard
    assert text.startswith(begins)
    assert "hello" in text.replace("<", " ").replace(">", " ")


@pytest.mark.parametrize(
    ("asked", "param", "said"),
    [
        ({"response_format": "doc"}, "response_format", "not one of json"),
        ({"language": "klingonese"}, "language", "klingonese"),
        ({"language": "de"}, "language", "does not know 'german'"),
        ({"file": ("x.wav", b"no sound at all")}, "file", "a text file"),
        ({"file": ("x.wav", b"")}, "file", "empty file"),
        ({"stream": True}, "stream", "not streamed"),
    ],
    ids=["format", "no language", "language", "no audio", "empty", "stream"],
)
def test_what_cannot_be_is_refused_with_its_parameter(client, asked, param, said):
    values = {"model": "whisper-1", "file": ("memo.wav", wav(spoken(BREEZE))), **asked}
    with pytest.raises(openai.BadRequestError, match=said) as caught:
        client.audio.transcriptions.create(**values)
    assert caught.value.param == param


def test_a_request_without_a_recording_is_refused(hearing):
    answer = hearing.request("POST", "/v1/audio/transcriptions", b"{}", content_type="application/json")
    assert (answer.status, answer.error["param"]) == (400, "file")


def test_wyoming_offers_to_hear_and_hears(hearing):
    async def talk():
        async with AsyncTcpClient("127.0.0.1", hearing.wyoming_port, read_timeout=PATIENCE_S) as wyoming:
            await wyoming.write_event(Describe().event())
            info = Info.from_event(await wyoming.read_event())
            await wyoming.write_event(Transcribe(language="en").event())
            for event in chunks_of(wav(spoken(BREEZE))):
                await wyoming.write_event(event)
            return info, await wyoming.read_event()

    info, event = anyio.run(talk)
    assert info.asr[0].models[0].languages == ["en"]
    heard = Transcript.from_event(event)
    assert heard.text.startswith("a gentle breeze")
    assert heard.language == "en"


def chunks_of(content):
    import wave

    with wave.open(io.BytesIO(content)) as file:
        return [
            event.event() for event in wav_to_chunks(file, samples_per_chunk=4096, start_event=True, stop_event=True)
        ]


@pytest.mark.parametrize(
    ("events", "code"),
    [
        ([Transcribe(language="de"), AudioStart(16_000, 2, 1), AudioStop()], "invalid_value"),
        ([Transcribe(), AudioStart(1, 2, 1)], "invalid_value"),
        ([Transcribe(), AudioStop()], "invalid_value"),
    ],
    ids=["language", "form", "nothing"],
)
def test_what_wyoming_cannot_hear_is_an_error_and_the_end(hearing, events, code):
    async def talk():
        async with AsyncTcpClient("127.0.0.1", hearing.wyoming_port, read_timeout=PATIENCE_S) as wyoming:
            for event in events:
                await wyoming.write_event(event.event())
            return await wyoming.read_event(), await wyoming.read_event()

    event, end = anyio.run(talk)
    assert Error.from_event(event).code == code
    assert end is None


# ---- last: a piece that is being heard when its job is cancelled is heard to its end --------------------------------


def test_a_client_that_goes_has_its_job_cancelled(hearing, client):
    long = wav(spoken(BREEZE).repeat(30))  # two minutes
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=1.5).audio.transcriptions.create(model="whisper-1", file=("long.wav", long))

    def is_cancelled():
        (job, *_) = hearing.get("/api/jobs?limit=1").json["jobs"]
        return job["kind"] == "transcribe" and job["status"] == "cancelled"

    wait_until(is_cancelled, what="a cancelled job")
