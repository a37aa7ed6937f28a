"""How far the engine is with lines in flight → a small file that `runner/outbox/progress_file.py` reads.

Written every few seconds at most, and never made durable: it is out of date when its runner dies. Touches the disk.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from models.protocol import SAMPLE_RATE_HZ, SAMPLES_PER_FRAME, Progress
from runner.outbox.progress_file import FILE, UnderWay
from runner.worker.line_tasks import ActiveJob

WRITE_EVERY_S = 5.0
MOST_OF_A_LINE = 0.95  # its length is known when it has ended


@dataclass(kw_only=True)
class ProgressWriter:
    """Gathers the engine's progress, and writes the file."""

    state_dir: Path
    clock: Callable[[], float]
    _frames: dict[str, int] = field(default_factory=dict)  # of every piece of work, as far as it has been told
    _since_s: dict[str, float] = field(default_factory=dict)
    _next_write_s: float = 0.0

    def note(self, progress: Progress) -> None:
        """The engine has told how far a piece of work is."""
        self._since_s.setdefault(progress.id, self.clock())
        self._frames[progress.id] = progress.frames

    def tick(self, job_of_work: Mapping[str, ActiveJob], *, now_s: float) -> None:
        """Forget what has ended; write now and then, if there is anything to tell."""
        self._frames = {work_id: frames for work_id, frames in self._frames.items() if work_id in job_of_work}
        self._since_s = {work_id: self._since_s[work_id] for work_id in self._frames}
        if not any(self._frames.values()) or now_s < self._next_write_s:
            return
        self._next_write_s = now_s + WRITE_EVERY_S
        content = {
            "at_s": self.clock(),
            "jobs": {key: asdict(value) for key, value in self._by_job(job_of_work).items()},
        }
        path = self.state_dir / FILE
        with contextlib.suppress(OSError):  # a full disk is noticed by what matters
            temporary = path.with_suffix(".tmp")
            temporary.write_text(json.dumps(content), encoding="utf-8")
            temporary.replace(path)

    def _by_job(self, job_of_work: Mapping[str, ActiveJob]) -> dict[int, UnderWay]:
        found: dict[int, UnderWay] = {}
        for work_id, frames in self._frames.items():
            active = job_of_work[work_id]
            if work_id not in active.in_flight:
                continue  # a lock's recording: its job has no lines
            expected_s = max(0.1, active.in_flight[work_id].expected_s())
            part = min(MOST_OF_A_LINE, frames * SAMPLES_PER_FRAME / SAMPLE_RATE_HZ / expected_s)
            before = found.get(active.job.id, UnderWay(since_s=self._since_s[work_id]))
            since_s = min(before.since_s, self._since_s[work_id])
            found[active.job.id] = UnderWay(lines=before.lines + part, since_s=since_s)
        return found
