"""An instance → its open stores, its outbox and the time of day, which the parts of the worker share."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from registry.jobs.takes import TakeStore
from registry.storage.database import Database
from registry.storage.object_store import ObjectStore
from runner.config.instance import Instance
from runner.config.settings import Settings
from runner.outbox.outbox import Outbox
from runner.scheduling.voice_resolution import ModelNames


@dataclass(frozen=True, kw_only=True)
class Context:
    """One open instance."""

    instance: Instance
    database: Database
    objects: ObjectStore
    takes: TakeStore
    outbox: Outbox
    clock: Callable[[], float] = field(default=time.time)  # epoch seconds; deadlines use the monotonic `now_s` of ticks

    @property
    def settings(self) -> Settings:
        return self.instance.settings

    @property
    def models(self) -> ModelNames:
        return ModelNames(self.instance)


def open_context(instance: Instance, *, clock: Callable[[], float] = time.time) -> Context:
    """Open an instance's database and stores, creating what is missing."""
    instance.prepare()
    return Context(
        instance=instance,
        database=Database.open(instance.database_path, root=instance.root),
        objects=ObjectStore(instance.objects_dir),
        takes=TakeStore(ObjectStore(instance.takes_dir)),
        outbox=Outbox.of(instance),
        clock=clock,
    )
