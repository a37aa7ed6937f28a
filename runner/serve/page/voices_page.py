"""`/voices` → the voices of the registry: their versions in time, how they sound, and where they are used."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from registry.jobs.lists import jobs_naming
from registry.storage.session import Session
from registry.voices.lookup import alias_log, aliases, cosine_of, history, list_voices, resolve
from registry.voices.names import CURRENT, VoiceReference
from registry.voices.values import Version
from registry.voices.versions import set_alias
from runner.exchange.exporter import export_voice
from runner.serve.page.forms import form_of
from runner.serve.page.job_page import picture_answer
from runner.serve.page.peaks import Pictures
from runner.serve.page.site import Site, path_of, to
from runner.serve.page.sounds import sound_answer

PAGE = 40
VERSIONS = 20
JOBS = 12


@dataclass(frozen=True)
class VoicesPage:
    """Pages about locked voices."""

    site: Site
    pictures: Pictures

    def routes(self) -> list[Route]:
        """Paths and methods."""
        version = "/voices/{voice}/{number:int}"
        return [
            Route("/voices", self.list, methods=["GET"]),
            Route("/voices/{voice}", self.show, methods=["GET"]),
            Route("/voices/{voice}/alias", self.move_alias, methods=["POST"]),
            Route("/voices/{voice}/say", self.say, methods=["POST"]),
            Route(f"{version}/sound", self.sound, methods=["GET"]),
            Route(f"{version}/peaks", self.peaks, methods=["GET"]),
            Route(f"{version}/vox", self.export, methods=["GET"]),
        ]

    async def list(self, request: Request) -> Response:
        """One page of voices, by name."""
        after, containing = (request.query_params.get(key, "")[:200] for key in ("after", "containing"))
        found = await self.site.context.read(
            lambda session: list_voices(session, after=after, containing=containing, limit=PAGE + 1)
        )
        next_ = found[PAGE - 1].name if len(found) > PAGE else None
        return await self.site.page(
            "voices.html", voices=found[:PAGE], next=next_, containing=containing, is_first=not after
        )

    async def show(self, request: Request) -> Response:
        """One voice with some of its versions, newest first."""
        name = request.path_params["voice"]
        before = request.query_params.get("before", "")
        bound = int(before) if before.isascii() and before.isdigit() and len(before) < 10 else None

        def ask(session: Session) -> dict[str, Any]:
            versions = history(session, name, before=bound, limit=VERSIONS + 1)
            known = aliases(session, name)
            current = next((alias.number for alias in known if alias.name == CURRENT), None)
            chosen = _numbered(session, name, current, versions)
            return {
                "name": versions[0].voice if versions else name,
                "versions": versions[:VERSIONS],
                "older": versions[VERSIONS - 1].number if len(versions) > VERSIONS else None,
                "aliases": known,
                "current": current,
                "likeness": {each.number: _likeness(each, chosen) for each in versions},
                "alike": _alike(versions[:VERSIONS]),
                "moves": alias_log(session, name, limit=JOBS),
                "used_by": jobs_naming(session, name, limit=JOBS),
            }

        return await self.site.page("voice.html", **await self.site.context.read(ask))

    async def sound(self, request: Request) -> Response:
        """How a version sounds: its audition, else the recording that it was made from."""
        version = await self._version(request)
        context = self.site.context
        return await sound_answer(request, context, context.objects, _recording(version), name=version.name)

    async def peaks(self, request: Request) -> Response:
        """The waveform of that."""
        version = await self._version(request)
        return picture_answer(await self.pictures.of(self.site.context.objects, _recording(version) or ""))

    async def export(self, request: Request) -> Response:
        """A version, with the others of its voice, as a `.vox` file. Raises ConsentMissing."""
        version, objects = await self._version(request), self.site.context.objects
        voice = await self.site.context.read(lambda session: export_voice(session, objects, version.name))
        headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(voice.file_name)}"}
        return Response(voice.content, headers=headers, media_type="application/octet-stream")

    async def _version(self, request: Request) -> Version:
        reference = VoiceReference(name=request.path_params["voice"], number=request.path_params["number"])
        return await self.site.context.read(lambda session: resolve(session, reference))

    # ---- changing ------------------------------------------------------------------------------------------------

    async def move_alias(self, request: Request) -> Response:
        """The voice, once an alias points at another of its versions."""
        form, name = await form_of(request, self.site), request.path_params["voice"]
        reference = VoiceReference(name=name, number=form.whole("version"))
        version = await self.site.context.request(
            lambda session: set_alias(session, reference, form["alias"], now_s=time.time(), why="set on the page")
        )
        return to(f"/voices/{quote(version.voice, safe='')}#v{version.number}")

    async def say(self, request: Request) -> Response:
        """The job in which a version says something."""
        form, name = await form_of(request, self.site), request.path_params["voice"]
        values = {"kind": "synthesize", "voice": f"{name}@{form.whole('version')}", "text": form.text("text")}
        return to(path_of(await self.site.drop(values, name=f"{name}-says")))


def _recording(version: Version) -> str | None:
    return version.audition_sha256 or version.reference_sha256


def _numbered(session: Session, name: str, number: int | None, known: Sequence[Version]) -> Version | None:
    """The current version, also when it is on another page."""
    if number is None:
        return None
    here = next((each for each in known if each.number == number), None)
    return here or resolve(session, VoiceReference(name=name, number=number), removed=True)


def _alike(versions: Sequence[Version]) -> list[tuple[int, list[float | None]]]:
    """Cosines between all of these versions whose speakers are known, where there are more than two."""
    known = [version for version in versions if version.speaker_embedding is not None]
    if len(known) < 3:  # of two, each version's own figure says it
        return []
    return [
        (one.number, [cosine_of(one.speaker_embedding, other.speaker_embedding) for other in known]) for one in known
    ]


def _likeness(version: Version, current: Version | None) -> float | None:
    """Cosine of a version's speaker with that of the current one."""
    if current is None or current.number == version.number:
        return None
    return cosine_of(version.speaker_embedding, current.speaker_embedding)
