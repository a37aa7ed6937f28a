"""Models in legacy places → the shared model directory: a plan, carried out, recovered after a crash, or undone.

This module touches the disk. It never merges, never overwrites, and removes only what was copied whole. Every step
is in the journal (`models.migrate.journal`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from models.errors import CannotMove, UndoRefused
from models.migrate.folder_files import changed_files
from models.migrate.journal import Journal, Operation
from models.migrate.legacy_places import ADOPT, MOVE, REFERENCE, LegacyModel, PlaceFinding, Scan, scan_legacy
from models.migrate.move_folder import new_operation, perform, recover_one, same_disk
from models.store.availability import Available, Partial, availability
from models.store.events import EventKind, ModelEvent, OnEvent, ignore_events
from models.store.shared_directory import lock_of, make_directory
from registry.errors import Busy

DISPLACED_FOLDER = ".displaced"
KEEP_EXISTING, KEEP_COMPLETE, REPORT_ONLY = "keep-existing", "keep-complete", "report-only"
LEAVE = "leave"


@dataclass(frozen=True, kw_only=True)
class PlannedStep:
    """Step that a migration takes with one folder; `action` is a kind of journal operation, "reference" or "leave"."""

    model: str
    action: str
    source: Path
    target: Path
    size_bytes: int
    place: str
    reason: str = ""
    revision: str | None = None
    is_speech: bool = False


@dataclass(frozen=True, kw_only=True)
class Plan:
    directory: Path
    steps: tuple[PlannedStep, ...]
    findings: tuple[PlaceFinding, ...]

    @property
    def changes(self) -> tuple[PlannedStep, ...]:
        return tuple(step for step in self.steps if step.action not in (LEAVE, REFERENCE))


@dataclass(frozen=True, kw_only=True)
class Migrated:
    """Steps of a migration by their outcome; `failed` ones changed nothing."""

    done: tuple[PlannedStep, ...] = ()
    left: tuple[PlannedStep, ...] = ()
    failed: tuple[PlannedStep, ...] = ()
    findings: tuple[PlaceFinding, ...] = ()


def plan_migration(directory: Path, *, environ: Mapping[str, str], on_conflict: str = KEEP_EXISTING) -> Plan:
    """Steps that `models migrate` would take now. Nothing is changed."""
    return plan_of(scan_legacy(directory, environ=environ), directory, on_conflict=on_conflict)


def plan_of(scan: Scan, directory: Path, *, on_conflict: str = KEEP_EXISTING) -> Plan:
    """A scan's candidates → steps. Of equal names a usable one is taken first, then the order of places decides."""
    steps: list[PlannedStep] = []
    taken: dict[str, Path] = {}
    for candidate in sorted(scan.candidates, key=lambda candidate: not candidate.is_usable):
        step = _planned(candidate, directory, taken=taken.get(candidate.slug), on_conflict=on_conflict)
        if step.action == "displace":
            steps.append(step)
            step = _take(candidate, directory)
        steps.append(step)
        if step.action not in (LEAVE, REFERENCE):
            taken[candidate.slug] = candidate.folder
    return Plan(directory=directory, steps=tuple(steps), findings=scan.findings)


def _planned(candidate: LegacyModel, directory: Path, *, taken: Path | None, on_conflict: str) -> PlannedStep:
    target = directory / candidate.slug
    if isinstance(candidate.state, Partial) and candidate.is_speech:
        return _step(candidate, directory, LEAVE, reason=f"it is incomplete: {'; '.join(candidate.state.problems)}")
    if candidate.action == ADOPT and not candidate.is_usable:
        return _step(candidate, directory, LEAVE, reason="it is incomplete, and would have to be copied")
    if candidate.action == REFERENCE:
        return _step(candidate, directory, REFERENCE, reason="it belongs to installed programs; used in place")
    if taken is not None:
        return _step(candidate, directory, LEAVE, reason=f"{taken} has the same name and is taken first")
    if "_" not in candidate.slug or candidate.slug.startswith("."):
        return _step(candidate, directory, LEAVE, reason="its name is no organisation_repository")
    if os.path.lexists(target):
        if on_conflict == KEEP_COMPLETE and candidate.is_usable and isinstance(availability(target), Partial):
            return _step(candidate, directory, "displace", reason="the one in the directory is incomplete")
        return _step(candidate, directory, LEAVE, reason=f"{target} exists already and is kept")
    if on_conflict == REPORT_ONLY:
        return _step(candidate, directory, LEAVE, reason="only reported, as asked")
    return _take(candidate, directory)


