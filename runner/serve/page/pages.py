"""An instance → every page of the server, and what a person sees instead of an error."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from runner.serve.access import READING
from runner.serve.context import ServeContext
from runner.serve.errors import answer_to, known_form, plain_error, status_of, wants_page
from runner.serve.page.audition_page import AuditionPage
from runner.serve.page.drop_page import DropPage
from runner.serve.page.job_page import JobPage
from runner.serve.page.login_page import LoginPage
from runner.serve.page.peaks import Pictures
from runner.serve.page.queue_page import QueuePage
from runner.serve.page.site import Site
from runner.serve.page.voices_page import VoicesPage

NOT_FOUND = 404


class Pages:
    """The pages that browsers show."""

    def __init__(self, context: ServeContext) -> None:
        self.site = Site(context)
        pictures = Pictures(context)
        self._parts = (
            self.site,
            QueuePage(self.site),
            JobPage(self.site, pictures),
            AuditionPage(self.site, pictures),
            VoicesPage(self.site, pictures),
            DropPage(self.site),
            LoginPage(self.site),
        )

    def routes(self) -> list[Route]:
        """Paths and methods."""
        return [route for part in self._parts for route in part.routes()]

    async def problem(self, request: Request, error: Exception) -> Response:
        """The answer to a request that ended with an error: a page where a person waits for one."""
        known = known_form(request, error)
        if not wants_page(request.url.path, request.headers.get("accept", "")):
            return answer_to(known, path=request.url.path)
        status = status_of(known)
        return await self.site.page(
            "problem.html", status=status, error=plain_error(known), heading=_heading(request, status)
        )


def _heading(request: Request, status: int) -> str:
    """A problem in a few words."""
    if status == NOT_FOUND:
        return "There is no such page"
    return "That cannot be shown" if request.method in READING else "That was not done"
