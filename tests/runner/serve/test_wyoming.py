"""Home Assistant's protocol, by the library's own client, in the order in which Home Assistant sends its events."""

import json
import signal
import socket
import struct
import warnings
from contextlib import asynccontextmanager

import anyio
import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it imports audioop where Python has it
    from wyoming.asr import Transcribe
    from wyoming.audio import AudioChunk, AudioStart, AudioStop
    from wyoming.client import AsyncTcpClient
    from wyoming.error import Error
    from wyoming.info import Describe, Info
    from wyoming.tts import (
        Synthesize,
        SynthesizeChunk,
        SynthesizeStart,
        SynthesizeStop,
        SynthesizeStopped,
        SynthesizeVoice,
    )

from zeroconf import ServiceStateChange
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from tests.patience import PATIENCE_S
from tests.runner.serve.served import Served, free_port

SERVICE = "_wyoming._tcp.local."
RYAN = SynthesizeVoice(name="ryan")
PARTS = ["The door ", "is open. Please", " close it. Dr. Smith", " waits."]


@pytest.fixture
def anyio_backend():
    return "asyncio"


pytestmark = pytest.mark.anyio


@asynccontextmanager
async def connected(served):
    async with AsyncTcpClient("127.0.0.1", served.wyoming_port, read_timeout=PATIENCE_S) as client:
        yield client


async def answers(client, *, until):
    """Events up to one of this kind, or to the end of the connection."""
    found = []
    while (event := await client.read_event()) is not None:
        found.append(event)
        if until.is_type(event.type) or Error.is_type(event.type):
            break
    return found


def sound_of(events):
    chunks = [AudioChunk.from_event(event) for event in events if AudioChunk.is_type(event.type)]
    assert {(chunk.rate, chunk.width, chunk.channels) for chunk in chunks} <= {(24_000, 2, 1)}
    return b"".join(chunk.audio for chunk in chunks)


async def described(served):
    async with connected(served) as client:
        await client.write_event(Describe().event())
        return Info.from_event((await answers(client, until=Info))[-1])


async def spoken(served, text, voice=RYAN, **more):
    """As Home Assistant speaks a text that it has whole."""
    async with connected(served) as client:
        await client.write_event(Synthesize(text=text, voice=voice, **more).event())
        return await answers(client, until=AudioStop)


async def streamed(served, parts, voice=RYAN):
    """As Home Assistant speaks what a language model is still writing."""
    async with connected(served) as client, anyio.create_task_group() as group:

        async def write():
            await client.write_event(SynthesizeStart(voice=voice).event())
            for part in parts:
                await client.write_event(SynthesizeChunk(text=part).event())
            await client.write_event(Synthesize(text="".join(parts), voice=voice).event())
            await client.write_event(SynthesizeStop().event())

        group.start_soon(write)
        return await answers(client, until=SynthesizeStopped)


async def test_it_describes_its_voices_with_languages_and_versions(served):
    (program,) = (await described(served)).tts
    assert program.installed and program.supports_synthesize_streaming
    voices = {voice.name: voice for voice in program.voices}
    assert {"alloy", "ryan", "serena"} <= set(voices)
    assert all(voice.installed and voice.version and voice.languages for voice in program.voices)
    assert voices["ryan"].languages[0] == "en"
    assert {"de", "zh", "es"} <= set(voices["ryan"].languages)


async def test_a_text_is_spoken_and_ends(served):
    events = await spoken(served, "The washing is done.")
    assert AudioStart.is_type(events[0].type) and AudioStop.is_type(events[-1].type)
    over_http = served.request(
        "POST",
        "/v1/audio/speech",
        json.dumps({"voice": "ryan", "input": "The washing is done.", "response_format": "pcm"}),
        content_type="application/json",
    )
    sound = sound_of(events)
    assert sound.startswith(over_http.body)
    assert sound[len(over_http.body) :] == bytes(14_400)  # 0.3 s, for players that cut off the end


