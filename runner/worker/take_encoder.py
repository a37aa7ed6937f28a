"""The engine's samples of a line → threads that encode them, as the take to store and the file to publish."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from models.protocol import SAMPLE_RATE_HZ, Waveform
from runner.outbox.take_encoding import FileFormat, NewTake, new_take

LONG_SAMPLES = 60 * SAMPLE_RATE_HZ  # a minute takes a second to encode as MP3
THREADS = 2  # each holds a waveform several times over


class TakeEncoder:
    """Encodes takes; nothing waits for a long one, which has a thread of its own."""

    def __init__(self, *, wake: Callable[[], None]) -> None:
        self._wake = wake  # called when a long take is ready
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="encoder")
        self._long_pool = ThreadPoolExecutor(1, thread_name_prefix="long-encoder")

    def begin(self, waveform: Waveform, wanted: FileFormat) -> Future[NewTake]:
        """The take of `(S,)`, once it is encoded."""
        if waveform.size <= LONG_SAMPLES:
            return self._pool.submit(new_take, waveform, wanted)
        encoding = self._long_pool.submit(new_take, waveform, wanted)
        encoding.add_done_callback(lambda _: self._wake())
        return encoding

    def close(self) -> None:
        """End the threads, with what they have begun."""
        for pool in (self._pool, self._long_pool):
            pool.shutdown(cancel_futures=True)
