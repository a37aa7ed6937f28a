"""A function called every 0.2 s while other code computes in the main thread → signs of life, and a way to stop it.

The networks of mlx-audio tell nothing before a piece of speech is done. An interval timer interrupts them, between two
Python instructions, without a second thread.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType

EVERY_S = 0.2


class Stopped(BaseException):
    """The line is not wanted any more; no `except Exception` of a model may hold it up."""


@contextlib.contextmanager
def pulse(goes_on: Callable[[], bool]) -> Iterator[None]:
    """Call `goes_on` at intervals; once it returns false, Stopped is raised wherever the code is at that moment."""

    def beat(_number: int, _frame: FrameType | None) -> None:
        if not goes_on():
            raise Stopped

    handler = signal.signal(signal.SIGALRM, beat)
    timer = signal.setitimer(signal.ITIMER_REAL, EVERY_S, EVERY_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)
        signal.signal(signal.SIGALRM, handler)
