"""Pieces of lines as the engine makes them → their spool files; and the whole sound of a line, once it is spoken."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from models.protocol import SpeechDone, SpeechPiece, Waveform
from runner.engine.spool import SpooledSound, SpoolState, SpoolWriter, spool_path
from runner.outbox.take_encoding import LONG_SAMPLES


@dataclass
class LineSpools:
    """Spool files of the runner by the ids of their lines' work; most lines cross in one piece and have none."""

    folder: Path
    _writers: dict[str, SpoolWriter] = field(default_factory=dict)

    def append(self, piece: SpeechPiece, *, job_id: int, position: int) -> None:
        """Add samples to a line's file, which is made with the first of them. Raises StorageError."""
        writer = self._writers.get(piece.id)
        if writer is not None and writer.state is not SpoolState.GROWING:
            writer.close()  # of a job that was put aside, and goes on before what it had was recorded
            writer = None
        if writer is None:
            path = spool_path(self.folder, job_id=job_id, position=position)
            writer = self._writers[piece.id] = SpoolWriter(path)
        writer.append(piece.waveform)

    def sound_of(self, done: SpeechDone) -> Waveform | SpooledSound:
        """All samples of a line that is spoken; they are in memory, unless they are many."""
        writer = self._writers.get(done.id)
        if writer is None:
            return done.waveform
        sound = writer.sound()
        return sound if sound.size > LONG_SAMPLES else sound[:]

    def end(self, work_id: str, state: SpoolState) -> None:
        """Tell those who read along how a line ended; its file goes, except that of one that is to be recorded."""
        if (writer := self._writers.get(work_id)) is not None:
            writer.end(state)
            if state is not SpoolState.FINISHED:
                self._close(work_id)

    def recorded(self, work_ids: Iterable[str]) -> None:
        """Remove the files of lines that are in the ledger now."""
        for work_id in work_ids:
            if (writer := self._writers.get(work_id)) is not None and writer.state is SpoolState.FINISHED:
                self._close(work_id)

    def clear(self) -> None:
        """Remove all files."""
        for work_id in [*self._writers]:
            self._close(work_id)

    def _close(self, work_id: str) -> None:
        self._writers.pop(work_id).close()
