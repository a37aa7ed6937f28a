"""Messages → a model's answer, from a server with OpenAI's API, within a limit on time and size. Uses the network.

Redirects are not followed. A limit on time holds for the whole answer: it is kept by an alarm, so that a server that
sends a byte a second cannot stretch it; hence all of it belongs into a process of its own.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar
from urllib.parse import urlsplit

from runner.script.analyzer.prompt import SCHEMA
from runner.script.cast.profile import Analyzer
from runner.version import VERSION

MOST_BYTES = 4 << 20
MOST_TOKENS, TEMPERATURE = 1_024, 0.3
BUSY, REFUSED = (429, 503), (400, 404, 415, 422, 500, 501)  # the latter may mean that it knows no such format
PAUSE_S = 1.0  # where a busy server does not say how long
BROKE_OFF = "it broke off in the middle of its answer"
Message = Mapping[str, str]
FORMATS: Sequence[Mapping[str, Any] | None] = (
    {"type": "json_schema", "json_schema": {"name": "voice", "schema": SCHEMA, "strict": True}},
    {"type": "json_object"},
    None,
)


class ChatFailed(Exception):
    """A server that gave no answer; the message says why."""


class _TimedOut(Exception):
    """The alarm."""


@dataclass
class Chat:
    """A server and what it has turned out to understand."""

    analyzer: ClassVar[Analyzer] = "openai"
    url: str
    model: str
    timeout_s: float
    _format: int = field(default=0)  # the first of FORMATS that it takes

    def answer(self, messages: Sequence[Message]) -> str:
        """Text of the model's answer. Raises ChatFailed."""
        until_s = time.monotonic() + self.timeout_s
        while True:
            status, headers, body = self._post(messages, until_s)
            if status == 200:
                return _content(body)
            if status in BUSY:
                self._wait(headers, until_s, status)
            elif status in REFUSED and self._format + 1 < len(FORMATS):
                self._format += 1
            else:
                moved = " It sends elsewhere, which is not followed." if 300 <= status < 400 else ""
                raise ChatFailed(f"it answered {status}.{moved}{_said(body)}")

    def _wait(self, headers: http.client.HTTPMessage, until_s: float, status: int) -> None:
        try:
            pause_s = max(0.0, float(headers.get("Retry-After", PAUSE_S)))
        except ValueError:  # a date
            pause_s = PAUSE_S
        if time.monotonic() + pause_s >= until_s:
            raise ChatFailed(f"it answered {status}, to be tried again after {pause_s:g} s, which is too long")
        time.sleep(pause_s)

    def _post(self, messages: Sequence[Message], until_s: float) -> tuple[int, http.client.HTTPMessage, bytes]:
        asked: dict[str, Any] = {"messages": list(messages), "temperature": TEMPERATURE, "max_tokens": MOST_TOKENS}
        if self.model:
            asked["model"] = self.model
        if (wanted := FORMATS[self._format]) is not None:
            asked["response_format"] = wanted
        try:
            with _alarm(until_s - time.monotonic()):
                return self._exchange(json.dumps(asked).encode())
        except _TimedOut:
            raise ChatFailed(f"it had not answered after {self.timeout_s:g} s") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ChatFailed(_reason(error)) from error

    def _exchange(self, body: bytes) -> tuple[int, http.client.HTTPMessage, bytes]:
        parts = urlsplit(self.url)
        connect = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = connect(parts.hostname or "", parts.port, timeout=self.timeout_s)
        path = f"{parts.path.rstrip('/')}/chat/completions"
        headers = {"Content-Type": "application/json", "User-Agent": f"voicejobs/{VERSION}"}
        with contextlib.closing(connection):
            connection.request("POST", path, body, headers)
            response = connection.getresponse()
            content = response.read(MOST_BYTES + 1)
            if len(content) > MOST_BYTES:
                raise ChatFailed(f"its answer is longer than {MOST_BYTES >> 20} MiB")
            if response.length:  # of what it has announced
                raise ChatFailed(BROKE_OFF)
            return response.status, response.headers, content


@contextlib.contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Raise _TimedOut within after so many seconds; an alarm that was set before goes on afterwards."""

    def ring(*_: object) -> None:
        raise _TimedOut

    if seconds <= 0:
        raise _TimedOut
    before, begun_s = signal.signal(signal.SIGALRM, ring), time.monotonic()
    left_s, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, max(0.01, left_s - (time.monotonic() - begun_s)) if left_s else 0)
        signal.signal(signal.SIGALRM, before)


def _content(body: bytes) -> str:
    try:
        content = json.loads(body)["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        raise ChatFailed(f"its answer is not one of OpenAI's API.{_said(body)}") from None
    if not isinstance(content, str):
        raise ChatFailed("its answer has no text")
    return content


def _said(body: bytes) -> str:
    text = " ".join(body[:300].decode("utf-8", "replace").split())
    return f" It said: {text[:160]}" if text else ""


def _reason(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there"
    if isinstance(error, socket.gaierror):
        return "no such host is known"
    if isinstance(error, ssl.SSLError):
        return f"its certificate or encryption is refused ({error.reason or error})"
    if isinstance(error, http.client.IncompleteRead | http.client.RemoteDisconnected | ConnectionError):
        return BROKE_OFF
    return f"its answer cannot be understood ({type(error).__name__}: {str(error)[:120]})"
