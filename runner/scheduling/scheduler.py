"""Jobs that could run → which goes first. Pure functions.

A live job, to which somebody listens, goes before all others. A job that has waited for more than `max_wait_s` goes
next whatever its model, the longest first. Otherwise the
highest priority goes first, among these the jobs of the loaded model, so that models are swapped as rarely as
possible, and then the job that was claimed first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A job that could run, and all that decides whether it is next."""

    id: int
    priority: int
    model: str | None
    waits_since_s: float  # its claim, or the last time it got the engine
    live: bool = False


def in_order(choices: Iterable[Choice], *, loaded: str | None, now_s: float, max_wait_s: float) -> list[Choice]:
    """The jobs in the order in which they should be worked on."""

    def rank(choice: Choice) -> tuple[float, ...]:
        if choice.live:
            return (-1, choice.id)
        if now_s - choice.waits_since_s > max_wait_s:
            return (0, choice.waits_since_s, choice.id)
        return (1, -choice.priority, choice.model is not None and choice.model != loaded, choice.id)

    return sorted(choices, key=rank)
