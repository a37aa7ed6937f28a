"""Pieces of a take as the engine makes them → a spool file; and a spool file, while it grows → its samples.

A spool file is `<state_dir>/spool/<job id>-<position>.f32`; a line's position counts from 1, as in the ledger. It
begins with a header of 32 bytes (magic, sample rate, state, number of samples once it has ended), followed by mono
float32 samples, little-endian, as the engine made them. The runner alone writes it, and holds an exclusive `flock` on
it meanwhile, which the system takes away when the runner dies. It is never synced: it is worth nothing after a crash,
and the next runner removes it. This module touches the disk.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import threading
import time
import weakref
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path

import numpy as np

from models.protocol import SAMPLE_RATE_HZ, Waveform
from registry.errors import StorageError, storage_error
from runner.outbox.take_encoding import as_stored

HEADER = struct.Struct("<8sIIQ8x")
MAGIC = b"VJSPOOL1"
SAMPLE = np.dtype("<f4")
POLL_S = 0.02  # between two looks at a file that grows
LIVENESS_S = 0.25  # between two looks whether its writer lives
MOST_READ_SAMPLES = SAMPLE_RATE_HZ  # at once: who comes late to a long line must not hold all of it
NOTHING: Waveform = np.zeros(0, np.float32)


class SpoolState(IntEnum):
    """State of a take in its spool file; all but the first are final."""

    GROWING = 0
    FINISHED = 1  # whole, and good: these are the samples that are recorded
    FAILED = 2  # the line has failed; the ledger says why
    RETRIED = 3  # another take of the line begins, in a new file of the same name
    DROPPED = 4  # its job was cancelled or put aside; the ledger says which
    DIED = 5  # the runner died; never written, only found by readers


def spool_path(folder: Path, *, job_id: int, position: int) -> Path:
    """The spool file of a job's line."""
    return folder / f"{job_id}-{position}.f32"


def clear_spool(folder: Path) -> None:
    """Make an empty folder for spool files: those in it are a dead runner's. Raises StorageError."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
    except OSError as error:
        raise storage_error(error, f"clearing {folder}") from error


class SpoolWriter:
    """A new spool file of the runner, locked until it is closed. Every method may raise StorageError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.samples = 0
        self.state = SpoolState.GROWING
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            path.unlink(missing_ok=True)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise storage_error(error, f"creating {path}") from error
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)  # before the header, without which no reader looks at the lock
        self._write(HEADER.pack(MAGIC, SAMPLE_RATE_HZ, SpoolState.GROWING, 0))

    def append(self, piece: Waveform) -> None:
        """Add samples `(S,)`."""
        self._write(np.ascontiguousarray(piece, SAMPLE).data.cast("B"))
        self.samples += piece.size

    def end(self, state: SpoolState) -> None:
        """Tell readers how it ended; the first end counts. The samples can be read until it is closed."""
        if self.state is SpoolState.GROWING:
            self.state = state
            header = HEADER.pack(MAGIC, SAMPLE_RATE_HZ, state, self.samples)
            with contextlib.suppress(OSError):  # readers then find that nobody holds it any more
                os.pwrite(self._descriptor, header, 0)

    def sound(self) -> SpooledSound:
        """The samples so far, which can be read also when this is closed."""
        return SpooledSound(os.dup(self._descriptor), self.samples)

    def close(self) -> None:
        """Remove the file; whoever has it open reads it to its end. Call it before the next one of its name is made."""
        if self._descriptor >= 0:
            self.end(SpoolState.DROPPED)
            with contextlib.suppress(OSError):  # the next runner sweeps
                self.path.unlink()
            os.close(self._descriptor)
            self._descriptor = -1

    def _write(self, content: bytes | memoryview) -> None:
        rest = memoryview(content)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError as error:
            raise storage_error(error, f"writing {self.path}") from error


class SpooledSound:
    """Samples in a spool file, read in parts by any thread; its descriptor is closed when nobody holds this."""

    def __init__(self, descriptor: int, size: int) -> None:
        self.size = size
        self._descriptor = descriptor
        weakref.finalize(self, os.close, descriptor)

    def __getitem__(self, part: slice) -> Waveform:
        start, stop, step = part.indices(self.size)
        return _samples_at(self._descriptor, start, max(0, stop - start))[::step]


