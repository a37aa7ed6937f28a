"""The bytes of a connection ↔ the events of the library `wyoming`, within limits.

The library reads as many bytes as a header promises; here no header is believed that promises more than a frame has.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, cast

import anyio
from anyio.abc import SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream
from wyoming.event import Event, async_read_event, async_write_event

LONGEST_HEADER_BYTES = 256 << 10  # older clients put the text there
LONGEST_PART_BYTES = 1 << 20  # of data, and of sound
STUCK_S = 120.0  # a client that reads nothing for so long is gone
LINGER_S, LINGER_READS = 2.0, 64
# How the library, or the reading of its events, fails on frames that are none.
GARBAGE = (AttributeError, IndexError, KeyError, OverflowError, RecursionError, TypeError, ValueError)
GONE = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, anyio.IncompleteRead, OSError)


class _Reader:
    """A connection as the library reads from it."""

    def __init__(self, stream: SocketStream) -> None:
        self._buffered = BufferedByteReceiveStream(stream)

    async def readline(self) -> bytes:
        if (first := await self._buffered.receive_exactly(1)) != b"{":
            raise ValueError("no header begins so")  # TLS, HTTP: its end may never come
        try:
            return first + await self._buffered.receive_until(b"\n", LONGEST_HEADER_BYTES)
        except anyio.DelimiterNotFound:
            raise ValueError("a header without end") from None

    async def readexactly(self, number: int) -> bytes:
        if number > LONGEST_PART_BYTES:
            raise ValueError("a frame that is too large")
        return await self._buffered.receive_exactly(number)


@dataclass
class _Writer:
    """A connection as the library writes to it."""

    stream: SocketStream
    _content: bytearray = field(default_factory=bytearray)

    def write(self, content: bytes) -> None:
        self._content += content

    def writelines(self, parts: Iterable[bytes]) -> None:
        self._content += b"".join(parts)

    async def drain(self) -> None:
        content, self._content = bytes(self._content), bytearray()
        await self.stream.send(content)


class Frames:
    """The events of one connection; several tasks may send, one receives."""

    def __init__(self, stream: SocketStream) -> None:
        self._stream = stream
        self._reader, self._writer = _Reader(stream), _Writer(stream)
        self._sending = anyio.Lock()

    async def receive(self) -> Event | None:
        """The next event; None at the end of the connection, and for what is no event."""
        try:
            event = await async_read_event(cast(Any, self._reader))
        except (*GARBAGE, *GONE):
            return None
        is_whole = event is not None and isinstance(event.type, str) and isinstance(event.data, dict)
        return event if is_whole else None

    async def send(self, event: Event) -> None:
        """Raises TimeoutError when the client reads nothing, and one of GONE when it has gone."""
        async with self._sending:
            with anyio.fail_after(STUCK_S):
                await async_write_event(event, cast(Any, self._writer))

    async def say_last(self, event: Event) -> None:
        """Send an event before the connection is closed; what still comes is read for a moment, else it may be lost."""
        with anyio.move_on_after(LINGER_S), contextlib.suppress(TimeoutError, *GONE):
            await self.send(event)
            await self._stream.send_eof()
            for _ in range(LINGER_READS):
                await self._stream.receive()
