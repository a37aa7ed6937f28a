"""The inbox as it lies there → every entry that waits or is left alone, and why.

Any process may ask; nothing is changed. This module reads the disk.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from runner.config.instance import Instance
from runner.held_folders import Folder
from runner.inbox.entries import Entry, Kind, list_entries
from runner.inbox.open_files import OpenFiles
from runner.inbox.sightings import ANSWERED, AnsweredInPlace
from runner.names import printable_name

RENAME = "Only .toml, .json and folders are jobs; rename it if it is one."
# Names that people give to a job by mistake: hello.toml.txt, scene.yaml, a job without an extension by an editor.
_MEANT_AS_JOB = re.compile(
    r".*\.(toml|json)\W?\.?\w{0,4}|.*\.(ya?ml|jsonc|json5|jsonl|ndjson|tml|tom|jsn|ini|conf)", re.I
)
_FOR_SYSTEMS = re.compile(r"\..*|thumbs\.db|desktop\.ini|icon\r|__macosx|lost\+found|\$recycle\.bin|@eadir", re.I)


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """Entry of the inbox that is no job yet, or never will be as it is."""

    name: str  # printable
    reason: str
    is_ignored: bool  # it stays until somebody changes it
    since_s: float  # of its last change, epoch


def waiting_in(instance: Instance, *, now_s: float | None = None) -> list[Waiting]:
    """Everything at the top of the inbox that is not claimed, oldest first. Raises OSError."""
    now_s = time.time() if now_s is None else now_s
    open_files, answered = OpenFiles(instance.inbox), AnsweredInPlace(instance.state_dir / ANSWERED)
    found = []
    for entry in sorted(list_entries(instance.inbox), key=lambda entry: (entry.mtime_ns, entry.name)):
        if _FOR_SYSTEMS.fullmatch(entry.name):
            continue
        reason = reason_ignored(entry)
        if answered.names(entry.name):
            reason = "it was refused where it lies; change it, or its permissions and those of the inbox"
        is_ignored = bool(reason)
        if not reason and open_files.written(Folder(instance.inbox), entry.name):
            reason = "a program still has it open for writing"
        elif not reason and now_s - entry.mtime_ns / 1e9 < instance.settings.settle_s:
            reason = "it has changed just now"
        found.append(
            Waiting(
                name=printable_name(entry.name),
                reason=reason or "a runner will take it",
                is_ignored=is_ignored,
                since_s=max(entry.mtime_ns / 1e9, entry.ctime_s),
            )
        )
    return found


def reason_ignored(entry: Entry) -> str:
    """Why an entry becomes no job as it is named; "" when it may become one."""
    if entry.kind is Kind.ATTACHMENT and _MEANT_AS_JOB.fullmatch(entry.name):
        return f"its name is that of no job. {RENAME}"
    if entry.kind is Kind.ATTACHMENT:
        return f"no job has named it so far. {RENAME}"
    if entry.kind is Kind.TEMPORARY:
        return "its name is that of a file which is still being written; rename it when it is whole"
    if entry.kind is Kind.LITTER:
        return "its name is that of an editor's or a sync tool's own file"
    if entry.kind is Kind.FOLDER and entry.job_files == 0:
        return "no job file is at its top, and no job has named a file in it so far"
    return ""


def is_meant_as_job(entry: Entry) -> bool:
    """Whether somebody probably took the entry's name for that of a job file."""
    return entry.kind is Kind.ATTACHMENT and _MEANT_AS_JOB.fullmatch(entry.name) is not None
