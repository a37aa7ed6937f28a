"""The model that the next work needs → loaded in the engine process, fetched or adopted first where it must be.

Fetching happens in threads, one a model, so that the runner goes on watching, and speaking with the models that are
here; everything else is the engine client's.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue

from models.engine_kinds import kind_of_model
from models.protocol import EngineFacts
from models.store.events import ModelEvent, OnEvent, ignore_events
from registry.errors import VoiceJobsError
from registry.jobs.values import JobError
from runner.config.instance import Instance
from runner.config.model_names import engine_choice, further_voices
from runner.engine.client import EngineClient, EngineLost
from runner.engine.engine_python import check_python
from runner.engine.hub_watch import HubWatch
from runner.outbox.waits_file import ENGINE, MEMORY, MODEL, NETWORK, Wait, wait_for_error
from runner.text_format import counted

logger = logging.getLogger(__name__)


DEATH_HINT = "`voicejobs doctor --engine` tries the engines; the engine's log is in the instance's logs folder."
MEMORY_HINT = "Use a smaller model, or one with -8bit or -4bit in its name, or raise engine_memory_limit_bytes."
LOAD_TRIES = 3  # retryable failures before the jobs that need the model fail
LOAD_DEATHS = 8  # deaths of the engine over one model, in some two minutes, before they do
PROGRESS_EVERY_S = 15.0  # between two events of a download in the ledger
LOAD_PAUSE_S = 1.0  # before the second try; twice as long before the third, and so on …
LONGEST_LOAD_PAUSE_S = 60.0  # … up to this
LONGEST_NETWORK_PAUSE_S = 300.0  # … or this, for a hub that cannot be reached: when it answers, the next try is made
WAITED_FOR = ("hub-unreachable", "hub-refused")  # errors that no number of tries turns into a failure
GIVEN_UP_S = 60.0  # how long jobs that waited for a model fail for what it failed for, without another try
PATIENCE_S = 2.0  # what it may take to look at a model that is here: what takes longer holds nobody else up


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A model whose weights are on this disk, or why they are not."""

    name: str
    folder: Path | None = None
    warnings: tuple[str, ...] = ()
    error: VoiceJobsError | None = None


@dataclass(frozen=True, kw_only=True)
class FailedModel:
    """A model of which no further try is worth it, and why."""

    model: str
    error: JobError


@dataclass(kw_only=True)
class _Pursuit:
    """The efforts to have one model."""

    name: str
    since_s: float = 0.0  # when the present thread began
    tries: int = 0
    deaths: int = 0  # of the engine, among these
    wait: Wait | None = None  # for what the next try waits
    not_before_s: float = 0.0
    thread: threading.Thread | None = None
    prepared: Prepared | None = None  # set by the thread, and kept until the model is loaded

    @property
    def waits_for_network(self) -> bool:
        """Whether the next try comes after a pause, or sooner when the hub answers."""
        return self.thread is None and self.not_before_s > 0 and self.wait is not None and self.wait.what == NETWORK

    def is_long(self, now_s: float) -> bool:
        """Whether others should go on meanwhile: it is being fetched, or tried again in a while."""
        if self.thread is not None:
            return self.tries > 0 or now_s - self.since_s > PATIENCE_S
        return now_s < self.not_before_s


@dataclass(frozen=True, kw_only=True)
class _GivenUp:
    """A model that failed, and the jobs that fail with it: those claimed before."""

    failed: FailedModel
    at_s: float  # epoch
    until_s: float  # monotonic