@pytest.mark.parametrize("voice", [None, SynthesizeVoice(language="de"), SynthesizeVoice(language="en-US")])
async def test_without_a_name_the_first_voice_of_the_language_speaks(served, voice):
    assert len(sound_of(await spoken(served, "Hello.", voice))) > 24_000


async def test_a_streamed_text_is_spoken_sentence_by_sentence_and_once(served):
    events = await streamed(served, PARTS)
    kinds = [event.type for event in events]
    assert kinds[0] == "audio-start" and kinds[-2:] == ["audio-stop", "synthesize-stopped"]
    assert kinds.count("audio-start") == 1
    sentences = ["The door is open.", "Please close it.", "Dr. Smith waits."]
    alone = [sound_of(await spoken(served, sentence))[:-14_400] for sentence in sentences]
    assert sound_of(events) == bytes(12_000).join(alone) + bytes(14_400)


async def test_speech_starts_while_the_text_is_still_written(served):
    async with connected(served) as client:
        await client.write_event(SynthesizeStart(voice=RYAN).event())
        await client.write_event(SynthesizeChunk(text="One moment, please.").event())
        assert AudioStart.is_type((await client.read_event()).type)
        await client.write_event(SynthesizeChunk(text=" The light is off.").event())
        await client.write_event(SynthesizeStop().event())
        assert SynthesizeStopped.is_type((await answers(client, until=SynthesizeStopped))[-1].type)


@pytest.mark.parametrize("text", ["", "…", "🙂"])
async def test_a_text_without_a_word_is_a_silence(served, text):
    assert sound_of(await spoken(served, text)) == bytes(14_400)
    assert sound_of(await streamed(served, [text])) == bytes(14_400)


async def test_several_texts_of_one_connection_are_spoken_in_their_order(served):
    async with connected(served) as client:
        for text in ("First.", "Second."):
            await client.write_event(Synthesize(text=text, voice=RYAN).event())
        first = await answers(client, until=AudioStop)
        second = await answers(client, until=AudioStop)
    assert sound_of(first) == sound_of(await spoken(served, "First."))
    assert sound_of(second) == sound_of(await spoken(served, "Second."))


@pytest.mark.parametrize(
    ("event", "code", "said"),
    [
        (
            Synthesize(text="Hello.", voice=SynthesizeVoice(name="elina")),
            "voice_not_found",
            "There is no voice 'elina'",
        ),
        (Synthesize(text="Hello.", voice=SynthesizeVoice(language="xx-no")), "unknown-language", "not a language"),
        (Synthesize(text="x" * 20_001, voice=RYAN), "request-refused", "20,000"),
        (Synthesize(text="<speak>x</speak>", text_format="ssml"), "unsupported_text_format", "SSML"),
        (Transcribe(language="en"), "no_recogniser", "No recogniser"),
    ],
    ids=["voice", "language", "length", "markup", "recogniser"],
)
async def test_what_cannot_be_is_an_error_and_the_end(served, event, code, said):
    async with connected(served) as client:
        await client.write_event(event.event())
        (error,) = [Error.from_event(each) for each in await answers(client, until=AudioStop)]
        assert (error.code, said in error.text) == (code, True), error
        assert await client.read_event() is None


async def test_a_new_lock_is_offered_without_a_restart(served):
    design = {"kind": "design", "voice": "homely", "description": "A warm female voice.", "candidates": 1}
    lock = {"kind": "lock", "voice": "homely", "from": {"job": "homely-design", "candidate": 1}, "language": "en"}
    for name, job in (("homely-design", design), ("homely-lock", lock)):
        assert served.post_job(job, name=name).status == 202
    served.ended("homely-lock")
    (voice,) = [each for each in (await described(served)).tts[0].voices if each.name == "homely"]
    assert (voice.description, voice.version, voice.languages[0]) == ("homely: A warm female voice.", "1", "en")
    assert len(sound_of(await spoken(served, "Hello.", SynthesizeVoice(name="homely")))) > 24_000


