"""A model hub that could not be reached → whether it answers again, asked now and then in a thread.

Opens a connection and sends nothing. Touches the network, only while a model waits for it.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit
from urllib.request import getproxies

HUB = "https://huggingface.co"
ASK_EVERY_S = 5.0
ANSWER_WITHIN_S = 4.0
PORTS = {"http": 80, "https": 443}


def hub_answers() -> bool:
    """Whether the hub's host, or the proxy before it, takes connections."""
    hub = urlsplit(os.environ.get("HF_ENDPOINT") or HUB)
    proxy = getproxies().get(hub.scheme)
    place = urlsplit(proxy) if proxy and "://" in proxy else hub
    try:
        port = place.port or PORTS.get(place.scheme, 443)
        with socket.create_connection((place.hostname or "", port), timeout=ANSWER_WITHIN_S):
            return True
    except (OSError, ValueError):  # no route, no name, nobody there; or an address that is none
        return False


@dataclass
class HubWatch:
    """Notices when a hub that did not answer does so again."""

    wake: Callable[[], None]  # called from the thread when it is done
    answers: Callable[[], bool] = hub_answers
    _was_away: bool = False
    _next_s: float = 0.0
    _answer: bool | None = None
    _asking: threading.Thread | None = None

    def is_back(self, now_s: float) -> bool:
        """True once, when the hub answers after it did not; asks again when that is due."""
        if self._asking is not None and self._answer is not None:
            self._asking.join()
            is_back, self._was_away = self._answer and self._was_away, not self._answer
            self._asking, self._answer = None, None
            if is_back:
                return True
        if self._asking is None and now_s >= self._next_s:
            self._next_s = now_s + ASK_EVERY_S
            self._asking = threading.Thread(target=self._ask, name="hub", daemon=True)
            self._asking.start()
        return False

    def next_look_s(self) -> float:
        """Time of the next question."""
        return self._next_s

    def _ask(self) -> None:
        self._answer = self.answers()
        self.wake()
