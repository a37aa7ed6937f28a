"""The events of one connection → speech, in the order in which it was asked for.

While one text is spoken further events are read: so the next sentences are known, and a client that goes is noticed.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import anyio
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectSendStream
from wyoming.asr import Transcribe
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event
from wyoming.info import Describe
from wyoming.tts import (
    Synthesize,
    SynthesizeChunk,
    SynthesizeStart,
    SynthesizeStop,
    SynthesizeTextFormat,
)

from models.languages import AUTO, canonical_language
from registry.errors import VoiceJobsError
from runner.names import printable_name
from runner.redaction import redact
from runner.serve.context import ServeContext
from runner.serve.errors import RequestRefused
from runner.serve.voice_list import listed_voices
from runner.serve.wyoming.description import info
from runner.serve.wyoming.frames import GARBAGE, GONE, Frames
from runner.serve.wyoming.hearer import Hearer
from runner.serve.wyoming.sentence_buffer import SentenceBuffer
from runner.serve.wyoming.speaker import Speaker, Utterance

if TYPE_CHECKING:
    from runner.serve.openai.speech_job import SpeechJobs

logger = logging.getLogger(__name__)
Parsed = TypeVar("Parsed", Synthesize, SynthesizeStart, SynthesizeChunk, Transcribe, AudioStart, AudioChunk)

SILENT_S = 0.3  # of a client in the middle of its text: a sentence with its mark is spoken then
IDLE_S, IDLE_IN_TEXT_S = 60.0, 300.0  # of a connection on which nothing is spoken; language models may think long
MOST_WAITING = 16  # requests of one connection that wait while another is answered


class Garbage(Exception):
    """A frame that is no event of the protocol."""


@dataclass
class OpenText:
    """A text of which more is to come."""

    sending: MemoryObjectSendStream[str]
    buffer: SentenceBuffer
    characters: int = 0
    chunks: int = 0

    def give(self, sentences: list[str]) -> None:
        """Hand sentences to whoever speaks them."""
        for sentence in sentences:
            self.sending.send_nowait(sentence)


class Session:
    """One connection, from its first event to its end."""

    def __init__(self, frames: Frames, context: ServeContext, speech_jobs: Callable[[], SpeechJobs]) -> None:
        self._frames, self._context = frames, context
        self._speaker = Speaker(frames, context, speech_jobs, on_sound=self._note_life)
        self._hearer = Hearer(frames, context)
        self._sending, self._waiting = anyio.create_memory_object_stream[Utterance](MOST_WAITING)
        self._text: OpenText | None = None
        self._active_s = time.monotonic()
        self._error: Event | None = None
        self._group: TaskGroup
        self._answers: tuple[tuple[Callable[[str], bool], Callable[[Event], Awaitable[None]]], ...] = (
            (Describe.is_type, self._describe),
            (Synthesize.is_type, self._synthesize),
            (SynthesizeStart.is_type, self._start),
            (SynthesizeChunk.is_type, self._add),
            (SynthesizeStop.is_type, self._stop),
            (Transcribe.is_type, self._transcribe),
            (AudioStart.is_type, self._start_sound),
            (AudioChunk.is_type, self._add_sound),
            (AudioStop.is_type, self._stop_sound),
        )

    async def run(self) -> None:
        """Answer until the client goes, is silent for too long, or asks for what cannot be."""
        with self._sending, self._waiting:
            async with anyio.create_task_group() as self._group:
                self._group.start_soon(self._until_its_end, self._speak)
                self._group.start_soon(self._until_its_end, self._watch_idleness)
                self._group.start_soon(self._until_its_end, self._listen)
        await self._hearer.close()
        if self._error is not None:
            await self._frames.say_last(self._error)

    async def _until_its_end(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do part of the work; its end, in whatever way, is that of the connection."""
        try:
            await work()
        except VoiceJobsError as error:
            logger.info("refused by Wyoming: %s", error)
            self._error = _told(error)
        except (Garbage, TimeoutError, *GONE):
            pass  # there is nobody to be told anything
        except Exception:  # the edge of a connection: the others go on
            logger.exception("a connection of Wyoming broke off")
        finally:
            self._group.cancel_scope.cancel()

    async def _watch_idleness(self) -> None:
        """End when nothing has been asked or spoken for too long."""
        while True:
            limit_s = IDLE_IN_TEXT_S if self._text is not None else IDLE_S
            is_busy = self._hearer.is_busy or (self._text is None and self._speaker.is_speaking)
            left_s = limit_s if is_busy else self._active_s + limit_s - time.monotonic()
            if left_s <= 0:
                return
            await anyio.sleep(left_s)

    def _note_life(self) -> None:
        self._active_s = time.monotonic()

    async def _speak(self) -> None:
        async for utterance in self._waiting:
            await self._speaker.speak(utterance)
            self._note_life()

    async def _listen(self) -> None:
        while (event := await self._frames.receive()) is not None:
            self._note_life()
            for is_type, answer in self._answers:
                if is_type(event.type):
                    await answer(event)

    # ---- events ------------------------------------------------------------------------------------------------

    async def _describe(self, _event: Event) -> None:
        voices = await self._context.read(lambda session: listed_voices(session, self._context.instance))
        await self._frames.send(info(voices, recogniser=self._context.instance.settings.recogniser).event())

    async def _synthesize(self, event: Event) -> None:
        """Speak a text; while one comes in pieces, this is the same once more, for servers that read no pieces."""
        wanted = _parsed(Synthesize, event)
        if self._text is not None:
            if not self._text.chunks:
                self._take(self._text, wanted.text)
            return
        _refuse_markup(wanted.text_format)
        self._check_length(len(wanted.text))
        sending, texts = anyio.create_memory_object_stream[str](1)
        with sending:
            sending.send_nowait(wanted.text)
        self._queue(Utterance(wanted.voice, texts))

    async def _start(self, event: Event) -> None:
        if self._text is not None:
            await self._stop(event)
        wanted = _parsed(SynthesizeStart, event)
        _refuse_markup(wanted.text_format)
        language = wanted.voice.language if wanted.voice is not None else None
        sending, texts = anyio.create_memory_object_stream[str](math.inf)  # bounded by the characters it may hold
        self._queue(Utterance(wanted.voice, texts, is_streamed=True))
        self._text = OpenText(sending, SentenceBuffer(canonical_language(str(language)) if language else AUTO))

    async def _add(self, event: Event) -> None:
        if self._text is not None:
            self._take(self._text, _parsed(SynthesizeChunk, event).text)

    def _take(self, text: OpenText, more: str) -> None:
        text.characters += len(more)
        text.chunks += 1
        self._check_length(text.characters)
        text.give(text.buffer.add(more))
        if text.buffer.may_be_complete:
            self._group.start_soon(self._after_a_silence, text, text.chunks)

    async def _after_a_silence(self, text: OpenText, chunks: int) -> None:
        await anyio.sleep(SILENT_S)
        if self._text is text and text.chunks == chunks:
            text.give(text.buffer.pause())

    async def _stop(self, _event: Event) -> None:
        """End of a text that came in pieces; without one, everything that is being spoken is broken off."""
        if self._text is not None:
            self._text.give(self._text.buffer.end())
            self._text.sending.close()
            self._text = None
            return
        while self._waiting.statistics().current_buffer_used:
            self._waiting.receive_nowait().texts.close()
        self._speaker.be_quiet()

    # ---- sound of the client's -----------------------------------------------------------------------------------

    async def _transcribe(self, event: Event) -> None:
        await self._hearer.begin(_parsed(Transcribe, event))

    async def _start_sound(self, event: Event) -> None:
        await self._hearer.start(_parsed(AudioStart, event))

    async def _add_sound(self, event: Event) -> None:
        await self._hearer.add(_parsed(AudioChunk, event))

    async def _stop_sound(self, _event: Event) -> None:
        self._group.start_soon(self._hear)

    async def _hear(self) -> None:
        """Answer a recording; meanwhile further events are read, so that a client that goes is noticed."""
        try:
            if (answer := await self._hearer.stop()) is not None:
                await self._frames.send(answer)
                self._note_life()
        except (VoiceJobsError, TimeoutError, *GONE) as error:
            if isinstance(error, VoiceJobsError):
                logger.info("refused by Wyoming: %s", error)
                self._error = _told(error)
            self._group.cancel_scope.cancel()

    # ---- limits ------------------------------------------------------------------------------------------------

    def _queue(self, utterance: Utterance) -> None:
        try:
            self._sending.send_nowait(utterance)
        except anyio.WouldBlock:
            utterance.texts.close()
            raise RequestRefused(429, f"{MOST_WAITING} requests of this connection wait already.") from None

    def _check_length(self, characters: int) -> None:
        limit = self._context.settings.max_input_chars
        if characters > limit:
            said = f"The text has {characters:,} characters; the limit is {limit:,}."
            raise RequestRefused(400, said, hint="max_input_chars in voicejobs.toml raises it.")


def _told(error: VoiceJobsError) -> Event:
    code = (error.wire_code if isinstance(error, RequestRefused) else "") or error.code
    return Error(text=printable_name(redact(str(error))), code=code).event()


def _parsed(kind: type[Parsed], event: Event) -> Parsed:
    """An event as the library reads it; keys that are null are absent. Raises Garbage."""
    data = {key: value for key, value in event.data.items() if value is not None}
    try:
        parsed = kind.from_event(Event(event.type, data, event.payload))
    except GARBAGE:
        raise Garbage from None
    if not isinstance(getattr(parsed, "text", ""), str) or not isinstance(data.get("voice", {}), dict):
        raise Garbage
    return parsed


def _refuse_markup(text_format: str | SynthesizeTextFormat | None) -> None:
    if text_format is not None and text_format != SynthesizeTextFormat.TEXT:
        raise RequestRefused(400, "Only plain text is spoken here, no SSML.", wire_code="unsupported_text_format")
