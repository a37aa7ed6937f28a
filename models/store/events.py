"""Events of a model on its way to being usable: values that the runner records and the command line shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

# moved, adopted, referenced: where a model was taken from; left: why one was not; finding: a place that cannot be
# read; recovered: an interrupted step was cleared up; waiting: another process is at it; the others: a fetch.
EventKind = Literal[
    "moved", "adopted", "referenced", "left", "finding", "recovered", "waiting",
    "download", "progress", "retry", "verified", "downloaded",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ModelEvent:
    """One fact; `data` holds paths, bytes and commits, and never a token."""

    kind: EventKind
    model: str  # its id
    message: str
    data: Mapping[str, Any] = field(default_factory=dict)


OnEvent = Callable[[ModelEvent], None]


def ignore_events(event: ModelEvent) -> None:
    """Ignore an event: for callers that only want the result."""
    del event
