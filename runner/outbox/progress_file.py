"""The engine's progress with lines in flight → a small file of the runner, and back; and the time a job still needs.

A line may take many minutes. The file is written every few seconds at most and never made durable: it is out of date
when its runner dies. Touches the disk.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Container, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.durable_files import read_regular
from registry.jobs.values import OPEN_STATUSES, Job, JobStatus, LineCounts, ListedJob, Speeds

if TYPE_CHECKING:
    from models.protocol import Progress  # lists read this file, and need no numpy for it

FILE = "progress.json"
OUT_OF_DATE_S = 30.0
WRITE_EVERY_S = 5.0
LEAST_DONE = 0.02  # of a line: less gives no pace
MOST_OF_A_LINE = 0.95  # its length is known when it has ended


@dataclass(frozen=True, kw_only=True)
class UnderWay:
    """Speech made of lines that have not ended, as a part of one line or more, and since when (epoch)."""

    lines: float = 0.0
    since_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class LineInFlight:
    """A line that the engine has, and how long it will last."""

    job_id: int
    expected_s: float


NOTHING = UnderWay()


def lines_under_way(state_dir: Path, *, now_s: float) -> dict[int, UnderWay]:
    """Lines in flight by their job's ledger id; empty where no runner has written any lately."""
    try:
        content = json.loads(read_regular(state_dir / FILE))
        if abs(now_s - content["at_s"]) > OUT_OF_DATE_S:
            return {}
        return {int(job_id): UnderWay(**values) for job_id, values in content["jobs"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}  # absent, or of another version: nothing depends on it


@dataclass(kw_only=True)
class ProgressWriter:
    """Gathers the engine's progress by work id, and writes the file."""

    state_dir: Path
    clock: Callable[[], float]
    _frames: dict[str, int] = field(default_factory=dict)
    _since_s: dict[str, float] = field(default_factory=dict)
    _next_write_s: float = 0.0

    def note(self, progress: Progress) -> None:
        """Note how far the engine is with a piece of work."""
        self._since_s.setdefault(progress.id, self.clock())
        self._frames[progress.id] = progress.frames

    def keep_only(self, work_ids: Container[str]) -> None:
        """Forget work that has ended."""
        self._frames = {work_id: frames for work_id, frames in self._frames.items() if work_id in work_ids}
        self._since_s = {work_id: self._since_s[work_id] for work_id in self._frames}

    def is_due(self, now_s: float) -> bool:
        """Whether there is any progress, and it was not written a moment ago."""
        return any(self._frames.values()) and now_s >= self._next_write_s

    def write(self, lines: Mapping[str, LineInFlight], *, now_s: float) -> None:
        """Write how far these lines are, by their work ids; a lock's recording is none."""
        self._next_write_s = now_s + WRITE_EVERY_S
        under_way = {job_id: asdict(value) for job_id, value in self._by_job(lines).items()}
        path = self.state_dir / FILE
        with contextlib.suppress(OSError):  # a full disk is noticed by what matters
            temporary = path.with_suffix(".tmp")
            temporary.write_text(json.dumps({"at_s": self.clock(), "jobs": under_way}), encoding="utf-8")
            temporary.replace(path)

    def _by_job(self, lines: Mapping[str, LineInFlight]) -> dict[int, UnderWay]:
        from models.protocol import SAMPLE_RATE_HZ, SAMPLES_PER_FRAME

        found: dict[int, UnderWay] = {}
        for work_id in self._frames.keys() & lines.keys():
            line, since_s = lines[work_id], self._since_s[work_id]
            spoken_s = self._frames[work_id] * SAMPLES_PER_FRAME / SAMPLE_RATE_HZ
            part = min(MOST_OF_A_LINE, spoken_s / max(0.1, line.expected_s))
            before = found.get(line.job_id, UnderWay(since_s=since_s))
            found[line.job_id] = UnderWay(lines=before.lines + part, since_s=min(before.since_s, since_s))
        return found


def is_finishing(job: Job, lines: LineCounts) -> bool:
    """Whether all lines are done and the rest, such as the track, is not."""
    return job.status == JobStatus.RUNNING and lines.total > 0 and lines.waiting + lines.taken == 0


def estimated_s(listed: ListedJob, known: Speeds) -> float | None:
    """Time that the rest of an open job is expected to take by itself, at this machine's speed; None when unknown."""
    job, lines = listed.job, listed.lines
    audio_s: float | None = job.facts.get("expected_s")
    if audio_s is None or job.outcome is not None or job.status not in OPEN_STATUSES:
        return None
    rest = (lines.waiting + lines.taken) / lines.total if lines.total else 1.0
    return known.render_s(audio_s * rest, model=job.model)


def time_left_s(job: Job, lines: LineCounts, under_way: UnderWay | None = None, *, now_s: float) -> float | None:
    """Time that the rest of a running job needs at its pace since its present start; None while there is no pace.

    Until the first line has ended, the pace is that of the lines under way, without the loading of the model.
    """
    run: dict[str, Any] = job.facts.get("run") or {"since_s": job.started_s, "ended": 0}
    left, ended = lines.waiting + lines.taken, float(max(0, lines.published + lines.failed - run["ended"]))
    if job.status != JobStatus.RUNNING or run["since_s"] is None or left == 0:
        return None
    since_s, begun = run["since_s"], 0.0
    if under_way is not None:
        begun = min(under_way.lines, left)
        since_s = since_s if ended else under_way.since_s
    if ended + begun < LEAST_DONE:
        return None
    pace_s = max(0.0, now_s - float(since_s)) / (ended + begun)
    return pace_s * (left - begun)
