"""Every request → passed on or refused: by host, origin, key and size; and headers that every answer carries."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runner.serve.context import ServeContext
from runner.serve.errors import RequestRefused, answer_to, wants_page
from runner.serve.jobs.uploads import too_large
from runner.serve.keys import COOKIE, session_value

READING = ("GET", "HEAD", "OPTIONS")
LOGIN, STATIC = "/login", "/static/"
WITHOUT_KEY = ("/health", LOGIN)
LISTS = ("/v1/models", "/v1/audio/voices", "/v1/audio/models")
LOOPBACK_NAMES = ("localhost",)
SCHEMES = ("http://", "https://")
SILENT_S = 30.0  # of a client in the middle of its body
LINGER_S, LINGER_BYTES = 2.0, 1 << 20  # for which a refused body is still read, so that its sender sees the answer
ON_EVERY_ANSWER = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
}
ALLOWED_METHODS = "GET, POST, DELETE"


@dataclass(frozen=True)
class Gatekeeper:
    """ASGI middleware around the whole application."""

    app: ASGIApp
    context: ServeContext

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope = in_origin_form(scope)
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        answer = Answering(send, receive, self._cors(origin))
        try:
            self._check(scope, headers)
        except RequestRefused as error:
            if scope["method"] not in READING:
                error.headers["Connection"] = "close"  # its body is not read
            elif error.status == 401 and wants_page(scope["path"], headers.get("accept", "")):
                await RedirectResponse(LOGIN, 303)(scope, receive, answer)
                return
            await answer_to(error, path=scope["path"])(scope, receive, answer)
            return
        if scope["method"] == "OPTIONS" and answer.cors:
            await answer({"type": "http.response.start", "status": 204, "headers": []})
            await answer({"type": "http.response.body", "body": b"", "more_body": False})
            return
        body = Body(receive, self.context.settings.max_upload_bytes)
        try:
            await self.app(scope, body, answer)
        except RequestRefused as error:
            if not answer.started:  # else the connection is broken off: the client knows that this was not all
                await answer_to(error, path=scope["path"])(scope, receive, answer)

    def _check(self, scope: Scope, headers: Headers) -> None:
        _check_host(headers.get("host", ""), self.context)
        if scope["method"] not in READING:
            self._check_origin(headers)
        if not (scope["method"] == "OPTIONS" and headers.get("origin") in self.context.settings.origins):
            self._check_key(scope, headers)
        length = headers.get("content-length", "")
        if length.isascii() and length.isdigit() and int(length[:20]) > self.context.settings.max_upload_bytes:
            raise too_large(self.context.settings.max_upload_bytes)

    def _check_origin(self, headers: Headers) -> None:
        """Refuse what another page makes a browser send."""
        origin, site = headers.get("origin"), headers.get("sec-fetch-site", "")
        if origin in self.context.settings.origins:
            return
        own = origin is None or _netloc(origin) == headers.get("host", "").lower()
        if not own or site == "cross-site":
            raise RequestRefused(
                403,
                "This request comes from another page.",
                hint="`origins` in voicejobs.toml lists the pages that may use this server.",
                wire_code="cross-origin",
            )

    def _check_key(self, scope: Scope, headers: Headers) -> None:
        key, path = self.context.key, scope["path"]
        if key is None or path in WITHOUT_KEY or path.startswith(STATIC):
            return
        is_list = path in LISTS or path.startswith("/v1/models/")
        if self.context.settings.open_lists and is_list and scope["method"] in READING:
            return
        if not has_key(headers, key):
            raise RequestRefused(
                401,
                "The key of this server is missing or wrong.",
                hint="Send it as `Authorization: Bearer KEY`; it is in the file that `key_file` names.",
                wire_code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )

    def _cors(self, origin: str | None) -> Mapping[str, str]:
        if origin is None or origin not in self.context.settings.origins:
            return {}
        return {
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Allow-Methods": ALLOWED_METHODS,
            "Access-Control-Allow-Headers": "Authorization, Content-Type, Range",
            "Access-Control-Expose-Headers": "Content-Range, Location, X-Voicejobs-Job",
            "Vary": "Origin",
        }


def in_origin_form(scope: Scope) -> Scope:
    """A request whose target is a whole address, as proxies send it, as one for its path at that host."""
    scheme = next((each for each in SCHEMES if scope["path"][: len(each)].lower() == each), None)
    if scheme is None:
        return scope
    host, _, path = scope["path"][len(scheme) :].partition("/")
    raw_path = scope.get("raw_path", b"")[len(scheme) :].partition(b"/")[2]
    others = [(name, value) for name, value in scope["headers"] if name != b"host"]
    host = host.rpartition("@")[2].encode("latin-1", "replace")
    return {**scope, "path": f"/{path}", "raw_path": b"/" + raw_path, "headers": [*others, (b"host", host)]}


def has_key(headers: Headers, key: str) -> bool:
    """Whether a request carries the key, or the cookie that a browser got for it."""
    kind, _, given = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and _same(given.strip(), key):
        return True
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return False
    return cookie is not None and _same(cookie.value, session_value(key))


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(), wanted.encode())


def _check_host(host: str, context: ServeContext) -> None:
    """Refuse names that are not ours: a page of another name may have been made to resolve to this machine."""
    name = _host_name(host)
    known = {context.settings.host.lower(), *LOOPBACK_NAMES, *(each.lower() for each in context.settings.hosts)}
    if name not in known and host.lower() not in known and not _is_loopback(name):
        raise RequestRefused(
            421,
            "This server is not known under that name.",
            hint="`hosts` in voicejobs.toml lists the names under which it is reached.",
            wire_code="unknown-host",
        )


def _host_name(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").lower().rstrip(".")
    except ValueError:
        return ""


def _netloc(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


class Body:
    """The body of a request, up to the limit, from a client that goes on sending."""

    def __init__(self, receive: Receive, limit_bytes: int) -> None:
        self._receive, self._limit_bytes = receive, limit_bytes
        self._seen_bytes, self._is_over = 0, False

    async def __call__(self) -> Message:
        if self._is_over:
            return await self._receive()  # for `http.disconnect`, which may take any time
        message: Message | None = None
        with anyio.move_on_after(SILENT_S):
            message = await self._receive()
        if message is None:
            raise RequestRefused(
                408, "The request was not sent to its end.", wire_code="timeout", headers={"Connection": "close"}
            )
        if message["type"] == "http.request":
            self._seen_bytes += len(message.get("body", b""))
            self._is_over = not message.get("more_body", False)
            if self._seen_bytes > self._limit_bytes:
                raise too_large(self._limit_bytes)
        return message


class Answering:
    """The answer, with the headers that all of them carry.

    Before a connection is closed, what its client still sends is read for a moment: else it would not see the answer.
    """

    def __init__(self, send: Send, receive: Receive, cors: Mapping[str, str]) -> None:
        self._send, self._receive, self.cors = send, receive, cors
        self.started = self._closes = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            headers = MutableHeaders(scope=message)
            for name, value in (*ON_EVERY_ANSWER.items(), *self.cors.items()):
                headers.setdefault(name, value)
            self._closes = headers.get("connection") == "close"
        elif self._closes and not message.get("more_body", False):
            await self._send({**message, "more_body": True})
            message = {"type": "http.response.body", "body": b"", "more_body": False}
            left_bytes = LINGER_BYTES
            with anyio.move_on_after(LINGER_S):
                while left_bytes > 0 and (more := await self._receive()).get("more_body"):
                    left_bytes -= len(more["body"])
        await self._send(message)