GARBAGE = [
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
    b"[]\n",
    b"7\n",
    b'"x"\n',
    b"{}\n",
    b'{"type": 3}\n',
    b'{"type": "synthesize", "data": []}\n',
    b'{"type": "synthesize", "data": "x"}\n',
    b'{"type": "synthesize"}\n',
    b'{"type": "synthesize", "data": {"text": 7}}\n',
    b'{"type": "synthesize", "data": {"text": "x", "voice": "ryan"}}\n',
    b'{"type": "synthesize", "data": {"text": "x", "voice": 7}}\n',
    b'{"type": "describe", "data_length": "x"}\n',
    b'{"type": "describe", "data_length": 1.5}\nxx',
    b'{"type": "describe", "data_length": 1e999}\n',
    b'{"type": "describe", "data_length": 4}\n[[[[',
    b'{"type": "describe", "payload_length": 99999999999999}\n',
    b'{"type": "describe", "data_length": 2147483648}\n',
    b"[" * 100_000 + b"\n",
    b"x" * 300_000,
    b'{"type": "describe", "data_length": 100000}\n' + b"[" * 100_000,
]


@pytest.mark.parametrize("content", GARBAGE, ids=range(len(GARBAGE)))
async def test_garbage_closes_its_connection_quietly_and_no_other(served, content):
    async with connected(served) as other:
        with socket.create_connection(("127.0.0.1", served.wyoming_port), timeout=PATIENCE_S) as client:
            try:
                client.sendall(content)
                assert client.recv(1_000) == b""
            except (ConnectionResetError, BrokenPipeError):
                pass
        await other.write_event(Describe().event())
        assert Info.is_type((await other.read_event()).type)
    assert "Traceback" not in served.output.read_text()


SLOW = {"VOICEJOBS_MODEL": "tests.engines.noop:open_slow_engine", "VOICEJOBS_TEST_LINE_S": "0.2"}
STORY = "\n\n".join(f"Paragraph {number} of a story that nobody hears to its end." for number in range(300))


@pytest.fixture
def slow(tmp_path):
    """A server and a runner whose engine takes a minute for the story."""
    made = Served(tmp_path, settings="batch = 1")
    made.wyoming_port = free_port()
    made.start_runner(**SLOW).start(**SLOW)
    yield made
    assert made.stop() == 0
    assert "Traceback" not in made.output.read_text()


async def begin_story(client):
    await client.write_event(Synthesize(text=STORY, voice=RYAN).event())
    assert AudioStart.is_type((await client.read_event()).type)


def status_of_the_only_job(served):
    (job,) = served.get("/api/jobs").json["jobs"]
    return served.ended(job["job"])["status"]


async def test_a_client_that_goes_cancels_what_only_it_wanted(slow):
    async with connected(slow) as client:
        await begin_story(client)
    assert status_of_the_only_job(slow) == "cancelled"


async def test_a_connection_that_is_reset_cancels_too(slow):
    async with connected(slow) as client:
        await begin_story(client)
        reset = struct.pack("ii", 1, 0)
        client._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
    assert status_of_the_only_job(slow) == "cancelled"


async def test_stop_breaks_off_what_is_spoken(slow):
    async with connected(slow) as client:
        await begin_story(client)
        await client.write_event(SynthesizeStop().event())
        events = await answers(client, until=SynthesizeStopped)
        assert [event.type for event in events[-2:]] == ["audio-stop", "synthesize-stopped"]
        assert status_of_the_only_job(slow) == "cancelled"
        await client.write_event(Describe().event())
        assert Info.is_type((await client.read_event()).type)


async def test_a_runner_that_dies_is_an_error(slow):
    async with connected(slow) as client:
        await begin_story(client)
        slow.runner.kill()
        error = Error.from_event((await answers(client, until=AudioStop))[-1])
        assert error.code == "no_runner"
        assert "--with-runner" in error.text


