"""`/login`: the key of the server, typed once → a cookie that stands for it."""

from __future__ import annotations

import hmac
from dataclasses import dataclass

import anyio
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from runner.serve.access import LOGIN, has_key
from runner.serve.keys import COOKIE, session_value
from runner.serve.page.forms import form_of
from runner.serve.page.site import Site, to

KEPT_S = 90 * 86_400
AFTER_A_WRONG_KEY_S = 1.0


@dataclass(frozen=True)
class LoginPage:
    """The form for the key."""

    site: Site

    def routes(self) -> list[Route]:
        """Path and methods."""
        return [Route(LOGIN, self.show, methods=["GET"]), Route(LOGIN, self.log_in, methods=["POST"])]

    async def show(self, request: Request) -> Response:
        """The form, unless no key is needed any more."""
        key = self.site.context.key
        if key is None or has_key(request.headers, key):
            return to("/")
        return await self.site.page("login.html", is_wrong=False)

    async def log_in(self, request: Request) -> Response:
        """The way to the queue with the right key, the form again with any other."""
        form, key = await form_of(request, self.site), self.site.context.key
        if key is None:
            return to("/")
        if not hmac.compare_digest(form["key"].encode(), key.encode()):
            await anyio.sleep(AFTER_A_WRONG_KEY_S)
            return await self.site.page("login.html", status=401, is_wrong=True)
        answer = to("/")
        is_https = request.headers.get("x-forwarded-proto") == "https"
        answer.set_cookie(COOKIE, session_value(key), max_age=KEPT_S, httponly=True, samesite="strict", secure=is_https)
        return answer
