"""The engine's messages → results of lines in flight, the state of the model loader, news for the jobs that wait.

How a model was had is told to the jobs that waited for it, in the ledger's events and in receipts.
"""

from __future__ import annotations

import logging
import selectors
import time
from collections.abc import Iterator
from dataclasses import dataclass

from models.processes.wire import LoadFailed
from models.protocol import EngineFacts, LockDone, Progress, SpeechDone, SpeechPiece, WorkFailed
from registry.jobs import jobs
from registry.jobs.values import JobError
from runner.engine.client import EngineClient, EngineEvent, EngineLost, EngineReady
from runner.engine.model_loader import ModelLoader
from runner.outbox.progress_file import ProgressWriter
from runner.worker.context import Context
from runner.worker.events import EngineDied, Events
from runner.worker.in_flight import InFlight

logger = logging.getLogger(__name__)

LISTEN_S = 0.05  # at most, to an engine that answers at once


@dataclass(kw_only=True)
class EngineListener:
    """Passes on the messages of the engine and of the threads that fetch models."""

    context: Context
    engine: EngineClient
    loader: ModelLoader
    in_flight: InFlight
    progress: ProgressWriter
    events: Events
    _facts: EngineFacts | None = None  # of the model that was loaded last

    def tick(self, now_s: float) -> None:
        """Pass on everything since the last tick."""
        self._note_news()
        failed = self.loader.tick(now_s=now_s)
        for event in self._events(now_s):
            if isinstance(event, EngineReady):
                self._on_ready(event)
            elif isinstance(event, LoadFailed):
                error = JobError(code=event.code, message=event.message, hint=event.hint)
                failed += self.loader.on_failed(error, retryable=event.retryable, now_s=now_s)
            elif isinstance(event, EngineLost):
                self.events.append(EngineDied(self.loader.loaded or self.loader.loading, event.reason, event.detail))
                self.in_flight.on_lost(event)
                failed += self.loader.on_lost(event, now_s=now_s)
            elif isinstance(event, Progress):
                self.progress.note(event)
            elif isinstance(event, SpeechPiece):
                self.in_flight.on_piece(event)
            else:
                self._on_answer(event)
        for model in failed:
            self.in_flight.fail_model(model)
        self.progress.keep_only(self.in_flight.job_of_work)
        if self.progress.is_due(now_s):
            self.progress.write(self.in_flight.lines(), now_s=now_s)

    def only_loads(self, now_s: float) -> None:
        """Answers to work that was put aside find no owner; which model is loaded must be known all the same."""
        for event in self.engine.tick(now_s):
            if isinstance(event, EngineReady):
                self._on_ready(event)
            elif isinstance(event, EngineLost):
                self.loader.on_lost(event, now_s=now_s)

    def _events(self, now_s: float) -> Iterator[EngineEvent]:
        """The engine's messages; a fast one is listened to for a moment, since lines written together cost less."""
        end_s = time.monotonic() + LISTEN_S
        yield from self.engine.tick(now_s)
        while self.in_flight.expects_more and time.monotonic() < end_s and _is_readable(self.engine.fileno()):
            yield from self.engine.tick(now_s)

    def _on_ready(self, event: EngineReady) -> None:
        self.loader.on_ready()
        self._facts = event.facts
        self._note_load()

    def _note_news(self) -> None:
        """Pass on what the threads tell of models that they fetch: to the log, and to the jobs that wait for them."""
        while not self.loader.news.empty():
            wanted, event = self.loader.news.get()
            model = event.model or wanted
            logger.info("%s", event.message if model in event.message else f"model {model}: {event.message}")
            with self.context.database.write() as session:
                for job_id in self._jobs_for(wanted):
                    kind, now_s = f"model-{event.kind}", self.context.clock()
                    jobs.add_event(session, job_id, kind=kind, message=event.message, at_s=now_s)

    def _note_load(self) -> None:
        """Note the moves of a loaded model, its download and scarce memory in the receipts of the jobs that waited."""
        warnings, waited = self.loader.take_warnings(), self._jobs_for(self.loader.loaded)
        if not warnings or not waited:
            return
        with self.context.database.write() as session:
            for job_id in waited:
                for warning in warnings:
                    jobs.add_warning(session, job_id, warning)

    def _jobs_for(self, model: str | None) -> list[int]:
        return [active.job.id for active in self.in_flight.jobs.values() if active.model == model]

    def _on_answer(self, event: SpeechDone | LockDone | WorkFailed) -> None:
        if isinstance(event, WorkFailed):
            self.in_flight.on_work_failed(event)
            return
        # The engine may have died since it answered, so the client cannot be asked which model it was.
        assert self._facts is not None
        if isinstance(event, SpeechDone):
            self.in_flight.on_speech(event, self._facts)
        else:
            self.in_flight.on_lock(event, self._facts)


def _is_readable(descriptor: int | None) -> bool:
    """Whether there is something to read, waiting a moment for it."""
    if descriptor is None:
        return False
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        return bool(selector.select(LISTEN_S))
