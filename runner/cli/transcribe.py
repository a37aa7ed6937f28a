"""A recording on a person's disk → a transcribe job in the instance, and what was heard in it."""

from __future__ import annotations

import contextlib
import json
import secrets
from pathlib import Path
from typing import Any

from models.named_paths import shown_path, status_of
from registry.errors import NotFound, storage_error
from runner.cli.progress import wait_with_progress
from runner.cli.submit import Finished
from runner.config.instance import Instance
from runner.errors import NoRecogniser, WorkFailed
from runner.outbox.transcript import SRT, TRANSCRIPT, VTT, WORDS
from runner.submission.drop_writer import job_from_values, submit_job

PRIORITY = 50  # somebody is waiting
FILES = {"txt": TRANSCRIPT, "srt": SRT, "vtt": VTT}


def transcribe(instance: Instance, path: Path, *, language: str | None, form: str) -> tuple[str, list[str]]:
    """The words of a recording as one of FILES, or as JSON, and warnings. Raises NotFound, NoRecogniser, WorkFailed."""
    if status_of(path) is None:
        raise NotFound(f"There is no recording {shown_path(path)}.")
    instance.prepare()
    if not instance.settings.recogniser:
        raise NoRecogniser
    path = path.resolve()
    values: dict[str, Any] = {"kind": "transcribe", "audio": path.name, "priority": PRIORITY}
    if language is not None:
        values["language"] = language
    job = job_from_values(values, name=f"transcribe-{secrets.token_hex(6)}", folder=path.parent)
    finished = wait_with_progress(instance, submit_job(instance, job))
    if finished.exit_code:
        raise WorkFailed(finished.error_text or f"{shown_path(path)} could not be transcribed.")
    text = _as_json(finished) if form == "json" else _file(finished, FILES[form])
    with contextlib.suppress(OSError):  # the caller gets its text
        finished.outbox.remove(finished.job)
    return text.rstrip("\n"), finished.receipt["warnings"]


def _as_json(finished: Finished) -> str:
    words = json.loads(_file(finished, WORDS))
    values = {"text": _file(finished, TRANSCRIPT), **finished.receipt["heard"], "words": words}
    return json.dumps({**values, "warnings": finished.receipt["warnings"]}, ensure_ascii=False, indent=2)


def _file(finished: Finished, name: str) -> str:
    try:
        return finished.outbox.read(finished.job, name).decode()
    except OSError as error:
        raise storage_error(error, f"reading {name} of {finished.job}") from error