def _take(candidate: LegacyModel, directory: Path) -> PlannedStep:
    if candidate.action == MOVE:
        return _step(candidate, directory, "rename" if same_disk(candidate.folder, directory) else "copy")
    return _step(candidate, directory, "adopt")


def _step(candidate: LegacyModel, directory: Path, action: str, *, reason: str = "") -> PlannedStep:
    target = directory / candidate.slug
    source = candidate.folder
    if action == "displace":
        source, target = target, directory / DISPLACED_FOLDER / f"{candidate.slug}.{uuid.uuid4().hex[:8]}"
    return PlannedStep(
        model=candidate.id, action=action, source=source, target=target, size_bytes=candidate.size_bytes,
        place=candidate.place.name, reason=reason, revision=candidate.revision, is_speech=candidate.is_speech,
    )  # fmt: skip


def run_plan(plan: Plan, *, on_event: OnEvent = ignore_events, held: Collection[Path] = ()) -> Migrated:
    """Carry out every change of a plan; a step that fails changes nothing and does not stop the others.

    `held` are targets whose lock the caller has. Raises StorageError when the directory cannot be made.
    """
    for finding in plan.findings:
        on_event(finding_event(finding))
    left = tuple(step for step in plan.steps if step not in plan.changes)
    if not plan.changes:
        return Migrated(left=left, findings=plan.findings)
    make_directory(plan.directory)
    migration = uuid.uuid4().hex[:12]
    done: list[PlannedStep] = []
    failed: list[PlannedStep] = []
    for step in plan.changes:
        try:
            _run_step(step, plan.directory, migration=migration, is_held=step.target in held)
        except (CannotMove, Busy) as error:
            failed.append(step)
            on_event(_event("left", step, f"{step.model} stays in {step.source}: {error.message}"))
            continue
        done.append(step)
        on_event(_event("adopted" if step.action == "adopt" else "moved", step, done_message(step)))
    return Migrated(done=tuple(done), left=left, failed=tuple(failed), findings=plan.findings)


def done_message(step: PlannedStep) -> str:
    """Sentence about a finished step, for a receipt."""
    verb = {"rename": "moved", "copy": "moved, over to another disk,", "adopt": "adopted", "displace": "set aside"}
    return f"{step.model} was {verb[step.action]} from {step.source} to {step.target}."


def _run_step(step: PlannedStep, directory: Path, *, migration: str, is_held: bool) -> None:
    folder = step.source if step.action == "displace" else step.target
    with contextlib.nullcontext() if is_held else lock_of(folder):
        _perform_step(step, Journal(directory), migration=migration)


def _perform_step(step: PlannedStep, journal: Journal, *, migration: str) -> Operation:
    def operation(action: str) -> Operation:
        return new_operation(
            migration=migration, action=action, model=step.model, source=step.source, target=step.target
        )

    try:
        return perform(operation(step.action), journal, revision=step.revision)
    except CannotMove as error:
        crossed = isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EXDEV
        if step.action == "rename" and crossed:  # two mounts of one device refuse renames between them
            return perform(operation("copy"), journal)
        raise


