"""The inbox as it lies there → every entry that waits or is left alone, and why.

Any process may ask; nothing is changed. This module reads the disk.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from runner.config.instance import Instance
from runner.held_folders import Folder
from runner.inbox.claims import Claims
from runner.inbox.entries import Entry, Kind, list_entries
from runner.inbox.open_files import OpenFiles
from runner.inbox.sightings import ANSWERED, STILL_WRITTEN_S, AnsweredInPlace
from runner.names import printable_name

CLAIMED = "it is claimed; a runner makes a job of it when the files that it names are whole"
CORRECTION = "Change it, or its permissions and those of the inbox"
RENAME = "Only .toml, .json and folders are jobs; rename it if it is one"
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
    is_ignored: bool  # no job comes of it as it is
    is_stuck: bool  # nothing comes of it until somebody changes it, who probably does not know
    since_s: float  # of its last change, epoch


def waiting_in(
    instance: Instance, *, is_recorded: Callable[[str], bool] = lambda _claim_id: True, now_s: float | None = None
) -> list[Waiting]:
    """Everything at the top of the inbox, and every claim that is not in the ledger; stuck ones first, oldest first.

    Raises OSError when the inbox cannot be read.
    """
    now_s = time.time() if now_s is None else now_s
    open_files, answered = OpenFiles(instance.inbox), AnsweredInPlace(instance.state_dir / ANSWERED)
    found = []
    for entry in list_entries(instance.inbox):
        if _FOR_SYSTEMS.fullmatch(entry.name):
            continue
        reason, since_s = reason_ignored(entry), max(entry.mtime_ns / 1e9, entry.ctime_s)
        is_stuck = is_meant_as_job(entry)
        if answered.names(entry.name):
            reason, is_stuck = f"it was refused and cannot be moved. {CORRECTION}", True
        is_ignored = bool(reason)
        is_written = entry.kind is Kind.TEMPORARY
        if not reason and (written := open_files.written(Folder(instance.inbox), entry.name)) is not None:
            reason, is_written = f"{_itself(written, entry.name)} is still open for writing in another program", True
        elif not reason and now_s - entry.mtime_ns / 1e9 < instance.settings.settle_s:
            reason = "it has changed just now"
        is_stuck = is_stuck or (is_written and now_s - since_s > STILL_WRITTEN_S)
        found.append(
            Waiting(
                name=printable_name(entry.name),
                reason=reason or "a runner will take it",
                is_ignored=is_ignored,
                is_stuck=is_stuck,
                since_s=since_s,
            )
        )
    found += _claimed(Claims(instance), is_recorded, now_s)
    return sorted(found, key=lambda waiting: (not waiting.is_stuck, waiting.since_s, waiting.name))


def _itself(path: str, name: str) -> str:
    return "it" if path == name else printable_name(path.removeprefix(f"{name}/"))


def _claimed(claims: Claims, is_recorded: Callable[[str], bool], now_s: float) -> Iterator[Waiting]:
    """Drops that have been moved to `.claimed`, and are not jobs yet."""
    for claim_id in claims.ids():
        name = None if is_recorded(claim_id) else claims.dropped(claim_id)
        if name is not None:
            since_s = int(claim_id.partition("-")[0]) / 1e9
            yield Waiting(
                name=printable_name(name), reason=CLAIMED, is_ignored=False, is_stuck=False, since_s=min(since_s, now_s)
            )


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
