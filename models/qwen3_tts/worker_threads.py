"""Independent pieces of one computation → all of them done, shared among the cores by threads of this process."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import threadpoolctl

SHARED_WEIGHTS = 1 << 18  # weights above which a product of few positions is worth sharing
MOST_THREADS = 8

Item = TypeVar("Item")


class Workers:
    """Threads that share work piece by piece: a core that other programs keep busy just does fewer pieces.

    NumPy's own BLAS threads are switched off for the process, since they wait for one another actively: on a busy
    machine that made the decoder four times slower, not faster.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads or min(MOST_THREADS, os.cpu_count() or 1)
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="worker")  # starts threads when first needed
        numpy_libraries = threadpoolctl.ThreadpoolController().select(filepath=_numpy_libraries())
        numpy_libraries.limit(limits=1)

    def ranges(self, outputs: int, *, weights: int, at_least: int = 1) -> list[tuple[int, int]]:
        """(first, last) outputs of each part of a product with so many weights; all but the last hold `at_least`.

        Two parts for each core, so that a busy core can leave one to another; a small product stays whole.
        """
        parts = 2 * self._threads if weights >= SHARED_WEIGHTS else 1
        step = max(at_least, -(-outputs // parts))
        return [(first, min(first + step, outputs)) for first in range(0, outputs, step)]

    def together(self, work: Callable[[], None]) -> None:
        """Have all threads call `work`, which shares its work among them by itself and raises nothing.

        Returns when this thread's call has: a thread that comes late must find nothing to do.
        """
        helpers = [self._pool.submit(work) for _ in range(self._threads - 1)]
        work()
        for helper in helpers:
            helper.cancel()

    def run(self, work: Callable[[Item], None], items: Sequence[Item]) -> None:
        """Do `work` on every item, in any order. Raises what `work` raises."""
        queue = iter(items)  # taking the next item of a list is one step for Python, and so safe between threads

        def drain() -> None:
            for item in queue:
                work(item)

        helpers = [self._pool.submit(drain) for _ in range(min(self._threads, len(items)) - 1)]
        drain()
        for helper in helpers:
            if not helper.cancel():  # one that has not started has nothing left to do
                helper.result()


def _numpy_libraries() -> list[str]:
    """The BLAS libraries that NumPy brought along; MLX's keeps its threads."""
    loaded = threadpoolctl.threadpool_info()
    return [each["filepath"] for each in loaded if each["user_api"] == "blas" and "numpy" in each["filepath"]]
