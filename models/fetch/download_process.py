"""A download in a process of its own, so that a runner of months never carries `huggingface_hub` and its network stack.

Parent and child talk in lines of JSON: the order on stdin, events and the outcome on stdout. The child ends when its
stdin does, and holds the model's lock as long as it lives, so that nobody else begins while it still writes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from models import errors
from models.store.events import ModelEvent, OnEvent
from registry.durable_files import FileLock
from registry.errors import StorageError, VoiceJobsError

PACKAGE_ROOT = Path(__file__).resolve().parents[2]

# Every error that `download_model` raises: each is made of a message and a hint.
_CLASSES: tuple[type[VoiceJobsError], ...] = (
    errors.RepositoryNotFound,
    errors.RepositoryGated,
    errors.HubUnreachable,
    errors.HubRefused,
    errors.NoSpaceForModel,
    errors.DownloadCorrupt,
    errors.DownloadFailed,
    errors.UnsupportedCheckpoint,
    StorageError,
)
ERRORS = {error.code: error for error in _CLASSES}


@dataclasses.dataclass(frozen=True, kw_only=True)
class DownloadOrder:
    """Repository that the child is to fetch, and the folder for it."""

    repository: str
    folder: str
    revision: str | None = None
    progress_every_s: float = 5.0
    files: tuple[str, ...] = ()  # patterns of those that are wanted; () is all


_turn = threading.Lock()


@contextlib.contextmanager
def one_at_a_time(repository: str, on_event: OnEvent) -> Iterator[None]:
    """Wait for the other downloads of this process: one at a time ends sooner, and finds the space it counts on."""
    if not _turn.acquire(blocking=False):
        message = f"{repository} is fetched once the download under way has ended."
        on_event(ModelEvent(kind="waiting", model=repository, message=message))
        _turn.acquire()
    try:
        yield
    finally:
        _turn.release()


def download_in_child(order: DownloadOrder, *, environ: Mapping[str, str], on_event: OnEvent, lock: FileLock) -> str:
    """Run `download_model` in a child process, one at a time; returns the commit. Raises what it raises, or
    DownloadFailed."""
    with one_at_a_time(order.repository, on_event):
        return _fetched_by_child(order, environ=environ, on_event=on_event, lock=lock)


def _fetched_by_child(order: DownloadOrder, *, environ: Mapping[str, str], on_event: OnEvent, lock: FileLock) -> str:
    child = subprocess.Popen(
        [sys.executable, "-m", "models.fetch.download_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=dict(environ),
        cwd=PACKAGE_ROOT,  # not the instance: a folder `models` there would shadow our package
        pass_fds=(lock.fileno(),),
        start_new_session=True,  # Ctrl-C is the parent's business, whose end ends the child
        text=True,
    )
    assert child.stdin is not None and child.stdout is not None
    try:
        child.stdin.write(json.dumps(dataclasses.asdict(order)) + "\n")
        child.stdin.flush()
        for line in child.stdout:
            outcome = _handle(json.loads(line), on_event)
            if outcome is not None:
                return outcome
    except BrokenPipeError:
        pass  # it died before it read its order; its status says how
    finally:
        child.stdin.close()
        child.stdout.close()
        status = child.wait()
    hint = "What was fetched is kept, and the next attempt goes on from there."
    raise errors.DownloadFailed(f"The process that fetched {order.repository} ended with status {status}.", hint=hint)


def _handle(message: Mapping[str, Any], on_event: OnEvent) -> str | None:
    """One line of the child: an event is passed on, an error raised, a commit returned."""
    if "event" in message:
        on_event(ModelEvent(**message["event"]))
        return None
    if "error" in message:
        error = message["error"]
        raise ERRORS.get(error["code"], errors.DownloadFailed)(error["message"], hint=error["hint"])
    return str(message["commit"])


def main() -> None:
    """The child: one order in, events and one outcome out."""
    from models.fetch.download import download_model

    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever a library prints is talk, never an answer
    order = DownloadOrder(**json.loads(sys.stdin.readline()))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        remote = download_model(
            order.repository,
            Path(order.folder),
            environ=os.environ,
            revision=order.revision,
            files=order.files,
            on_event=lambda event: _send(answers, {"event": dataclasses.asdict(event)}),
            progress_every_s=order.progress_every_s,
        )
    except VoiceJobsError as error:
        _send(answers, {"error": {"code": error.code, "message": error.message, "hint": error.hint}})
    else:
        _send(answers, {"commit": remote.commit})


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(os.EX_OK)  # the parent is done with us, or gone


def _send(answers: TextIO, message: Mapping[str, Any]) -> None:
    try:
        answers.write(json.dumps(message) + "\n")
        answers.flush()
    except BrokenPipeError:  # the parent is gone: nobody is to be told
        os._exit(os.EX_OK)


if __name__ == "__main__":
    main()
