"""A model's name → a folder that an engine can load: used in place, adopted, moved, or downloaded once.

This module touches the disk and, unless that is forbidden, the network. It imports no mlx, and is called from a
thread of the runner.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from models.errors import ModelIncomplete, ModelNotInstalled, RepositoryNotFound
from models.fetch.download import PROGRESS_EVERY_S, download_model, tidy_records
from models.fetch.download_process import DownloadOrder, download_in_child
from models.fetch.hub import is_offline
from models.migrate.journal import Journal
from models.migrate.legacy_places import LegacyModel, Scan, scan_legacy
from models.migrate.migration import Plan, PlannedStep, done_message, finding_event, plan_of, recover, run_plan
from models.store import catalog
from models.store.availability import Availability, Available, Downloading, NotAvailable, Partial, availability
from models.store.companions import missing_companions
from models.store.deep_check import deeply_checked
from models.store.events import ModelEvent, OnEvent, ignore_events
from models.store.installed import ResolvedModel, installed_folders, resolve_model, revision_of
from models.store.safetensors_check import VerdictCache
from models.store.shared_directory import lock_of, make_directory
from models.store.upkeep import sweep_leftovers
from registry.durable_files import FileLock
from registry.errors import Busy, StorageError

AUTO = "auto"
ABANDONED_S = 86_400.0  # no record takes as long to write


@dataclass(frozen=True, kw_only=True)
class PreparedModel:
    """A model that can be loaded now. `folder` is None for an engine without weights; `actions_done`: for receipts."""

    id: str
    folder: Path | None
    revision: str | None
    state: Availability
    actions_done: tuple[str, ...] = ()


def ensure_model(
    name: str,
    *,
    directory: Path,
    migrate: str = AUTO,
    offline: bool = False,
    environ: Mapping[str, str] | None = None,
    ability: str = "clone",
    available_bytes: int | None = None,
    on_event: OnEvent = ignore_events,
    progress_every_s: float = PROGRESS_EVERY_S,
    own_process: bool = True,
) -> PreparedModel:
    """Make the model that `name` means loadable, and its companions, doing what that takes once for all who ask.

    With `migrate` "auto", Qwen3-TTS folders in legacy places of the same disk are renamed into the directory, and
    the wanted model is adopted from wherever it is; with "off" it is used in place. A download runs in a
    process of its own, whose `huggingface_hub` a runner need not carry for months. Raises UnknownModel,
    ModelNotInstalled (offline), ModelIncomplete, StorageError, or an error of `models.fetch.download`.
    """
    environ = os.environ if environ is None else environ
    offline = is_offline(environ, setting=offline)
    choice = resolve_model(name, directory=directory, ability=ability, available_bytes=available_bytes, offline=offline)
    if choice.folder is None:
        return PreparedModel(id=choice.id, folder=None, revision=None, state=Available("engine"))
    sweep_leftovers(directory, older_than_s=time.time() - ABANDONED_S)
    ensure = _Ensuring(directory, environ, on_event, progress_every_s, own_process, migrate, offline)
    return ensure.with_companions(ensure.model(choice))


def check_present(name: str, *, directory: Path) -> None:
    """Raise for a model on this disk that `ensure_model` and loading would refuse; changes nothing.

    Numbers that are not finite are known only where `models verify` has read them. Raises UnknownModel,
    ModelNotInstalled for a folder without a model, or ModelIncomplete.
    """
    choice = resolve_model(name, directory=directory)
    if choice.folder is None:
        return
    if choice.is_local:
        _checked(choice.folder, model_id=choice.id, actions=())
    cache = VerdictCache(directory)
    state = deeply_checked(choice.folder, availability(choice.folder), cache=cache, reads=False, reads_tokenizer=True)
    if isinstance(state, Partial):
        raise incomplete(choice.id, choice.folder, state)


def pull_model(
    name: str,
    *,
    directory: Path,
    migrate: str = AUTO,
    offline: bool = False,
    environ: Mapping[str, str] | None = None,
    revision: str | None = None,
    on_event: OnEvent = ignore_events,
    progress_every_s: float = PROGRESS_EVERY_S,
) -> PreparedModel:
    """Make a model loadable for `models pull`: as `ensure_model`, and a partial model is completed.

    With a `revision` that is not the installed one, that commit is fetched and takes the installed one's place.
    """
    environ = os.environ if environ is None else environ
    offline = is_offline(environ, setting=offline)
    choice = resolve_model(name, directory=directory, offline=offline)
    if choice.folder is None or choice.is_local:
        return ensure_model(name, directory=directory, environ=environ)
    wants_other = revision is not None and revision != revision_of(choice.folder)
    if not offline and (wants_other or isinstance(availability(choice.folder), Partial)):
        preparation = _Preparation(choice, directory, environ, on_event, progress_every_s)
        ensure = _Ensuring(directory, environ, on_event, progress_every_s, False, migrate, offline)
        return ensure.with_companions(preparation.complete(revision=revision))
    return ensure_model(
        name,
        directory=directory,
        migrate=migrate,
        offline=offline,
        environ=environ,
        on_event=on_event,
        progress_every_s=progress_every_s,
        own_process=False,
    )


@dataclass(frozen=True)
class _Ensuring:
    """How models are made loadable for one caller."""

    directory: Path
    environ: Mapping[str, str]
    on_event: OnEvent
    progress_every_s: float
    own_process: bool
    migrate: str
    offline: bool

    def model(self, choice: ResolvedModel, *, files: Sequence[str] = ()) -> PreparedModel:
        """One repository or folder; with `files`, patterns, only that part of it is fetched."""
        assert choice.folder is not None
        if choice.is_local:
            return _checked(choice.folder, model_id=choice.id, actions=[])
        actions: list[str] = []
        if self.migrate == AUTO:
            _migrate_speech_models(
                self.directory, environ=self.environ, besides=choice, on_event=self.on_event, actions=actions
            )
        if isinstance(availability(choice.folder), Available):
            return _checked(choice.folder, model_id=choice.id, actions=actions)
        preparation = _Preparation(
            choice,
            self.directory,
            self.environ,
            self.on_event,
            self.progress_every_s,
            self.own_process,
            actions,
            tuple(files),
        )
        return preparation.run(migrate=self.migrate, offline=self.offline)

    def with_companions(self, model: PreparedModel) -> PreparedModel:
        """The model, after its companions are here too. Raises ModelIncomplete, naming the one that cannot be had."""
        assert model.folder is not None
        actions = list(model.actions_done)
        for companion in list(missing_companions(model.folder, self.directory, model_id=model.id)):
            try:
                choice = resolve_model(companion.repository, directory=self.directory)
                actions += self.model(choice, files=companion.files).actions_done
            except (ModelNotInstalled, ModelIncomplete) as error:
                raise ModelIncomplete(f"{model.id} needs another model: {error.message}", hint=error.hint) from error
        return replace(model, actions_done=tuple(actions))


def _checked(folder: Path, *, model_id: str, actions: Iterable[str]) -> PreparedModel:
    """The model in `folder`. Raises ModelIncomplete, naming what is missing, or ModelNotInstalled."""
    state = availability(folder)
    if isinstance(state, Partial):
        raise incomplete(model_id, folder, state)
    if not isinstance(state, Available):
        reason = state.reason if isinstance(state, NotAvailable) else "it is being downloaded"
        hint = "A model is a folder with config.json and weights."
        raise ModelNotInstalled(f"{folder} holds no model that we can load: {reason}.", hint=hint)
    return PreparedModel(
        id=model_id, folder=folder, revision=revision_of(folder), state=state, actions_done=tuple(actions)
    )


def incomplete(model_id: str, folder: Path, state: Partial) -> ModelIncomplete:
    """The error for a model with missing or damaged files."""
    named = "; ".join(state.problems[:3] or state.missing[:3])
    more = f" and {len(state.missing) - 3} more" if len(state.missing) > 3 else ""
    is_local = model_id == str(folder)
    what = str(folder) if is_local else f"{model_id} in {folder}"
    if state.hint:
        return ModelIncomplete(f"{what} cannot be used: {named}{more}.", hint=state.hint)
    hint = f"`voicejobs models pull {shlex.quote(model_id)}` fetches what is missing."
    if is_local:
        hint = "Copy what is missing or broken into that folder again, from where the model came from."
    return ModelIncomplete(f"{what} is incomplete: {named}{more}.", hint=hint)


def _migrate_speech_models(
    directory: Path, *, environ: Mapping[str, str], besides: ResolvedModel, on_event: OnEvent, actions: list[str]
) -> None:
    """Rename Qwen3-TTS folders of this disk into the directory, as every job does before it needs a model.

    An error here concerns other models than the wanted one: it becomes an event, and stops nothing.
    """
    wanted = {besides.id, *besides.alternatives}
    try:
        actions += recover(directory, on_event=on_event)
        tidy_records(directory)
        scan = scan_legacy(directory, environ=environ, speech_only=True)
        kept = Journal(directory).put_back()
        others = tuple(one for one in scan.candidates if one.id not in wanted and one.folder not in kept)
        plan = plan_of(Scan(others, scan.findings), directory)
        by_itself = tuple(step for step in plan.steps if step.action == "rename" and step.is_speech)
        done = run_plan(Plan(directory=directory, steps=by_itself, findings=plan.findings), on_event=on_event)
        actions += [done_message(step) for step in done.done]
    except StorageError as error:
        on_event(ModelEvent(kind="finding", model="", message=str(error)))


@dataclass
class _Preparation:
    """Preparation of one model that is not in the directory, or not whole."""

    choice: ResolvedModel
    directory: Path
    environ: Mapping[str, str]
    on_event: OnEvent
    progress_every_s: float
    own_process: bool = False
    actions: list[str] = field(default_factory=list)
    files: tuple[str, ...] = ()  # patterns of those to fetch; () is all

    @property
    def folder(self) -> Path:
        assert self.choice.folder is not None
        return self.choice.folder

    def run(self, *, migrate: str, offline: bool) -> PreparedModel:
        found = self._found_elsewhere()
        if found and self._is_absent() and (migrate != AUTO or found[0].folder in Journal(self.directory).put_back()):
            return self._referenced(found[0])
        referenced = [candidate for candidate in found if candidate.action == "reference"]
        if len(referenced) == len(found) and referenced and self._is_absent():
            return self._referenced(referenced[0])
        if offline and not found:
            raise self._offline_error()
        with self._lock() as lock:
            return self._locked(found, lock, offline=offline)

    def complete(self, *, revision: str | None) -> PreparedModel:
        """Fetch what is missing or wrong in the folder."""
        with self._lock() as lock:
            if revision is None and isinstance(availability(self.folder), Available):
                return _checked(self.folder, model_id=self.choice.id, actions=self.actions)
            self._download(lock, revision=revision)
            return _checked(self.folder, model_id=self.choice.id, actions=self.actions)

    @contextlib.contextmanager
    def _lock(self) -> Iterator[FileLock]:
        """Hold the model's lock, after waiting for whoever has it; an event names the holder."""
        make_directory(self.directory)
        lock = lock_of(self.folder)
        try:
            lock.acquire()
        except Busy:
            message = f"Waiting for {lock.describe_holder()}, which is at {self.choice.id}."
            self.on_event(ModelEvent(kind="waiting", model=self.choice.id, message=message))
            lock.acquire(wait=True)
        with lock:
            yield lock

    def _is_absent(self) -> bool:
        return not os.path.lexists(self.folder)

    def _found_elsewhere(self) -> list[LegacyModel]:
        """Whole copies of the wanted model in legacy places, the preferred first."""
        wanted = (self.choice.id, *self.choice.alternatives)
        scan = scan_legacy(self.directory, environ=self.environ, only=wanted)
        for finding in scan.findings:
            self.on_event(finding_event(finding))
        usable = [candidate for candidate in scan.candidates if candidate.is_usable]
        return sorted(usable, key=lambda candidate: (candidate.action == "reference", wanted.index(candidate.id)))

    def _referenced(self, candidate: LegacyModel) -> PreparedModel:
        message = f"{candidate.id} is used in place, in {candidate.folder}."
        data = {"source": str(candidate.folder), "revision": candidate.revision}
        self.on_event(ModelEvent(kind="referenced", model=candidate.id, message=message, data=data))
        return PreparedModel(
            id=candidate.id,
            folder=candidate.folder,
            revision=candidate.revision or revision_of(candidate.folder),
            state=candidate.state,
            actions_done=(*self.actions, message),
        )

    def _offline_error(self) -> ModelIncomplete | ModelNotInstalled:
        state = availability(self.folder)
        if isinstance(state, Partial):
            return incomplete(self.choice.id, self.folder, state)
        installed = ", ".join(model_id for model_id, _ in installed_folders(self.directory)) or "none"
        hint = (
            f"Offline mode is on. `voicejobs models pull {self.choice.id}` fetches it while online; "
            f"or use one that is here ({installed})."
        )
        if isinstance(state, Downloading):
            hint = "Another process is fetching it; try again later."
        return ModelNotInstalled(f"{self.choice.id} is not in {self.directory}.", hint=hint)

    def _locked(self, found: list[LegacyModel], lock: FileLock, *, offline: bool) -> PreparedModel:
        """Prepare the model while its lock is held: it may have arrived while we waited."""
        self.actions += recover(self.directory, on_event=self.on_event, held=(self.folder.name,))
        state = availability(self.folder)
        if isinstance(state, Available):
            return _checked(self.folder, model_id=self.choice.id, actions=self.actions)
        if isinstance(state, Partial):
            raise incomplete(self.choice.id, self.folder, state)
        for candidate in found:
            step = self._adopted(candidate)
            if step is not None:
                return _checked(step.target, model_id=candidate.id, actions=self.actions)
        if found:
            return self._referenced(found[0])  # it cannot be taken over, as an event said; it can still be used
        if offline:
            raise self._offline_error()
        self._download(lock)
        return _checked(self.folder, model_id=self.choice.id, actions=self.actions)

    def _adopted(self, candidate: LegacyModel) -> PlannedStep | None:
        """Take one legacy copy over; None when that did not work, as the events have said."""
        plan = plan_of(Scan((candidate,), ()), self.directory)
        is_ours = candidate.slug == self.folder.name
        outcome = run_plan(plan, on_event=self.on_event, held=(self.folder,) if is_ours else ())
        self.actions += [done_message(step) for step in outcome.done]
        return next(iter(outcome.done), None)

    def _download(self, lock: FileLock, *, revision: str | None = None) -> None:
        order = DownloadOrder(
            repository=self.choice.id,
            folder=str(self.folder),
            revision=revision,
            progress_every_s=self.progress_every_s,
            files=self.files,
        )
        try:
            commit = self._commit_fetched(order, lock)
        except RepositoryNotFound as error:
            near = catalog.nearest_models(self.choice.id, [entry.id for entry in catalog.CATALOG])
            guess = f"Did you mean {' or '.join(near)}?" if near and self.choice.entry is None else ""
            raise RepositoryNotFound(error.message, hint=f"{error.hint} {guess}".strip()) from error
        self.actions.append(f"{self.choice.id} at {commit} was downloaded to {self.folder}.")

    def _commit_fetched(self, order: DownloadOrder, lock: FileLock) -> str:
        if self.own_process:
            return download_in_child(order, environ=self.environ, on_event=self.on_event, lock=lock)
        remote = download_model(
            order.repository,
            self.folder,
            environ=self.environ,
            revision=order.revision,
            files=order.files,
            on_event=self.on_event,
            progress_every_s=order.progress_every_s,
        )
        return remote.commit