class SpoolReader:
    """The take of one line as it is being made, for another process. Nothing in it waits, but `pieces`.

    Made before the take is begun, it waits for the file to appear; a line whose take exists already, which is spoken
    by nobody, never has one, and the ledger says so. `read` gives what has come since the last call, at most one
    second of it; `end` is set once all has been read. Samples are those that the take store will keep: rounded to
    24 bits, so that a stream and a later answer from the store are the same. A take that is RETRIED before anything of
    it was read is forgotten, and the next one followed.
    """

    def __init__(self, folder: Path, *, job_id: int, position: int = 1) -> None:
        self.path = spool_path(folder, job_id=job_id, position=position)
        self.samples = 0  # read so far
        self.end: SpoolState | None = None
        self._descriptor = -1
        self._next_look_s = 0.0

    def __enter__(self) -> SpoolReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self) -> Waveform:
        """Samples `(S,)` that have come; none while the engine makes the next, and at the end.

        Raises StorageError when the file cannot be read.
        """
        if self.end is not None or not self._is_open():
            return NOTHING
        state = self._state()  # before the samples: after a final state none are added
        if state is SpoolState.GROWING and self._writer_is_gone():
            state = self._state()  # it may have ended the take just before it let go
            state = SpoolState.DIED if state is SpoolState.GROWING else state
        piece = _samples_at(self._descriptor, self.samples, MOST_READ_SAMPLES)
        if piece.size:
            self.samples += piece.size
            return as_stored(np.nan_to_num(piece))
        if state is SpoolState.RETRIED and self.samples == 0:
            self.close()
        elif state is not SpoolState.GROWING:
            self.end = state
        return NOTHING

    def has_more(self) -> bool:
        """Whether `read` may find anything; this is so quick that it needs no thread."""
        if self._descriptor < 0:
            return self.path.exists()
        end = HEADER.size + (self.samples + 1) * SAMPLE.itemsize
        has_come = os.fstat(self._descriptor).st_size >= end or self._state() is not SpoolState.GROWING
        return has_come or time.monotonic() >= self._next_look_s

    def pieces(self, stop: threading.Event) -> Iterator[Waveform]:
        """Samples as they come, until the take ends or `stop` is set; `end` then tells how, or is None."""
        while not stop.is_set():
            if (piece := self.read()).size:
                yield piece
            elif self.end is not None:
                return
            else:
                stop.wait(POLL_S)

    def close(self) -> None:
        """Let go of the file; `read` would open it, or the next one of its name, again from its start."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _is_open(self) -> bool:
        """Whether the file is there, and has its header."""
        if self._descriptor >= 0:
            return True
        try:
            self._descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise storage_error(error, f"opening {self.path}") from error
        header = os.pread(self._descriptor, HEADER.size, 0)
        if len(header) < HEADER.size:  # it is being created at this moment
            self.close()
            return False
        magic, rate_hz, _, _ = HEADER.unpack(header)
        if (magic, rate_hz) != (MAGIC, SAMPLE_RATE_HZ):
            self.close()
            raise StorageError(f"{self.path} is no spool file of this version.", hint="Restart runner and server.")
        return True

    def _state(self) -> SpoolState:
        _, _, state, _ = HEADER.unpack(os.pread(self._descriptor, HEADER.size, 0))
        return SpoolState(state)

    def _writer_is_gone(self) -> bool:
        """Whether nobody holds the file any more; looked at now and then."""
        now_s = time.monotonic()
        if now_s < self._next_look_s:
            return False
        self._next_look_s = now_s + LIVENESS_S
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return False
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        return True


def _samples_at(descriptor: int, start: int, count: int) -> Waveform:
    """Up to `count` samples from `start`; a sample of which only some bytes are there is left for later."""
    content = os.pread(descriptor, count * SAMPLE.itemsize, HEADER.size + start * SAMPLE.itemsize)
    return np.frombuffer(content, SAMPLE, len(content) // SAMPLE.itemsize)
