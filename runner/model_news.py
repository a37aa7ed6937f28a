"""What was done to have a model → the ledger's events and the receipts of the jobs that waited for it."""

from __future__ import annotations

import logging

from registry import jobs
from runner.context import Context
from runner.floor import Floor
from runner.model_loader import ModelLoader

logger = logging.getLogger(__name__)


def note_news(*, context: Context, loader: ModelLoader, floor: Floor) -> None:
    """Events of the thread that prepares a model: to the log, and beside the jobs that wait for it."""
    while not loader.news.empty():
        wanted, event = loader.news.get()
        model = event.model or wanted
        logger.info("%s", event.message if model in event.message else f"model {model}: {event.message}")
        with context.database.write() as session:
            for job_id in _jobs_for(wanted, floor):
                kind, now_s = f"model-{event.kind}", context.clock()
                jobs.add_event(session, job_id, kind=kind, message=event.message, at_s=now_s)


def note_load(*, context: Context, loader: ModelLoader, floor: Floor) -> None:
    """A model was loaded: its moves, its download and scarce memory go into the receipts of the jobs that waited."""
    warnings, waited = loader.take_warnings(), _jobs_for(loader.loaded, floor)
    if not warnings or not waited:
        return
    with context.database.write() as session:
        for job_id in waited:
            for warning in warnings:
                jobs.add_warning(session, job_id, warning)


def _jobs_for(model: str | None, floor: Floor) -> list[int]:
    return [active.job.id for active in floor.jobs.values() if active.model == model]
