"""`/v1/models`, `/v1/audio/voices` and their like → lists as OpenAI's clients and Open WebUI read them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from models.engine_kinds import DRAFT
from models.store.catalog import entry_named
from registry.storage.session import Session
from registry.voices.lookup import list_voices
from runner.names import PRESET_NAMES
from runner.scheduling.voice_resolution import SPEAKER_OF_PRESET, sibling_for
from runner.serve.context import ServeContext
from runner.serve.errors import RequestRefused

PAGE = 500
PRESETS = tuple(name for name in PRESET_NAMES if name not in SPEAKER_OF_PRESET.values())  # each speaker once


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
            Route("/v1/audio/transcriptions", self.transcribe, methods=["POST"]),
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
        names = await self.context.read(self._voice_names)
        voices = [{"id": name, "name": name} for name in dict.fromkeys(names)]
        return JSONResponse({"voices": voices, "object": "list", "data": voices})

    async def transcribe(self, _request: Request) -> Response:
        """The refusal to transcribe: no recogniser is there."""
        said = "No recogniser is installed, so nothing can be transcribed."
        raise RequestRefused(503, said, wire_code="no_recogniser")

    def _names(self) -> list[str]:
        own = self.context.instance.settings.model
        return list(dict.fromkeys([own, *self.context.settings.models]))

    def _voice_names(self, session: Session) -> list[str]:
        names = list(self.context.settings.voices)
        after = ""
        while page := list_voices(session, after=after, limit=PAGE):
            names += [voice.name for voice in page if voice.current is not None]
            after = page[-1].name
        return [*names, *(PRESETS if self._has_presets() else ())]

    def _has_presets(self) -> bool:
        model = self.context.instance.settings.model
        if model in (DRAFT.name, "default"):
            return True
        entry = entry_named(sibling_for(model, "presets"))
        return entry is not None and "presets" in entry.abilities


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "voicejobs"}
