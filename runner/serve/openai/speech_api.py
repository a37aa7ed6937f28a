"""`POST /v1/audio/speech` → the job that speaks, and its sound.

What speaks (NumPy, FFmpeg, the planner) is loaded with the first request: an idle server is small and starts at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from runner.serve.context import ServeContext
from runner.serve.jobs.uploads import read_body
from runner.serve.openai.speech_request import speech_request

if TYPE_CHECKING:
    from runner.serve.openai.speech_job import SpeechJobs

LARGEST_REQUEST_BYTES = 8 << 20


@dataclass
class SpeechApi:
    """The answers to requests for speech."""

    context: ServeContext
    _jobs: SpeechJobs | None = None

    def routes(self) -> list[Route]:
        """Paths and methods."""
        return [Route("/v1/audio/speech", self.speak, methods=["POST"])]

    async def speak(self, request: Request) -> Response:
        """The sound of a text."""
        content = await read_body(request, limit_bytes=LARGEST_REQUEST_BYTES)
        wanted = speech_request(content, self.context.settings)
        from runner.serve.openai.speech_answer import SpeechAnswer

        return SpeechAnswer(wanted, self.jobs(), self.context)

    def jobs(self) -> SpeechJobs:
        """The jobs that clients listen to, over HTTP or otherwise."""
        from runner.serve.openai.speech_job import SpeechJobs

        self._jobs = self._jobs or SpeechJobs(self.context)
        return self._jobs
