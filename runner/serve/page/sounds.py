"""A recording of the registry → an answer with its bytes, whole or a range. Touches the disk."""

from __future__ import annotations

import os

from starlette.requests import Request
from starlette.responses import Response

from registry.errors import NotFound
from registry.storage.object_store import ObjectStore
from runner.held_folders import regular_file
from runner.serve.context import ServeContext
from runner.serve.jobs.files import FileAnswer

EXTENSIONS = ((b"fLaC", "flac"), (b"RIFF", "wav"))


async def sound_answer(
    request: Request, context: ServeContext, store: ObjectStore, sha256: str | None, *, name: str
) -> Response:
    """The recording, which keeps its name; `name` is without an ending. Raises NotFound when there is none."""
    if sha256 is None:
        raise NotFound(f"{name} has no recording.")
    file = await context.in_thread(lambda: _opened(store, sha256))
    start = os.pread(file, 4, 0)
    ending = next((ending for magic, ending in EXTENSIONS if start == magic), "bin")
    return FileAnswer(file, name=f"{name}.{ending}", wanted=request.headers.get("range"), context=context)


def _opened(store: ObjectStore, sha256: str) -> int:
    try:
        with regular_file(str(store.path(sha256))) as file:
            return os.dup(file)
    except OSError:
        raise NotFound(
            "The recording is no longer in the registry.", hint="`voicejobs voices fsck` tells what else is lost."
        ) from None
