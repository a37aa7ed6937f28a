"""The pipe of a process that works for the runner: messages → a queue, live speech first; answers → bytes.

A thread reads the pipe, the main thread takes from the queue. The process ends as soon as the pipe closes.
"""

from __future__ import annotations

import collections
import fcntl
import os
import resource
import sys
import threading
import traceback

from models.processes.wire import Cancel, FrameReader, Message
from models.protocol import LockWork, SpeechWork

READ_BYTES = 1 << 18


class Requests:
    """Requests of the runner that have not been started; filled by the reading thread."""

    def __init__(self) -> None:
        self._waiting: collections.deque[Message] = collections.deque()
        self._changed = threading.Condition()
        self._unanswered: set[str] = set()
        self._cancelled: set[str] = set()

    def put(self, message: Message) -> None:
        with self._changed:
            if isinstance(message, Cancel):
                self._cancelled |= self._unanswered & {message.id}  # else its answer is on its way
            else:
                self._waiting.insert(self._place_of(message), message)
                if isinstance(message, SpeechWork | LockWork):
                    self._unanswered.add(message.id)
            self._changed.notify()

    def _place_of(self, message: Message) -> int:
        """Place in the queue: live speech goes before other speech, but not before a model or a lock it came after."""
        place = len(self._waiting)
        if isinstance(message, SpeechWork) and message.live:
            while place and isinstance(before := self._waiting[place - 1], SpeechWork) and not before.live:
                place -= 1
        return place

    def take(self) -> Message:
        """The next request; waits for one."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting)
            return self._waiting.popleft()

    def peek(self) -> Message | None:
        """The next request, left in place; None when nothing waits at this moment."""
        with self._changed:
            return self._waiting[0] if self._waiting else None

    def take_live(self) -> SpeechWork | None:
        """Live speech, when that is the next request."""
        with self._changed:
            first = self._waiting[0] if self._waiting else None
            if not isinstance(first, SpeechWork) or not first.live:
                return None
            self._waiting.popleft()
            return first

    def is_cancelled(self, work_id: str) -> bool:
        with self._changed:
            return work_id in self._cancelled

    def forget(self, work_id: str) -> None:
        """Forget work that is answered next: as soon as the runner has the answer, the id may come again."""
        with self._changed:
            self._unanswered.discard(work_id)
            self._cancelled.discard(work_id)


def take_pipe(arguments: list[str]) -> tuple[Requests, int]:
    """(requests as they come, descriptor for the answers) of a process that was started with these descriptors."""
    lifeline, read_descriptor, write_descriptor = map(int, arguments)
    for descriptor in (lifeline, read_descriptor, write_descriptor):
        os.set_inheritable(descriptor, False)
    if sys.platform == "linux":
        _hold_on_to(lifeline)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash must not write gigabytes before the runner notices
    requests = Requests()
    threading.Thread(target=_read_requests, args=(read_descriptor, requests), daemon=True).start()
    return requests, write_descriptor


def write_all(descriptor: int, content: bytes) -> None:
    """Write an answer; without a runner that reads it, this process ends."""
    rest = memoryview(content)
    try:
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    except OSError:
        os._exit(os.EX_OK)


def _hold_on_to(lifeline: int) -> None:
    """Have the kernel end this process when the other end of `lifeline` closes, on which nothing is ever sent.

    The reading thread does the same, but not while foreign code holds the interpreter. Linux sends SIGIO, which
    ends the process by default; macOS ignores it, and the reading thread has to be enough.
    """
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)


def _read_requests(descriptor: int, requests: Requests) -> None:
    """Fill `requests` until the pipe closes, then end this process: without a runner there is nothing to do."""
    reader = FrameReader()
    try:
        while content := os.read(descriptor, READ_BYTES):
            for message in reader.feed(content):
                requests.put(message)
    except BaseException:
        traceback.print_exc()
        os._exit(os.EX_PROTOCOL)
    os._exit(os.EX_OK)
