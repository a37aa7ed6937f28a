"""The journal of migrations: a file in the models directory, one line a step, synced before the step it announces.

This module touches the disk. Read back, it says which operations were done, which were interrupted and how far
they came, and which have been undone.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from models.migrate.folder_files import FileRecord
from models.store.manifest import utc_text
from registry.durable_files import fsync_file, fsync_folder, read_regular
from registry.errors import storage_error

JOURNAL_FILE = ".voicejobs-migrations.jsonl"
MAX_JOURNAL_BYTES = 64_000_000

# Steps of an operation, in the order in which a whole one passes through them.
BEGUN, STAGED, PUBLISHED, DONE, ABORTED = "begun", "staged", "published", "done", "aborted"

# Fields of an operation that the line of its beginning holds.
_KEYS = ("migration", "action", "model", "source", "target", "staging", "inode", "files", "undoes")


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One folder's way from `source` to `target`. `state` is the last step that the journal knows."""

    id: str
    migration: str
    action: str  # "rename" | "copy" | "adopt" | "displace" | "remove"
    model: str
    source: Path
    target: Path
    staging: Path | None = None  # folder of the files before the rename that publishes them
    inode: int = 0  # of the folder that a rename moves
    files: tuple[FileRecord, ...] = ()
    undoes: str = ""  # the operation that this one reverts
    state: str = BEGUN
    reason: str = ""


@dataclass
class Journal:
    """The journal of one models directory."""

    directory: Path

    @property
    def path(self) -> Path:
        return self.directory / JOURNAL_FILE

    def begin(self, operation: Operation) -> None:
        """Announce an operation; returns once the announcement is on the medium."""
        known = {name: getattr(operation, name) for name in _KEYS}
        self._append({"operation": operation.id, **known, "step": BEGUN})

    def step(self, operation: Operation, step: str, **more: Any) -> None:
        """Record that `operation` has reached `step`."""
        self._append({"operation": operation.id, "step": step, **more})

    def _append(self, record: Mapping[str, Any]) -> None:
        line = (
            json.dumps({**record, "at": utc_text(time.time())}, ensure_ascii=False, default=str).encode("utf-8") + b"\n"
        )
        is_new = not self.path.exists()
        descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            size_bytes = os.fstat(descriptor).st_size
            if size_bytes and os.pread(descriptor, 1, size_bytes - 1) != b"\n":
                line = b"\n" + line  # a crash tore the last line: keep it from swallowing this one
            os.write(descriptor, line)
            fsync_file(descriptor)
        finally:
            os.close(descriptor)
        if is_new:
            fsync_folder(self.directory)

    def operations(self) -> list[Operation]:
        """Every operation in the order it began, each with the last step it reached; torn lines are passed over."""
        found: dict[str, Operation] = {}
        for record in self._records():
            key = record.get("operation")
            step = record.get("step")
            if not isinstance(key, str) or not isinstance(step, str):
                continue
            if step == BEGUN:
                with contextlib.suppress(KeyError, TypeError, ValueError):  # no record of ours
                    found[key] = _from_json(record)
            elif key in found:
                known = found[key]
                files = _files_from(record["files"]) if "files" in record else known.files
                found[key] = replace(known, state=step, files=files, reason=str(record.get("reason", "")))
        return list(found.values())

    def unreadable(self) -> int:
        """Number of lines that are no records; a crash tears one at most, the last."""
        lines = [line for line in self._lines() if line]
        return len(lines) - len(self._records())

    def _lines(self) -> list[bytes]:
        try:
            return read_regular(self.path, at_most=MAX_JOURNAL_BYTES).split(b"\n")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise storage_error(error, f"reading {self.path}") from error

    def _records(self) -> list[dict[str, Any]]:
        records: list[dict[str, Any]] = []
        for line in self._lines():
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                continue  # blank, or torn by a crash: its step was announced but not begun
            if isinstance(record, dict):
                records.append(record)
        return records

    def interrupted(self) -> list[Operation]:
        """Operations that began and neither finished nor were given up."""
        return [operation for operation in self.operations() if operation.state not in (DONE, ABORTED)]

    def undoable(self) -> list[Operation]:
        """The finished operations of the last migration that has not been undone, in the order they ran."""
        operations = self.operations()
        undone = {operation.undoes for operation in operations if operation.undoes and operation.state == DONE}
        open_ones = [
            operation
            for operation in operations
            if operation.state == DONE and not operation.undoes and operation.id not in undone
        ]
        return [operation for operation in open_ones if operation.migration == open_ones[-1].migration]

    def put_back(self) -> set[Path]:
        """Folders that a person had put back by undoing; what happens by itself leaves them alone.

        A later migration that is asked for takes them again, and so takes them off this list.
        """
        operations = {operation.id: operation for operation in self.operations() if operation.state == DONE}
        found: set[Path] = set()
        for operation in operations.values():
            if not operation.undoes:
                found.discard(operation.source)
            elif operation.undoes in operations:
                found.add(operations[operation.undoes].source)
        return found


def _files_from(raw: Any) -> tuple[FileRecord, ...]:
    return tuple(FileRecord(str(path), int(size), int(modified)) for path, size, modified in raw)


def _from_json(record: Mapping[str, Any]) -> Operation:
    known: dict[str, Any] = {name: record[name] for name in _KEYS if record.get(name) is not None}
    known["files"] = _files_from(known.get("files", ()))
    known |= {name: Path(known[name]) for name in known.keys() & {"source", "target", "staging"}}
    return Operation(id=record["operation"], **known)
