"""`/login`: the key, typed into a form once → a cookie, with which a browser may ask for everything."""

from __future__ import annotations

import hmac
import html
from dataclasses import dataclass
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from runner.serve.context import ServeContext
from runner.serve.jobs.uploads import read_body
from runner.serve.keys import COOKIE, LONGEST_KEY, session_value

KEPT_S = 30 * 86_400
FORM_BYTES = 4 * LONGEST_KEY
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>voicejobs</title>
</head><body><main><h1>voicejobs</h1>{said}
<form method="post" action="/login"><p><label for="key">Key of this server</label>
<input id="key" name="key" type="password" autocomplete="current-password" required autofocus></p>
<p><button>Log in</button></p></form></main></body></html>
"""


@dataclass(frozen=True)
class Login:
    """The form and its answer."""

    context: ServeContext

    def routes(self) -> list[Route]:
        """Paths and methods."""
        return [Route("/login", self.form, methods=["GET"]), Route("/login", self.log_in, methods=["POST"])]

    async def form(self, _request: Request) -> Response:
        """The form."""
        return _page()

    async def log_in(self, request: Request) -> Response:
        """The first page with the cookie, or the form again."""
        content = await read_body(request, limit_bytes=FORM_BYTES)
        given, key = _key_in(content), self.context.key
        if key is not None and not hmac.compare_digest(given.encode(), key.encode()):
            return _page("The key is wrong.", status=401)
        answer = RedirectResponse("/", 303)
        if key is not None:
            answer.set_cookie(COOKIE, session_value(key), max_age=KEPT_S, path="/", httponly=True, samesite="strict")
        return answer


def _key_in(form: bytes) -> str:
    try:
        return parse_qs(form.decode("latin-1"), max_num_fields=10).get("key", [""])[0].strip()
    except ValueError:  # so many fields are no form of ours
        return ""


def _page(said: str = "", *, status: int = 200) -> Response:
    shown = f"<p role=alert>{html.escape(said)}</p>" if said else ""
    return HTMLResponse(PAGE.format(said=shown), status, headers={"Cache-Control": "no-store"})
