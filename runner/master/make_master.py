"""`python -m runner.master.make_master` < request > answer: a master's chapters → its finished files in a folder.

The request is JSON, as `MasterRequest` writes it. The answer is a line of JSON with files, mastering and warnings, or
an error as `models/processes/one_answer.py` tells it. The file `progress` in the folder says how far it is.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path
from typing import Any

from models.processes.one_answer import answer_one
from registry.errors import storage_error
from runner.master.finished_book import make_book
from runner.master.request import MasterRequest

MODULE = "runner.master.make_master"
PROGRESS = "progress"
LONGEST_S = 12 * 3600
MOST_MEMORY_BYTES = 4 << 30
WRITE_EVERY_S = 2.0
NICENESS = 10  # speech goes first


class _Progress:
    """Writes how far it is, and ends the process when nobody waits for it any more."""

    def __init__(self, folder: Path, runner: int) -> None:
        self._path, self._runner, self._next_s = folder / PROGRESS, runner, 0.0

    def __call__(self, doing: str) -> None:
        now_s = time.monotonic()
        if now_s < self._next_s:
            return
        self._next_s = now_s + WRITE_EVERY_S
        if os.getppid() != self._runner:
            sys.exit(1)
        with contextlib.suppress(OSError):  # a full disk is noticed by what matters
            self._path.write_text(doing, encoding="utf-8")


def main() -> int:
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    return answer_one(_answer, longest_s=LONGEST_S, most_memory_bytes=MOST_MEMORY_BYTES)


def _answer(asked: dict[str, Any]) -> tuple[object, bytes]:
    request = MasterRequest.from_json(asked)
    try:
        book = make_book(request, on_progress=_Progress(Path(request.folder), request.runner))
    except OSError as error:
        raise storage_error(error, "writing a finished file") from error
    return {"files": book.files, "mastering": book.mastering, "warnings": book.warnings}, b""


if __name__ == "__main__":
    sys.exit(main())
