"""The engine's samples of a line → threads that encode them, as the take to store and the file to publish.

A long take is put into the store as it is encoded: it is in the spool, and never in memory as a whole.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO

from models.audio.encoder import write_audio_stream
from models.audio.file_format import FileFormat
from models.audio.sound import Sound
from runner.outbox.take_encoding import (
    LONG_SAMPLES,
    TAKE_FORMAT,
    NewTake,
    as_stored,
    long_line,
    new_take,
    sound_blocks,
)
from runner.worker.context import Context

THREADS = 2  # each holds a waveform several times over


class TakeEncoder:
    """Encodes takes; nothing waits for a long one, which has a thread of its own."""

    def __init__(self, context: Context, *, wake: Callable[[], None]) -> None:
        self._context = context
        self._wake = wake  # called when a long take is ready
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="encoder")
        self._long_pool = ThreadPoolExecutor(1, thread_name_prefix="long-encoder")

    def begin(self, sound: Sound, wanted: FileFormat) -> Future[NewTake]:
        """The take of `(S,)`, once it is encoded."""
        if sound.size <= LONG_SAMPLES:
            return self._pool.submit(new_take, sound[:], wanted)
        encoding = self._long_pool.submit(self._long_take, sound, wanted)
        encoding.add_done_callback(lambda _: self._wake())
        return encoding

    def _long_take(self, sound: Sound, wanted: FileFormat) -> NewTake:
        def write(file: BinaryIO) -> None:
            write_audio_stream(file, sound_blocks(sound), TAKE_FORMAT, samples=sound.size)

        sha256 = self._context.takes.audio.put_stream(write)
        folder = self._context.instance.spool_dir
        line = long_line(lambda: map(as_stored, sound_blocks(sound)), sound.size, wanted, folder=folder)
        return NewTake(content=b"", sha256=sha256, file=line)

    def close(self) -> None:
        """End the threads, with what they have begun."""
        for pool in (self._pool, self._long_pool):
            pool.shutdown(cancel_futures=True)
