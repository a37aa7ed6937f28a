"""A request for speech → its sound as it is finished, or an error; a sound that breaks off never looks whole."""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import logging
from collections.abc import AsyncIterator, Mapping

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from registry.errors import VoiceJobsError
from registry.jobs.values import Job
from runner.serve.context import JOB_HEADER, ServeContext, for_client
from runner.serve.errors import openai_error
from runner.serve.openai.audio_encoder import MEDIA_TYPES, Samples, StreamEncoder
from runner.serve.openai.speech_job import SpeechJobs
from runner.serve.openai.speech_request import SpeechRequest

logger = logging.getLogger(__name__)


class SpeechAnswer(Response):
    """An answer that begins with the first sound, so that everything wrong before has a status of its own."""

    def __init__(self, wanted: SpeechRequest, jobs: SpeechJobs, context: ServeContext) -> None:
        super().__init__()
        self._wanted, self._jobs, self._context = wanted, jobs, context

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        await for_client(receive, lambda: self._speak(send))

    async def _speak(self, send: Send) -> None:
        job = await self._jobs.find_or_drop(self._wanted)
        async with self._jobs.listening(job), contextlib.aclosing(self._jobs.sound(job)) as sound:
            first = await anext(sound)  # errors up to here are answers
            await send({"type": "http.response.start", "status": 200, "headers": self._headers_of(job)})
            try:
                async for content in self._encoded(first, sound):
                    await send({"type": "http.response.body", "body": content, "more_body": True})
            except VoiceJobsError as error:
                logger.warning("the sound of %s broke off: %s", job.name, error)
                if self._wanted.is_sse:
                    event = {"type": "error", "error": openai_error(error)}
                    await send({"type": "http.response.body", "body": _event(event), "more_body": True})
                return  # without its end: the connection is broken, so that this does not pass for all of it
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _headers_of(self, job: Job) -> list[tuple[bytes, bytes]]:
        media_type = "text/event-stream" if self._wanted.is_sse else MEDIA_TYPES[self._wanted.format]
        headers = {
            "content-type": media_type,
            "cache-control": "no-cache",
            "x-accel-buffering": "no",
            JOB_HEADER.lower(): job.name,
        }
        return [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]

    async def _encoded(self, first: Samples, sound: AsyncIterator[Samples]) -> AsyncIterator[bytes]:
        in_thread = self._context.in_thread
        encoder = await in_thread(lambda: StreamEncoder(self._wanted.format, speed=self._wanted.speed))
        piece: Samples | None = first
        while piece is not None:
            add = functools.partial(encoder.add, piece)
            content = add() if encoder.is_quick else await in_thread(add)
            if content:
                yield self._packed(content)
            piece = await anext(sound, None)
        if content := await in_thread(encoder.end):
            yield self._packed(content)
        if self._wanted.is_sse:
            words = len(self._wanted.text.split())
            usage = {"input_tokens": words, "output_tokens": 0, "total_tokens": words}
            yield _event({"type": "speech.audio.done", "usage": usage})

    def _packed(self, content: bytes) -> bytes:
        if not self._wanted.is_sse:
            return content
        return _event({"type": "speech.audio.delta", "audio": base64.b64encode(content).decode()})


def _event(content: Mapping[str, object]) -> bytes:
    return f"data: {json.dumps(content)}\n\n".encode()
