"""A recogniser and a speech model → both in memory where both fit, else one after the other.

Threads that want to hear wait in the listening process's client; this decides, on the runner's main thread, whose turn
it is. A turn of which the other waits for the end lasts `TURN_S`, or until nothing is left to do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from models.store.memory import memory_verdict
from runner.engine.client import EngineClient
from runner.listen.listen_process import ListenProcess

TURN_S = 120.0
LOAD_S = 5.0  # for which memory that was promised to a speech model is kept for it


@dataclass(kw_only=True)
class MemoryTurns:
    """Whose turn it is to have a model in memory."""

    engine: EngineClient
    listen: ListenProcess
    memory_factor: float
    is_urgent: Callable[[], bool]  # whether somebody listens to what is to be spoken
    free_bytes: Callable[[], int]
    is_draining: bool = False  # the engine is given nothing more: it is to be unloaded
    _asked_s: float | None = None  # since when the other waits
    _promised_s: float = float("-inf")

    def tick(self, now_s: float) -> None:
        """Let hearings begin, or unload the engine for them, once it has been given all that there is."""
        self.is_draining = False
        needed_bytes = self.listen.wanted_bytes
        if needed_bytes is None or self.listen.may_hear:
            return
        if self.engine.state in ("loading", "stopping") or now_s - self._promised_s < LOAD_S:
            return
        if self.engine.state == "stopped" or needed_bytes <= self.free_bytes():
            self._asked_s = None
            self.listen.begin_turn()
            return
        self._asked_s = now_s if self._asked_s is None else self._asked_s
        self.is_draining = now_s - self._asked_s > TURN_S and not self.is_urgent()
        if not self.engine.in_flight:
            self.engine.unload()

    def may_load(self, folder: Path | None, now_s: float) -> bool:
        """Whether a speech model may be loaded now; the recogniser is ended for it, where only one of them fits."""
        needed_bytes = 0 if folder is None else memory_verdict(folder, factor=self.memory_factor).needed_bytes
        if not self.listen.may_hear or needed_bytes <= self.free_bytes():
            return True
        self._asked_s = now_s if self._asked_s is None else self._asked_s
        is_over = now_s - self._asked_s > TURN_S or self.is_urgent()
        if (self.listen.is_wanted and not is_over) or not self.listen.end_turn():
            return False
        self._asked_s, self._promised_s = None, now_s
        return True
