"""A listening socket → sessions of Wyoming, while the application runs; and its announcement on the network."""

from __future__ import annotations

import ipaddress
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio
from anyio.abc import SocketListener, SocketStream

from runner.serve.context import ServeContext
from runner.serve.wyoming.frames import Frames
from runner.serve.wyoming.session import Session

if TYPE_CHECKING:
    from zeroconf.asyncio import AsyncZeroconf

    from runner.serve.openai.speech_job import SpeechJobs

logger = logging.getLogger(__name__)

MOST_CONNECTIONS = 100
SERVICE = "_wyoming._tcp.local."
MULTICAST_DNS = "224.0.0.251"
FAREWELL_S = 2.0


@dataclass
class WyomingServer:
    """All connections of Home Assistant's protocol."""

    context: ServeContext
    listening: socket.socket
    speech_jobs: Callable[[], SpeechJobs]
    _connections: int = 0

    async def run(self) -> None:
        """Serve until cancelled."""
        listener = await SocketListener.from_socket(self.listening)
        async with listener, self._announced():
            await listener.serve(self._serve)

    async def _serve(self, stream: SocketStream) -> None:
        async with stream:
            if self._connections >= MOST_CONNECTIONS:
                logger.warning("%d connections of Wyoming are open; another was refused", self._connections)
                return
            self._connections += 1
            try:
                await Session(Frames(stream), self.context, self.speech_jobs).run()
            finally:
                self._connections -= 1

    @asynccontextmanager
    async def _announced(self) -> AsyncIterator[None]:
        """The server named on the network, so that Home Assistant offers to add it, where that is set."""
        if not self.context.settings.zeroconf:
            yield
            return
        from zeroconf import Error
        from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

        host, port = self.listening.getsockname()[:2]
        name = f"voicejobs-{socket.gethostname().partition('.')[0]}-{port}.{SERVICE}"
        async with AsyncExitStack() as stack:
            try:
                found = AsyncServiceInfo(SERVICE, name, port=port, parsed_addresses=[_address_for_others(host)])
                responder = AsyncZeroconf()
                stack.push_async_callback(_withdraw, responder)
                await responder.async_register_service(found)
                logger.info("announced as %s", name)
            except (OSError, Error) as error:  # without a network, say: it can still be added by its address
                logger.warning("the network was not told of %s: %s", name, error or type(error).__name__)
            yield


async def _withdraw(responder: AsyncZeroconf) -> None:
    with anyio.CancelScope(shield=True), anyio.move_on_after(FAREWELL_S):
        await responder.async_unregister_all_services()
        await responder.async_close()


def _address_for_others(host: str) -> str:
    """Address at which other machines reach a server that listens at `host`."""
    if not ipaddress.ip_address(host).is_unspecified:
        return host
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.connect((MULTICAST_DNS, 1))  # sends nothing
        return str(asking.getsockname()[0])
