"""What happened to a model on its way to being usable: values that the runner records and the command line shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class ModelEvent:
    """One fact. `kind` is one of KINDS; `data` holds paths, bytes and commits, and never a token."""

    kind: str
    model: str  # its id
    message: str
    data: Mapping[str, Any] = field(default_factory=dict)


# moved, adopted, referenced: where a model was taken from; left: why one was not; finding: a place that cannot be
# read, or an interrupted step that was cleared up; waiting: another process is at it; download, progress,
# verified, downloaded: a fetch; warning: something a person should know.
KINDS = (
    "moved", "adopted", "referenced", "left", "finding", "recovered", "waiting",
    "download", "progress", "retry", "verified", "downloaded", "warning",
)  # fmt: skip

OnEvent = Callable[[ModelEvent], None]


def ignore_events(event: ModelEvent) -> None:
    """For callers that only want the result."""
    del event
