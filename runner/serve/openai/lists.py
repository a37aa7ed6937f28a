"""`/v1/models`, `/v1/audio/voices` and their like → lists as OpenAI's clients and Open WebUI read them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from runner.serve.context import ServeContext
from runner.serve.errors import RequestRefused
from runner.serve.voice_list import listed_voices


@dataclass(frozen=True)
class ListsApi:
    """The answers about voices and models."""

    context: ServeContext

    def routes(self) -> list[Route]:
        """Paths and methods."""
        return [
            Route("/v1/models", self.models, methods=["GET"]),
            Route("/v1/models/{model:path}", self.model, methods=["GET"]),
            Route("/v1/audio/models", self.audio_models, methods=["GET"]),
            Route("/v1/audio/voices", self.voices, methods=["GET"]),
        ]

    async def models(self, _request: Request) -> Response:
        """The instance's model, and the other names of models."""
        return JSONResponse({"object": "list", "data": [_model(name) for name in self._names()]})

    async def model(self, request: Request) -> Response:
        """One of them."""
        name = request.path_params["model"]
        if name not in self._names():
            hint = f"Known are {', '.join(self._names())}."
            raise RequestRefused(
                404, f"There is no model {name!r}.", hint=hint, wire_code="model_not_found", param="model"
            )
        return JSONResponse(_model(name))

    async def audio_models(self, _request: Request) -> Response:
        """The same, as Open WebUI asks for them."""
        return JSONResponse({"models": [{"id": name, "name": name} for name in self._names()]})

    async def voices(self, _request: Request) -> Response:
        """Every voice that can be spoken with, as a person would type it."""
        found = await self.context.read(lambda session: listed_voices(session, self.context.instance))
        voices = [{"id": voice.id, "name": voice.id} for voice in found]
        return JSONResponse({"voices": voices, "object": "list", "data": voices})

    def _names(self) -> list[str]:
        own = self.context.instance.settings.model
        return list(dict.fromkeys([own, *self.context.settings.models]))


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "voicejobs"}
