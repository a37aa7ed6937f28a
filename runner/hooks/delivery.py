"""One notice → its receiver: a POST, or a program that gets it on standard input; within ten seconds.

This module uses the network and starts processes. `Attempt.abort` may be called from another thread.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit

from models.named_paths import named_path
from registry.jobs.hook_deliveries import Delivery
from runner.config.hook_settings import HookSettings
from runner.held_folders import read_at_most, regular_file
from runner.hooks.rules import TIMEOUT_S, body_of, notice, secret_bytes, signature_headers
from runner.version import VERSION

LONGEST_SECRET_BYTES = 4_096
KEPT_IN_PATHS = "/%:@!$&'()*+,;=~-._?"


class NotDelivered(Exception):
    """A receiver that was not reached, or refused; the message says why."""


@dataclass
class Attempt:
    """An attempt at delivering one notice."""

    hook: HookSettings
    root: Path
    timeout_s: float = TIMEOUT_S
    _connection: http.client.HTTPConnection | None = None
    _process: subprocess.Popen[bytes] | None = None
    _is_aborted: bool = field(default=False)

    def deliver(self, delivery: Delivery) -> None:
        """Raises NotDelivered."""
        content = notice(delivery.type, delivery.at_s, delivery.data)
        body, media_type = body_of(self.hook, content)
        try:
            with self._limited():
                if self.hook.command:
                    self._run(body)
                else:
                    self._post(body, {"Content-Type": media_type}, webhook_id=delivery.webhook_id)
        except (OSError, http.client.HTTPException) as error:
            raise NotDelivered(self._why(error)) from None

    def abort(self) -> None:
        """Break off, now."""
        self._is_aborted = True
        with contextlib.suppress(OSError, AttributeError):
            if self._connection is not None:
                self._connection.sock.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            if self._process is not None and self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)

    @contextlib.contextmanager
    def _limited(self) -> Iterator[None]:
        """A limit for the whole attempt: the time-out of a socket is for each single answer of the other side."""
        timer = threading.Timer(self.timeout_s, self.abort)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _why(self, error: Exception) -> str:
        if self._is_aborted or isinstance(error, TimeoutError):
            return f"no answer within {self.timeout_s:g} s"
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return f"not reached: {reason}"

    def _post(self, body: bytes, headers: dict[str, str], *, webhook_id: str) -> None:
        parts = urlsplit(self.hook.url)
        assert parts.hostname
        headers |= {"User-Agent": f"voicejobs/{VERSION}", "Connection": "close"}
        headers |= signature_headers(self._key(), webhook_id=webhook_id, now_s=time.time(), body=body)
        self._connection = _connection(parts.scheme, parts.hostname, parts.port, timeout_s=self.timeout_s)
        target = quote(f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}", safe=KEPT_IN_PATHS)
        try:
            self._connection.request("POST", target, body=body, headers=_merged(headers, self.hook.headers))
            answer = self._connection.getresponse()
        finally:
            self._connection.close()
        if not 200 <= answer.status < 300:
            raise NotDelivered(f"it answered {answer.status}")

    def _key(self) -> bytes | None:
        if not self.hook.secret_file:
            return None
        path = named_path(self.hook.secret_file, below=self.root)
        return read_secret(path)

    def _run(self, body: bytes) -> None:
        self._process = subprocess.Popen(
            self.hook.command,
            cwd=self.root,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        with self._process:
            self._process.communicate(body)
        if self._is_aborted:
            raise TimeoutError
        if self._process.returncode != 0:
            raise NotDelivered(f"it ended with {self._process.returncode}")


def read_secret(path: Path) -> bytes:
    """The key in a file. Raises NotDelivered."""
    try:
        with regular_file(str(path)) as file:
            return secret_bytes(read_at_most(file, LONGEST_SECRET_BYTES).decode("ascii"))
    except OSError as error:
        raise NotDelivered(f"the secret_file {path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise NotDelivered(f"the secret_file {path} holds no secret: whsec_ and base64") from None


def _connection(scheme: str, host: str, port: int | None, *, timeout_s: float) -> http.client.HTTPConnection:
    if scheme == "https":
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=context)
    return http.client.HTTPConnection(host, port, timeout=timeout_s)


def _merged(headers: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """Headers of ours, over which a person's win, in whatever case they are written."""
    wanted = {name.lower() for name in own}
    return {**{name: value for name, value in headers.items() if name.lower() not in wanted}, **own}