@dataclass
class ModelLoader:
    """Keeps one model loaded: the one last wanted."""

    instance: Instance
    engine: EngineClient
    wake: Callable[[], None]  # called from the thread when it is done
    loaded: str | None = None  # the name of the model that is ready for work
    loading: str | None = None  # the one that the engine was asked for last, until it has answered
    warnings: list[str] = field(default_factory=list)  # about the model just loaded, for its jobs' receipts
    news: SimpleQueue[tuple[str, ModelEvent]] = field(default_factory=SimpleQueue)  # of a model, for the ledger
    prepare: Callable[..., Prepared] = field(default_factory=lambda: prepare_model)
    clock: Callable[[], float] = time.time  # of claims
    may_load: Callable[[Path | None, float], bool] = lambda _folder, _now_s: True  # whether memory is free for it now
    hub_watch: HubWatch = field(init=False)
    _pursuits: dict[str, _Pursuit] = field(default_factory=dict)
    _given_up: dict[str, _GivenUp] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.hub_watch = HubWatch(self.wake)

    @property
    def facts(self) -> EngineFacts | None:
        return self.engine.facts if self.engine.state == "ready" else None

    def is_ready_for(self, name: str) -> bool:
        """Whether work for this model can be handed over now."""
        return self.loaded == name and self.engine.state == "ready"

    def absent(self, *, now_s: float) -> frozenset[str]:
        """The models that it takes long to have: their jobs wait, the others do not."""
        return frozenset(name for name, pursuit in self._pursuits.items() if pursuit.is_long(now_s))

    def waits(self, *, now_s: float) -> dict[str, Wait]:
        """Models that cannot speak at this moment, and why."""
        found = {}
        for name, pursuit in self._pursuits.items():
            if pursuit.wait is not None and (pursuit.thread is not None or pursuit.not_before_s):
                found[name] = pursuit.wait  # else nobody has wanted the next try
            elif pursuit.is_long(now_s):
                found[name] = Wait(MODEL, f"{name} is being fetched.")
        if self.loading is not None:
            found.setdefault(self.loading, Wait(ENGINE, f"{self.loading} is being loaded."))
        return found

    def unreachable(self) -> frozenset[str]:
        """The models for which the network was tried in vain as often as any fault is: `run --once` waits no longer."""
        found = (pursuit for pursuit in self._pursuits.values() if pursuit.waits_for_network)
        return frozenset(pursuit.name for pursuit in found if pursuit.tries >= LOAD_TRIES)

    def given_up(self, name: str | None, *, claimed_s: float, now_s: float) -> FailedModel | None:
        """Failure of a model over a job that waited for it; None when it is worth a try."""
        found = self._given_up.get(name or "")
        if found is None:
            return None
        if now_s < found.until_s and claimed_s <= found.at_s:
            return found.failed
        del self._given_up[found.failed.model]
        return None

    def try_all_again(self) -> None:
        """Somebody wants jobs tried again: no model is given up any more, and none waits for its next try."""
        self._given_up.clear()
        for pursuit in self._pursuits.values():
            pursuit.not_before_s = 0.0

    def fetch(self, name: str, *, now_s: float) -> bool:
        """Bring the weights to this disk, whatever the engine does meanwhile; returns whether they are here."""
        pursuit = self._pursuits.setdefault(name, _Pursuit(name=name))
        if pursuit.thread is not None or now_s < pursuit.not_before_s:
            return False
        if pursuit.prepared is None and not (kind := kind_of_model(name)).has_weights:
            pursuit.prepared = Prepared(name=name, folder=further_voices(kind, self.instance))
        if pursuit.prepared is None:
            pursuit.since_s = now_s
            pursuit.thread = threading.Thread(target=self._prepare, args=(pursuit,), name="model", daemon=True)
            pursuit.thread.start()
        return pursuit.thread is None

    def want(self, name: str, *, now_s: float) -> None:
        """Have this model loaded; nothing may be in flight when it is another one than before."""
        if self.is_ready_for(name) or self.engine.state == "loading" or not self.fetch(name, now_s=now_s):
            return
        pursuit = self._pursuits[name]
        assert pursuit.prepared is not None
        if not self.may_load(pursuit.prepared.folder, now_s):
            return
        self._load(pursuit.prepared)
        pursuit.prepared = None  # if that fails, it is looked for again

    def next_try_s(self) -> float | None:
        """Time of the next try at a model that could not be had, or of the next question to the hub."""
        waiting = [pursuit for pursuit in self._pursuits.values() if pursuit.thread is None]
        dues = [pursuit.not_before_s for pursuit in waiting if pursuit.not_before_s]
        if any(
            pursuit.waits_for_network and pursuit.not_before_s > self.hub_watch.next_look_s() for pursuit in waiting
        ):
            dues.append(self.hub_watch.next_look_s())
        return min(dues, default=None)

    def tick(self, *, now_s: float) -> list[FailedModel]:
        """Go on once threads are done; returns which models cannot be had, and why."""
        lost = []
        self._look_at_hub(now_s)
        for pursuit in list(self._pursuits.values()):
            prepared = pursuit.prepared
            if pursuit.not_before_s <= now_s:
                pursuit.not_before_s = 0.0
            if pursuit.thread is None or prepared is None:
                continue
            pursuit.thread.join()
            pursuit.thread = None
            if prepared.error is None:
                pursuit.wait = None
            else:
                pursuit.prepared = None
                error = JobError.of(prepared.error)
                if error.code in WAITED_FOR:
                    self._wait_for_network(pursuit, error, now_s=now_s)
                    continue
                tries = LOAD_TRIES if prepared.error.retryable else 1
                lost += self._failure(prepared.name, error, tries=tries, now_s=now_s)
        return lost

    def _wait_for_network(self, pursuit: _Pursuit, error: JobError, *, now_s: float) -> None:
        """Try again after a pause, for as long as it takes."""
        pursuit.tries += 1
        pursuit.not_before_s = now_s + min(LONGEST_NETWORK_PAUSE_S, LOAD_PAUSE_S * 2 ** min(pursuit.tries - 1, 10))
        wait = wait_for_error(error)
        if wait != pursuit.wait:
            logger.warning("%s waits for the network: %s", pursuit.name, error.message)
        pursuit.wait = wait

    def _look_at_hub(self, now_s: float) -> None:
        """Try at once what waited for the network, when the hub answers again."""
        waiting = [pursuit for pursuit in self._pursuits.values() if pursuit.waits_for_network]
        if waiting and self.hub_watch.is_back(now_s):
            logger.info("the model hub answers again")
            for pursuit in waiting:
                pursuit.not_before_s = now_s

    def on_ready(self) -> None:
        """The engine has loaded what was asked for."""
        self.loaded, self.loading = self.loading, None
        self._pursuits.pop(self.loaded or "", None)
        self.warnings += self.engine.facts.warnings if self.engine.facts else ()

    def on_failed(self, error: JobError, *, retryable: bool, now_s: float) -> list[FailedModel]:
        """The engine could not load it; returns the error once no further try is worth it."""
        name, self.loaded, self.loading = self.loading, None, None
        tries = LOAD_TRIES if retryable else 1
        return self._failure(name, error, tries=tries, now_s=now_s) if name is not None else []

    def on_lost(self, lost: EngineLost, *, now_s: float) -> list[FailedModel]:
        """The engine is gone; returns an error when it keeps dying while it loads."""
        name, self.loaded, self.loading = self.loading, None, None
        if not lost.was_loading or name is None:
            return []
        pursuit = self._pursuits.setdefault(name, _Pursuit(name=name))
        pursuit.deaths += 1
        said = counted(pursuit.deaths, "time")
        error = JobError(
            code="engine-failure",
            message=f"{name} cannot be loaded: the engine died over it, {said} so far. {lost.detail}",
            hint=MEMORY_HINT if lost.reason == MEMORY else DEATH_HINT,
        )
        what = MEMORY if lost.reason == MEMORY else ENGINE
        return self._failure(name, error, tries=LOAD_DEATHS, now_s=now_s, what=what)

    def _failure(
        self, name: str, error: JobError, *, tries: int, now_s: float, what: str = ENGINE
    ) -> list[FailedModel]:
        """Try again after a pause, `tries` times at most."""
        pursuit = self._pursuits.setdefault(name, _Pursuit(name=name))
        pursuit.tries += 1
        if pursuit.tries < tries:
            pursuit.not_before_s = now_s + min(LONGEST_LOAD_PAUSE_S, LOAD_PAUSE_S * 2 ** (pursuit.tries - 1))
            pursuit.wait = wait_for_error(error, otherwise=what)
            logger.warning("%s is tried again in a while: %s", name, error.message)
            return []
        del self._pursuits[name]
        failed = FailedModel(model=name, error=error)
        self._given_up[name] = _GivenUp(failed=failed, at_s=self.clock(), until_s=now_s + GIVEN_UP_S)
        return [failed]

    def _load(self, prepared: Prepared) -> None:
        self.warnings = list(prepared.warnings)
        choice = engine_choice(prepared.name, instance=self.instance, folder=prepared.folder)
        self.loaded, self.loading = None, prepared.name
        self.engine.load(choice)

    def take_warnings(self) -> list[str]:
        """Warnings about the load for the receipts of the jobs that waited for it, once."""
        warnings, self.warnings = self.warnings, []
        return warnings

    def _prepare(self, pursuit: _Pursuit) -> None:
        """In the thread: bring the weights to this disk."""
        name = pursuit.name

        def tell(event: ModelEvent) -> None:
            if event.kind == "progress":  # bytes come: it waits no more
                pursuit.wait = None
            self.news.put((name, event))
            self.wake()

        try:
            pursuit.prepared = self.prepare(name, instance=self.instance, on_event=tell)
        except VoiceJobsError as error:
            pursuit.prepared = Prepared(name=name, error=error)
        except Exception as error:  # the edge of a thread: nobody above would hear of it
            pursuit.prepared = Prepared(name=name, error=VoiceJobsError(f"{name} cannot be prepared: {error!r}."))
        self.wake()


def prepare_model(name: str, *, instance: Instance, on_event: OnEvent = ignore_events) -> Prepared:
    """Find, adopt or download a model, and look whether memory suffices. Raises an error of the tree."""
    from models.fetch.prepare import ensure_model
    from models.store.memory import memory_verdict
    from models.store.shared_directory import resolve_models_dir

    settings = instance.settings
    check_python(name, instance)
    model = ensure_model(
        name,
        directory=resolve_models_dir(configured=instance.models_dir),
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
