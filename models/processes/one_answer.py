"""A request on standard input → one answer on standard output, by a process with limits that ends with it.

The request is a line of JSON, and perhaps bytes after it. The answer is a line of JSON and bytes; or `{"error": …}`
with code, message, hint and retryable. Whatever a hostile file does to the libraries that read it, the runner goes on.
"""

from __future__ import annotations

import contextlib
import json
import resource
import signal
import sys
from collections.abc import Callable
from typing import Any

from registry.errors import VoiceJobsError


def answer_one(
    answer: Callable[[dict[str, Any]], tuple[object, bytes]], *, longest_s: int, most_memory_bytes: int | None
) -> int:
    """Answer the one request of this process by (header, bytes); an error of ours is told. Returns its exit status."""
    signal.alarm(longest_s)  # also when nobody is left who would end it
    resource.setrlimit(resource.RLIMIT_CPU, (longest_s, longest_s))  # of a converter, too
    if sys.platform == "linux" and most_memory_bytes is not None:  # macOS knows no such limit
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_AS, (most_memory_bytes, most_memory_bytes))
    try:
        header, content = answer(json.loads(sys.stdin.buffer.readline()))
    except VoiceJobsError as error:
        told = {"code": error.code, "message": error.message, "hint": error.hint, "retryable": error.retryable}
        header, content = {"error": told}, b""
    sys.stdout.buffer.write(json.dumps(header).encode() + b"\n" + content)
    sys.stdout.buffer.flush()
    return 0
