"""`/audition` → designed voices: their candidates side by side, as loud as each other, to be locked under a name."""

from __future__ import annotations

import hashlib
import json
import random
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from registry.errors import VoiceJobsError
from registry.jobs.jobs import by_name, find_by_name
from registry.jobs.lists import list_jobs
from registry.jobs.values import OPEN_STATUSES, Job
from registry.storage.session import Session
from registry.voices.candidates import find_candidates, get_candidate
from registry.voices.values import Candidate
from runner.serve.page.forms import form_of
from runner.serve.page.job_page import picture_answer
from runner.serve.page.peaks import Picture, Pictures
from runner.serve.page.queue_page import place_before
from runner.serve.page.site import Site, path_of, to
from runner.serve.page.sounds import sound_answer

PAGE = 30
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class AuditionPage:
    """Pages on which a candidate is chosen."""

    site: Site
    pictures: Pictures

    def routes(self) -> list[Route]:
        """Paths and methods."""
        job = "/audition/{job}"
        return [
            Route("/audition", self.list, methods=["GET"]),
            Route(job, self.show, methods=["GET"]),
            Route(f"{job}/{{index:int}}/sound", self.sound, methods=["GET"]),
            Route(f"{job}/{{index:int}}/peaks", self.peaks, methods=["GET"]),
            Route(f"{job}/lock", self.lock, methods=["POST"]),
            Route(f"{job}/say", self.say, methods=["POST"]),
            Route(f"{job}/more", self.more, methods=["POST"]),
        ]

    async def list(self, request: Request) -> Response:
        """The designs, newest first."""
        before = place_before(request)
        found = await self.site.context.read(
            lambda session: list_jobs(session, kind="design", limit=PAGE + 1, before=before)
        )
        older = found[PAGE - 1].job.id if len(found) > PAGE else None
        return await self.site.page("auditions.html", designs=found[:PAGE], older=older)

    async def show(self, request: Request) -> Response:
        """The candidates of a design, in their own order, or in one that tells nothing of them."""
        name, blind = request.path_params["job"], request.query_params.get("blind", "")[:32]

        def ask(session: Session) -> tuple[Job | None, Sequence[Candidate]]:
            return find_by_name(session, name), find_candidates(session, name)

        job, candidates = await self.site.context.read(ask)
        if not candidates:
            job = await self.site.context.read(lambda session: by_name(session, name))
        spec = json.loads(job.spec_json) if job else {}
        pictures = {each.index: await self._picture(each) for each in candidates}
        shown = list(candidates)
        if blind:
            random.Random(f"{blind} {name}").shuffle(shown)
        return await self.site.page(
            "audition.html",
            name=name,
            job=job,
            is_open=job is not None and job.status in OPEN_STATUSES,
            voice=spec.get("voice", ""),
            candidates=[(letter, each) for letter, each in zip(_letters(), shown, strict=False)],
            levels=_levels(pictures),
            ranks=_ranks(job),
            blind=blind,
            new_blind=secrets.token_hex(4),
        )

    async def _picture(self, candidate: Candidate) -> Picture | None:
        try:
            return await self.pictures.of(self.site.context.objects, candidate.content.audio_sha256)
        except VoiceJobsError:  # its player says that it cannot be heard
            return None

    async def sound(self, request: Request) -> Response:
        """The recording of a candidate, as the registry keeps it."""
        candidate = await self._candidate(request)
        context, sha256 = self.site.context, candidate.content.audio_sha256
        return await sound_answer(request, context, context.objects, sha256, name=f"candidate-{candidate.index}")

    async def peaks(self, request: Request) -> Response:
        """The waveform of a candidate."""
        candidate = await self._candidate(request)
        return picture_answer(await self.pictures.of(self.site.context.objects, candidate.content.audio_sha256))

    async def _candidate(self, request: Request) -> Candidate:
        name, index = request.path_params["job"], request.path_params["index"]
        return await self.site.context.read(lambda session: get_candidate(session, name, index))

    # ---- changing ------------------------------------------------------------------------------------------------

    async def lock(self, request: Request) -> Response:
        """The job that locks a candidate under a name."""
        form = await form_of(request, self.site)
        source = {"job": request.path_params["job"], "candidate": form.whole("candidate") or 0}
        job = await self.site.drop(
            {"kind": "lock", "voice": form["voice"], "from": source}, name=f"{form['voice'][:64]}-lock"
        )
        return to(path_of(job))

    async def say(self, request: Request) -> Response:
        """The job in which a candidate says something else: it is locked for that, under a name for trials."""
        form, name = await form_of(request, self.site), request.path_params["job"]
        index = form.whole("candidate") or 0
        await self.site.context.read(lambda session: get_candidate(session, name, index))
        own = hashlib.sha256(name.encode()).hexdigest()[:8]
        trial = {"kind": "lock", "id": f"try-{own}-{index}", "voice": f"try-{own}-{index}"}
        text = {"kind": "synthesize", "voice": f"{trial['voice']}@1", "text": form.text("text")}
        await self.site.drop({**trial, "from": {"job": name, "candidate": index}}, name=trial["id"])
        return to(path_of(await self.site.drop(text, name=f"{trial['id']}-says")))

    async def more(self, request: Request) -> Response:
        """The job that makes further candidates from the same description."""
        await form_of(request, self.site)
        name = request.path_params["job"]
        job = await self.site.context.read(lambda session: by_name(session, name))
        values = {key: value for key, value in json.loads(job.spec_json).items() if key not in ("id", "seed")}
        made = await self.site.drop({**values, "fresh": True}, name=job.name)
        return to(f"/audition/{quote(made.name, safe='')}")


def _letters() -> list[str]:
    return [*LETTERS, *(f"{first}{second}" for first in LETTERS for second in LETTERS)]


def _ranks(job: Job | None) -> Mapping[str, int]:
    """The rank of each candidate by its index; empty where they were not measured, or nothing told them apart."""
    ranks: Mapping[str, int] = job.facts.get("ranks", {}) if job else {}
    return {} if all(int(index) == rank for index, rank in ranks.items()) else ranks


def _levels(pictures: dict[int, Picture | None]) -> dict[int, float]:
    """Volume of each candidate, 1 for the quietest, so that none is louder than another."""
    known = {
        index: picture.loudness_lufs
        for index, picture in pictures.items()
        if picture is not None and picture.loudness_lufs is not None
    }
    quietest = min(known.values(), default=0.0)
    return {index: round(10 ** ((quietest - lufs) / 20), 4) for index, lufs in known.items()}
