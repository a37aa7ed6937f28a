"""The model that the next work needs → loaded in the engine process, fetched or adopted first where it must be.

Fetching happens in a thread, so that the runner goes on watching; everything else is the engine client's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue

from models.events import ModelEvent, OnEvent, ignore_events
from models.protocol import EngineFacts
from registry.errors import VoiceJobsError
from registry.job_values import JobError
from runner.engine_client import EngineClient, EngineLost
from runner.instance import Instance
from runner.model_choice import DRAFT, engine_choice, is_test_engine
from runner.resolution import ModelNames

LOAD_TRIES = 3  # deaths or retryable failures before the jobs that need the model fail
PROGRESS_EVERY_S = 15.0  # between two events of a download in the ledger
LOAD_PAUSE_S = 1.0  # before the second try; twice as long before the third


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A model whose weights lie on this disk, or why they do not."""

    name: str
    folder: Path | None = None
    warnings: tuple[str, ...] = ()
    error: VoiceJobsError | None = None


@dataclass
class ModelLoader:
    """Keeps one model loaded: the one last wanted."""

    instance: Instance
    engine: EngineClient
    wake: Callable[[], None]  # called from the thread when it is done
    wanted: str | None = None
    loaded: str | None = None  # the name of the model that is ready for work
    warnings: list[str] = field(default_factory=list)  # about the model just loaded, for its jobs' receipts
    news: SimpleQueue[ModelEvent] = field(default_factory=SimpleQueue)  # from the thread, for the ledger
    _tries: int = 0
    _not_before_s: float = 0.0
    _thread: threading.Thread | None = None
    _prepared: Prepared | None = None

    @property
    def facts(self) -> EngineFacts | None:
        return self.engine.facts if self.engine.state == "ready" else None

    def is_ready_for(self, name: str) -> bool:
        """Whether work for this model can be handed over now."""
        return self.loaded == name and self.engine.state == "ready"

    @property
    def is_busy(self) -> bool:
        """Whether a model is on its way."""
        return self._thread is not None or self.engine.state == "loading"

    def want(self, name: str, *, now_s: float) -> None:
        """Have this model loaded; nothing may be in flight when it is another one than before."""
        if name != self.wanted:
            self.wanted, self._tries, self._not_before_s = name, 0, 0.0
        if self.is_ready_for(name) or self.is_busy or now_s < self._not_before_s:
            return
        self.loaded = None
        if name == DRAFT or is_test_engine(name):
            self._load(Prepared(name=name))
            return
        self._thread = threading.Thread(target=self._prepare, args=(name,), name="model", daemon=True)
        self._thread.start()

    def next_try_s(self) -> float | None:
        """When a load that failed is tried again."""
        return self._not_before_s if self.loaded is None and self._not_before_s else None

    def tick(self, *, now_s: float) -> JobError | None:
        """Go on once the thread is done; returns why the wanted model cannot be had."""
        prepared = self._prepared
        if self._thread is None or prepared is None:
            return None
        self._thread.join()
        self._thread = self._prepared = None
        if prepared.name != self.wanted:
            return None  # something else is wanted by now
        if prepared.error is not None:
            return self._failure(_job_error(prepared.error), retryable=prepared.error.retryable, now_s=now_s)
        self._load(prepared)
        return None

    def on_ready(self) -> None:
        """The engine has loaded what was asked for."""
        self.loaded, self._tries, self._not_before_s = self.wanted, 0, 0.0
        self.warnings += self.engine.facts.warnings if self.engine.facts else ()

    def on_failed(self, error: JobError, *, retryable: bool, now_s: float) -> JobError | None:
        """The engine could not load it; returns the error once no further try is worth it."""
        self.loaded = None
        return self._failure(error, retryable=retryable, now_s=now_s)

    def on_lost(self, lost: EngineLost, *, now_s: float) -> JobError | None:
        """The engine is gone; returns an error when it keeps dying while it loads."""
        self.loaded = None
        if not lost.was_loading:
            return None
        error = JobError(
            code="engine-failure",
            message=f"The engine died while it loaded {self.wanted}: {lost.detail}",
            hint="`voicejobs doctor` checks the engines; the engine's log lies in the instance's logs folder.",
        )
        return self._failure(error, retryable=True, now_s=now_s)

    def _failure(self, error: JobError, *, retryable: bool, now_s: float) -> JobError | None:
        self._tries += 1
        if retryable and self._tries < LOAD_TRIES:
            self._not_before_s = now_s + LOAD_PAUSE_S * 2 ** (self._tries - 1)
            return None
        self.wanted = None
        return error

    def _load(self, prepared: Prepared) -> None:
        self.warnings = list(prepared.warnings)
        choice = engine_choice(prepared.name, settings=self.instance.settings, folder=prepared.folder)
        self.engine.load(choice)

    def take_warnings(self) -> list[str]:
        """What is to be said of the load in the receipts of the jobs that waited for it, once."""
        warnings, self.warnings = self.warnings, []
        return warnings

    def _tell(self, event: ModelEvent) -> None:
        self.news.put(event)
        self.wake()

    def _prepare(self, name: str) -> None:
        """In the thread: make the weights lie on this disk."""
        try:
            self._prepared = prepare_model(name, instance=self.instance, on_event=self._tell)
        except VoiceJobsError as error:
            self._prepared = Prepared(name=name, error=error)
        except Exception as error:  # the edge of a thread: nobody above would hear of it
            self._prepared = Prepared(name=name, error=VoiceJobsError(f"{name} cannot be prepared: {error!r}."))
        self.wake()


def prepare_model(name: str, *, instance: Instance, on_event: OnEvent = ignore_events) -> Prepared:
    """Find, adopt or download a model, and look whether memory suffices. Raises an error of the tree."""
    from models.memory import memory_verdict
    from models.prepare import ensure_model

    settings = instance.settings
    model = ensure_model(
        name,
        directory=ModelNames(instance).models_dir,
        migrate=settings.migrate,
        offline=settings.offline,
        on_event=on_event,
        progress_every_s=PROGRESS_EVERY_S,
    )
    warnings: list[str] = []
    if model.folder is not None:
        verdict = memory_verdict(model.folder, factor=settings.memory_factor, policy=settings.memory_check)
        if verdict.warning:
            warnings.append(verdict.warning)
    return Prepared(name=name, folder=model.folder, warnings=(*model.actions_done, *warnings))


def _job_error(error: VoiceJobsError) -> JobError:
    return JobError(code=error.code, message=error.message, hint=error.hint)