def recover(directory: Path, *, on_event: OnEvent = ignore_events, held: Collection[str] = ()) -> list[str]:
    """Finish or take back every operation that a crash interrupted; says what was done with each.

    An operation whose model is locked by a living process is left to it; `held` are slugs that the caller locked.
    """
    journal = Journal(directory)
    sentences: list[str] = []
    for operation in journal.interrupted():
        lock = lock_of(_folder_in(directory, operation))
        if lock.path.stem not in held:
            try:
                lock.acquire()
            except Busy:
                continue
        try:
            sentences.append(_recover_unless_done(operation, journal))
        except OSError as error:
            sentences.append(f"{operation.source} cannot be tidied up yet: {error.strerror}.")
        finally:
            lock.release()
        on_event(ModelEvent(kind="recovered", model=operation.model, message=sentences[-1]))
    return sentences


def _recover_unless_done(operation: Operation, journal: Journal) -> str:
    current = next((known for known in journal.interrupted() if known.id == operation.id), None)
    if current is None:  # its process was alive after all, and finished while we waited
        return f"The move of {operation.model} was finished by another process."
    return recover_one(current, journal)


def _folder_in(directory: Path, operation: Operation) -> Path:
    """The folder inside the shared directory that an operation makes, changes or removes: the one to lock."""
    return operation.target if operation.target.parent == directory else operation.source


def undo_last(directory: Path, *, on_event: OnEvent = ignore_events) -> list[Operation]:
    """Revert the last migration, last step first. Returns the operations that were reverted.

    Raises UndoRefused, before anything is changed, when a file was touched since, when an original place is taken
    again, or when the originals of an adopted model are gone; also when there is nothing to undo.
    """
    recover(directory, on_event=on_event)
    journal = Journal(directory)
    operations = list(reversed(journal.undoable()))
    if not operations:
        raise UndoRefused("No migration is left to undo.")
    going = {operation.target for operation in operations}
    for operation in operations:
        _check_undoable(operation, going)
    migration = uuid.uuid4().hex[:12]
    for operation in operations:
        reverse = _reversed(operation, migration=migration)
        with lock_of(_folder_in(directory, operation)):
            operation.source.parent.mkdir(parents=True, exist_ok=True)
            perform(reverse, journal)
        message = (
            f"{operation.model} is back in {operation.source}; jobs use it there, `models migrate` takes it again."
        )
        on_event(ModelEvent(kind="moved", model=operation.model, message=message))
    return operations


def _check_undoable(operation: Operation, going: Collection[Path]) -> None:
    changed = changed_files(operation.files, operation.target)
    if changed:
        hint = "Undo works only while nothing has been changed; move the folder by hand."
        raise UndoRefused(f"{operation.target} has changed since: {', '.join(changed[:3])}.", hint=hint)
    if operation.action == "adopt":
        if not operation.source.is_dir() or not isinstance(availability(operation.source), Available):
            raise UndoRefused(f"The original {operation.source} is gone; undoing would remove the only copy.")
    elif os.path.lexists(operation.source) and operation.source not in going:
        raise UndoRefused(f"{operation.source} exists again.", hint="Move it away first.")


def _reversed(operation: Operation, *, migration: str) -> Operation:
    if operation.action == "adopt":
        action, source, target = "remove", operation.target, operation.target
    else:
        action = "copy" if operation.action == "copy" else "rename"
        source, target = operation.target, operation.source
    return new_operation(
        migration=migration, action=action, model=operation.model, source=source, target=target, undoes=operation.id
    )


def finding_event(finding: PlaceFinding) -> ModelEvent:
    """A place that could not be read, as an event."""
    message = f"{finding.folder} ({finding.place}) cannot be read: {finding.reason}."
    return ModelEvent(kind="finding", model="", message=message, data={"folder": str(finding.folder)})


def _event(kind: EventKind, step: PlannedStep, message: str) -> ModelEvent:
    data = {
        "action": step.action,
        "source": str(step.source),
        "target": str(step.target),
        "size_bytes": step.size_bytes,
        "revision": step.revision,
    }
    return ModelEvent(kind=kind, model=step.model, message=message, data=data)
