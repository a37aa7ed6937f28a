"""An open instance → the application that answers requests: routes, errors, and what runs beside them."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from registry.errors import VoiceJobsError
from runner.serve.access import Gatekeeper
from runner.serve.context import ServeContext
from runner.serve.jobs.api import JobsApi
from runner.serve.jobs.events import EventFeed
from runner.serve.metrics import MetricsApi
from runner.serve.openai.lists import ListsApi
from runner.serve.openai.speech_api import SpeechApi
from runner.serve.openai.transcription_api import TranscriptionApi
from runner.serve.openapi import openapi_routes
from runner.serve.page.pages import Pages
from runner.serve.wyoming.server import WyomingServer
from runner.version import VERSION

Task = Callable[[], Coroutine[Any, Any, None]]


def build_app(context: ServeContext, *, tasks: Sequence[Task] = (), wyoming: socket.socket | None = None) -> ASGIApp:
    """The whole application, with `tasks` that run as long as it does, and a socket that listens for Wyoming.

    A new part adds its routes here, and its own task if it has one.
    """
    feed = EventFeed(context)
    pages = Pages(context)
    speech = SpeechApi(context)
    parts = (JobsApi(context), feed, speech, TranscriptionApi(context), ListsApi(context), MetricsApi(context), pages)
    own_tasks: list[Task] = [context.watch.run, feed.run]
    if wyoming is not None:
        own_tasks.append(WyomingServer(context, wyoming, speech.jobs).run)

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with anyio.create_task_group() as group:
            for task in (*own_tasks, *tasks):
                group.start_soon(task)
            yield
            group.cancel_scope.cancel()
        context.database.close()

    async def health(_request: Request) -> Response:
        is_active = await context.runner_is_active()
        body = {"status": "ok" if is_active else "no runner", "runner": is_active, "version": VERSION}
        return JSONResponse(body, 200 if is_active else 503, headers={"Cache-Control": "no-store"})

    own = [route for part in parts for route in part.routes()]
    app = Starlette(
        routes=[Route("/health", health, methods=["GET"]), *openapi_routes(), *own],
        exception_handlers=dict.fromkeys((VoiceJobsError, HTTPException, Exception), pages.problem),
        lifespan=lifespan,
    )
    return Gatekeeper(app, context)
