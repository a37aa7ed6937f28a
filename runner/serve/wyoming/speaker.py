"""Texts of a connection, one after another → events with their sound."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.tts import SynthesizeStopped, SynthesizeVoice

from models.protocol import SAMPLE_RATE_HZ
from models.text.markup import words_in
from models.text.sentences import PAUSES_S
from models.text.spoken_form import speaks
from runner.serve.context import ServeContext
from runner.serve.openai.speech_request import speech_request_from
from runner.serve.voice_list import listed_voices
from runner.serve.wyoming.description import ChosenVoice, choose_voice
from runner.serve.wyoming.frames import Frames

if TYPE_CHECKING:
    from runner.serve.openai.speech_job import SpeechJobs

AT_END_S = 0.3  # of silence: some players cut off the last word
RATE_HZ, SAMPLE_BYTES, CHANNELS = SAMPLE_RATE_HZ, 2, 1


@dataclass(frozen=True)
class Utterance:
    """One request: its voice, and its texts as they become known."""

    voice: SynthesizeVoice | None
    texts: MemoryObjectReceiveStream[str]
    is_streamed: bool = False


class Speaker:
    """The one who speaks on a connection; `on_sound` is called for every piece that is sent."""

    def __init__(
        self,
        frames: Frames,
        context: ServeContext,
        speech_jobs: Callable[[], SpeechJobs],
        *,
        on_sound: Callable[[], None],
    ) -> None:
        self._frames, self._context, self._speech_jobs = frames, context, speech_jobs
        self._on_sound = on_sound
        self._has_begun = False
        self._current: anyio.CancelScope | None = None

    @property
    def is_speaking(self) -> bool:
        """Whether a request is being answered; it may be waiting for more of its text."""
        return self._current is not None

    def be_quiet(self) -> None:
        """Break off what is being spoken."""
        if self._current is not None:
            self._current.cancel()

    async def speak(self, utterance: Utterance) -> None:
        """Answer one request. Raises what `SpeechJobs` raises, and what sending raises."""
        self._has_begun = False
        with anyio.CancelScope() as scope:
            self._current = scope
            await self._speak_texts(utterance)
        self._current = None
        if self._has_begun:
            await self._frames.send(AudioStop().event())
        if utterance.is_streamed or scope.cancelled_caught:
            await self._frames.send(SynthesizeStopped().event())

    async def _speak_texts(self, utterance: Utterance) -> None:
        chosen: ChosenVoice | None = None
        with utterance.texts:
            async for text in utterance.texts:
                if not speaks(words_in(text).text):
                    continue
                chosen = chosen or await self._choose(utterance.voice)
                if self._has_begun:
                    await self._send(_silence(PAUSES_S["sentence"]))
                async for sound in self._sound(text, chosen):
                    await self._send(sound)
        await self._send(_silence(AT_END_S))

    async def _choose(self, wanted: SynthesizeVoice | None) -> ChosenVoice:
        if wanted is not None and wanted.name:
            return choose_voice(wanted, ())
        voices = await self._context.read(lambda session: listed_voices(session, self._context.instance))
        return choose_voice(wanted, voices)

    async def _sound(self, text: str, chosen: ChosenVoice) -> AsyncIterator[bytes]:
        body = {"input": text, "voice": chosen.name, "language": chosen.language}
        jobs = self._speech_jobs()
        job = await jobs.find_or_drop(speech_request_from(body, self._context.settings))
        async with jobs.listening(job), contextlib.aclosing(jobs.sound(job)) as sound:
            async for samples in sound:
                yield samples.astype("<i2").tobytes()

    async def _send(self, sound: bytes) -> None:
        if not self._has_begun:
            self._has_begun = True
            await self._frames.send(AudioStart(rate=RATE_HZ, width=SAMPLE_BYTES, channels=CHANNELS).event())
        chunk = AudioChunk(rate=RATE_HZ, width=SAMPLE_BYTES, channels=CHANNELS, audio=sound)
        await self._frames.send(chunk.event())
        self._on_sound()


def _silence(duration_s: float) -> bytes:
    return bytes(round(duration_s * RATE_HZ) * SAMPLE_BYTES)
