"""`POST /v1/audio/transcriptions` → the words of a recording, as OpenAI's clients read them."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
from python_multipart.multipart import parse_options_header
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from models.languages import canonical_language
from registry.errors import VoiceJobsError
from runner.names import printable_name
from runner.serve.context import JOB_HEADER, ServeContext, for_client
from runner.serve.errors import RequestRefused
from runner.serve.jobs.transcription import SRT, VTT, HeardFile, phrases, require_recogniser, transcribed
from runner.serve.jobs.uploads import Parts, malformed, new_folder, receive_parts

FORMATS = ("json", "text", "srt", "verbose_json", "vtt")
FILE_PART, FILE_NAME = "file", "recording"
MOST_FIELD_BYTES = 64 << 10


class Form(Parts):
    """Receiver of a request's fields, in memory, and of its recording, in a file with a name of our own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.fields: dict[str, bytearray] = {}

    def on_headers_finished(self) -> None:
        _, options = parse_options_header(self._header.get("content-disposition", b""))
        part = options.get(b"name", b"").decode("utf-8", "replace")
        if part == FILE_PART:
            self._target = self._new_file(FILE_NAME)
        else:
            self._target = self.fields[part] = bytearray()

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if isinstance(self._target, bytearray) and len(self._target) + end - start > MOST_FIELD_BYTES:
            raise malformed("A field of the request is too long.")
        super().on_part_data(data, start, end)

    def text(self, name: str) -> str:
        """A field's text; "" where it was not sent."""
        return bytes(self.fields.get(name, b"")).decode("utf-8", "replace").strip()


@dataclass(frozen=True)
class TranscriptionApi:
    """The answers to requests for transcription."""

    context: ServeContext

    def routes(self) -> list[Route]:
        """Paths and methods."""
        return [Route("/v1/audio/transcriptions", self.transcribe, methods=["POST"])]

    async def transcribe(self, request: Request) -> Response:
        """The words of a recording, once they are heard."""
        require_recogniser(self.context)
        await self.context.require_runner()
        kind, options = parse_options_header(request.headers.get("content-type", "").encode())
        if kind != b"multipart/form-data":
            raise _wrong("A recording is sent as multipart/form-data, in the part `file`.", FILE_PART)
        folder = await self.context.in_thread(lambda: new_folder(self.context.instance.state_dir))
        try:
            form = Form(folder)
            await receive_parts(request, options.get(b"boundary", b""), form, self.context)
            wanted, language = _checked(form)
        except BaseException:
            await _remove(self.context, folder)
            raise
        return _Answer(self.context, folder, wanted, language)


def _checked(form: Form) -> tuple[str, str | None]:
    """Format and language of a request. Raises RequestRefused."""
    if FILE_NAME not in form.attachments:
        raise _wrong("The request has no part `file` with a recording.", FILE_PART)
    wanted = form.text("response_format") or FORMATS[0]
    if wanted not in FORMATS:
        said = f"response_format = {printable_name(wanted)[:40]!r} is not one of {', '.join(FORMATS)}."
        raise _wrong(said, "response_format")
    if form.text("stream").lower() in ("true", "1"):
        raise _wrong("A transcription is not streamed: leave out `stream`.", "stream")
    if not (language := form.text("language")):
        return wanted, None
    try:
        return wanted, canonical_language(language[:100])
    except VoiceJobsError as error:
        raise _wrong(str(error), "language") from None


def _wrong(message: str, param: str) -> RequestRefused:
    return RequestRefused(400, message, wire_code="invalid_value", param=param)


async def _remove(context: ServeContext, folder: Path) -> None:
    with anyio.CancelScope(shield=True):
        await context.in_thread(lambda: shutil.rmtree(folder, ignore_errors=True))


class _Answer(Response):
    """The answer once the recording is heard; a client that goes has its job cancelled."""

    def __init__(self, context: ServeContext, folder: Path, wanted: str, language: str | None) -> None:
        super().__init__()
        self.context, self.folder, self.wanted, self.language = context, folder, wanted, language

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer: Response | None = None

        async def hear() -> None:
            nonlocal answer
            heard = await transcribed(self.context, self.folder / FILE_NAME, language=self.language)
            answer = await _SHAPES[self.wanted](heard)
            answer.headers[JOB_HEADER] = heard.job.name

        try:
            await for_client(receive, hear)
        finally:
            await _remove(self.context, self.folder)
        if answer is not None:
            await answer(scope, receive, send)


async def _json(heard: HeardFile) -> Response:
    return JSONResponse({"text": _text(await heard.words()), "usage": _usage(heard)})


async def _plain(heard: HeardFile) -> Response:
    return PlainTextResponse(_text(await heard.words()) + "\n")


async def _srt(heard: HeardFile) -> Response:
    return PlainTextResponse(await heard.text_of(SRT))


async def _vtt(heard: HeardFile) -> Response:
    return PlainTextResponse(await heard.text_of(VTT), media_type="text/vtt")


async def _verbose(heard: HeardFile) -> Response:
    words, facts = await heard.words(), heard.facts
    found = {
        "task": "transcribe",
        "language": facts["language"],
        "duration": facts["duration_s"],
        "text": _text(words),
        "segments": [_segment(number, phrase, facts["confidence"]) for number, phrase in enumerate(phrases(words))],
        "words": [{"word": word["word"], "start": word["start_s"], "end": word["end_s"]} for word in words],
        "usage": _usage(heard),
    }
    return Response(json.dumps(found, ensure_ascii=False), media_type="application/json")


def _segment(number: int, phrase: list[dict[str, Any]], confidence: float) -> dict[str, Any]:
    """A phrase; figures that only Whisper itself has are nothing here, and clients want them to be numbers."""
    return {
        "id": number,
        "seek": 0,
        "start": phrase[0]["start_s"],
        "end": phrase[-1]["end_s"],
        "text": " ".join(word["word"] for word in phrase),
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": round(math.log(max(confidence, 1e-3)), 3),
        "compression_ratio": 0.0,
        "no_speech_prob": 0.0,
    }


def _text(words: list[dict[str, Any]]) -> str:
    return " ".join(word["word"] for word in words)


def _usage(heard: HeardFile) -> dict[str, Any]:
    return {"type": "duration", "seconds": math.ceil(heard.facts["duration_s"])}


_SHAPES: dict[str, Callable[[HeardFile], Awaitable[Response]]] = {
    "json": _json,
    "text": _plain,
    "srt": _srt,
    "verbose_json": _verbose,
    "vtt": _vtt,
}