async def test_the_end_of_the_server_ends_its_connections(slow):
    async with connected(slow) as client:
        await begin_story(client)
        assert slow.stop() == 0
        assert (await answers(client, until=AudioStop))[-1].type != "audio-stop"


async def test_more_connections_than_there_may_be_are_closed(tmp_path):
    crowded = Served(tmp_path)
    crowded.wyoming_port = free_port()
    crowded.start()
    try:
        clients = [
            socket.create_connection(("127.0.0.1", crowded.wyoming_port), timeout=PATIENCE_S) for _ in range(120)
        ]
        closed = [client for client in clients[100:] if client.recv(1) == b""]
        assert len(closed) == 20
        for client in clients:
            client.close()
        for _ in range(200):
            if await described_or_none(crowded):
                break
        else:
            pytest.fail("no connection became free")
    finally:
        assert crowded.stop() == 0


async def described_or_none(served):
    try:
        return await described(served)
    except (OSError, IndexError):
        return None


def test_a_port_in_use_is_an_error_where_it_was_chosen_and_a_notice_where_not(tmp_path, served):
    chosen = Served(tmp_path / "chosen")
    chosen.wyoming_port = served.wyoming_port
    chosen.start(wait=False)
    assert chosen.server.wait(PATIENCE_S) == 75
    said = chosen.output.read_text()
    assert f"Port {served.wyoming_port} of 127.0.0.1 is in use" in said and "--wyoming-port" in said


def test_home_assistant_is_told_of_no_address_that_it_cannot_reach(tmp_path):
    local = Served(tmp_path, serve="zeroconf = true").start("--wyoming-port", str(free_port()), wait=False)
    assert local.server.wait(PATIENCE_S) == 2
    assert 'wyoming_host = "0.0.0.0"' in local.output.read_text()


async def test_home_assistant_is_told_on_the_network_where_that_is_set_and_told_of_the_end(tmp_path):
    if not await hears_itself():
        pytest.skip("this machine's network carries no multicast")
    told = Served(tmp_path, serve='wyoming_host = "0.0.0.0"\nzeroconf = true')
    told.wyoming_port = free_port()
    sending, changes = anyio.create_memory_object_stream(10)

    def on_change(name, state_change, **_):
        if name.endswith(f"-{told.wyoming_port}.{SERVICE}"):
            sending.send_nowait((name, state_change))

    listening = AsyncZeroconf()
    browser = AsyncServiceBrowser(listening.zeroconf, SERVICE, handlers=[on_change])
    try:
        told.start()
        with anyio.fail_after(PATIENCE_S):
            name, change = await changes.receive()
            assert change == ServiceStateChange.Added
            found = await listening.async_get_service_info(SERVICE, name)
            assert found.port == told.wyoming_port
            told.server.send_signal(signal.SIGTERM)
            while change != ServiceStateChange.Removed:
                _, change = await changes.receive()
        assert told.stop() == 0
    finally:
        await browser.async_cancel()
        await listening.async_close()
        sending.close()
        changes.close()
    assert "Wyoming has no keys" in told.output.read_text()


async def hears_itself():
    """Whether a service announced here is found here."""
    speaking, listening, heard = AsyncZeroconf(), AsyncZeroconf(), anyio.Event()
    service = AsyncServiceInfo(SERVICE, f"self-test.{SERVICE}", port=1, parsed_addresses=["127.0.0.1"])
    browser = AsyncServiceBrowser(listening.zeroconf, SERVICE, handlers=[lambda **_: heard.set()])
    try:
        await speaking.async_register_service(service, allow_name_change=True)
        with anyio.move_on_after(5):
            await heard.wait()
    except OSError:
        return False
    finally:
        await browser.async_cancel()
        await listening.async_close()
        await speaking.async_close()
    return heard.is_set()
