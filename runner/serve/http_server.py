"""An application → an HTTP server on a socket of ours, until a signal.

uvicorn does the work; what it leaves to a proxy in front of it is done here: time-outs of headers, of readers that
do not read and of the whole shut-down, and an end with exit code 0 on SIGTERM.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import signal
import socket
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import anyio
import h11
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from registry.errors import Busy, storage_error
from runner.errors import UsageProblem
from runner.serve.context import ServeContext

HEADERS_WITHIN_S = 20.0
STUCK_S = 120.0  # a client that reads nothing for so long is gone
KEPT_ALIVE_S = 15
GRACE_S = 3  # for requests in progress, once the server is to stop
MOST_HEADER_BYTES = 32_768
MOST_CONNECTIONS = 1_000
BACKLOG = 512
UNREAD_BYTES = 1 << 14  # that are kept for a client, beside what the system keeps, before more is made


class Protocol(H11Protocol):
    """A connection that is closed when a request's headers do not come, or nothing is read, for too long."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=UNREAD_BYTES)
        self._idle_since_s = self._read_s = time.monotonic()
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()
            return
        self._look_later()

    def _look_later(self) -> None:
        self.loop.call_later(HEADERS_WITHIN_S / 4, self._look)

    def _look(self) -> None:
        """Close what has been idle for too long."""
        if self.transport.is_closing() and self not in self.connections:
            return
        now_s = time.monotonic()
        if self.cycle is not None and not self.cycle.response_complete:
            self._idle_since_s = now_s
        if not self.flow.write_paused:
            self._read_s = now_s
        if now_s - self._idle_since_s > HEADERS_WITHIN_S or now_s - self._read_s > STUCK_S:
            self.transport.abort()
            return
        self._look_later()


class HttpServer(uvicorn.Server):
    """uvicorn's server, which remembers the signal instead of dying of it."""

    def __init__(self, config: uvicorn.Config, *, on_stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_stop = on_stop
        self.last_signal: int | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.last_signal = sig
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_stop()
        await super().shutdown(sockets)


class Stoppable:
    """ASGI middleware that ends the requests in progress once the server has been stopping for a moment."""

    def __init__(self, app: ASGIApp, context: ServeContext) -> None:
        self._app, self._context = app, context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        async with anyio.create_task_group() as group:

            async def stop() -> None:
                await self._context.closing.wait()
                await anyio.sleep(GRACE_S / 2)
                group.cancel_scope.cancel()

            async def send_while_open(message: Message) -> None:
                with contextlib.suppress(h11.LocalProtocolError):  # its body was no HTTP: it has been told so
                    await send(message)

            group.start_soon(stop)
            await self._app(scope, receive, send_while_open)
            group.cancel_scope.cancel()


def listen(host: str, port: int, *, flag: str = "--port") -> socket.socket:
    """A listening socket. Raises Busy when another program has the port, UsageProblem for a wrong address.

    `flag` is the one that chooses another port.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, ValueError):
        raise UsageProblem(f"{host!r} is no address of this machine.", hint="Write 127.0.0.1, for example.") from None
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # at once after a server that was killed
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            hint = f"Another server may be running; {flag} chooses another port."
            raise Busy(f"Port {port} of {host} is in use.", hint=hint) from None
        if error.errno == errno.EADDRNOTAVAIL:
            raise UsageProblem(f"{host} is no address of this machine.", hint="Write 127.0.0.1, for example.") from None
        raise storage_error(error, f"listening on {host}, port {port}") from error
    return listening


def serve(app: ASGIApp, context: ServeContext, listening: socket.socket, *, on_stop: Callable[[], None]) -> int | None:
    """Answer requests until a signal, which is returned; `on_stop` is called once it has come."""
    config = uvicorn.Config(
        Stoppable(app, context),
        http=Protocol,
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=MOST_HEADER_BYTES,
        timeout_keep_alive=KEPT_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
    )

    def stop() -> None:
        context.closing.set()
        on_stop()

    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    server = HttpServer(config, on_stop=stop)
    server.run(sockets=[listening])
    return server.last_signal
