"""An error → the answer that a client gets: OpenAI's shape under /v1, a plain one elsewhere.

VoiceJobsError
├── RequestRefused     a request that is not carried out, with its status
│   ├── NoRunner       nobody would do the work
│   ├── NoModel        the model is still to be downloaded, and the network is away
│   └── NothingHears   nothing can be transcribed
└── InvalidInput
    └── KeyFileInvalid the file of `key_file` holds no usable key
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from registry.errors import Busy, Conflict, InvalidInput, NotFound, StorageError, VoiceJobsError
from runner.errors import NoRecogniser, Unforeseen
from runner.redaction import redact

logger = logging.getLogger(__name__)

OPENAI_PATHS = "/v1"
TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}  # OpenAI's, by status
RETRY_AFTER_S = 30  # of a client that asked for what needs the network
PHRASES = {404: "There is nothing at {path}.", 405: "{method} is not possible at {path}."}


class RequestRefused(VoiceJobsError):
    """A request that is not carried out; `wire_code` is what the client is told instead of our own code."""

    code = "request-refused"

    def __init__(
        self,
        status: int,
        message: str,
        *,
        hint: str = "",
        wire_code: str = "",
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.status, self.wire_code, self.param = status, wire_code, param
        self.headers, self.more = dict(headers or {}), dict(more or {})


class NoRunner(RequestRefused):
    code = "no-runner"

    def __init__(self) -> None:
        hint = "Start one with `voicejobs run`, or start the server with `voicejobs serve --with-runner`."
        super().__init__(503, "No runner is active, so nothing can be spoken.", hint=hint, wire_code="no_runner")


class NoModel(RequestRefused):
    code = "model-not-here"

    def __init__(self, why: str) -> None:
        super().__init__(
            503,
            f"The model that speaks this is not here yet. {why}",
            hint="It is downloaded as soon as the network allows it; until then another model can be asked for.",
            wire_code="model_not_here",
            headers={"Retry-After": str(RETRY_AFTER_S)},
        )


class NothingHears(RequestRefused):
    code = "no-recogniser"

    def __init__(self) -> None:
        own = NoRecogniser()
        super().__init__(503, own.message, hint=own.hint, wire_code="no_recogniser")


class KeyFileInvalid(InvalidInput):
    code = "key-file-invalid"


def status_of(error: VoiceJobsError) -> int:
    """HTTP status of an error of the tree."""
    if isinstance(error, RequestRefused):
        return error.status
    by_kind = ((InvalidInput, 400), (NotFound, 404), (Conflict, 409), (Busy, 503), (StorageError, 503))
    return next((status for kind, status in by_kind if isinstance(error, kind)), 500)


def answer_to(error: VoiceJobsError, *, path: str) -> JSONResponse:
    """Answer to a request for `path` that ended with an error."""
    refused = error if isinstance(error, RequestRefused) else None
    headers = refused.headers if refused else {}
    if is_openai(path):
        return JSONResponse({"error": openai_error(error)}, status_of(error), headers=headers)
    shown = {**plain_error(error), **(refused.more if refused else {})}
    return JSONResponse({"error": shown}, status_of(error), headers=headers)


def plain_error(error: VoiceJobsError) -> dict[str, str]:
    """An error as programs and pages show it, without credentials."""
    code = (error.wire_code if isinstance(error, RequestRefused) else "") or error.code
    return {"code": code, "message": redact(error.message), "hint": redact(error.hint)}


def openai_error(error: VoiceJobsError) -> dict[str, str | None]:
    """An error as OpenAI's clients read it; they show the message to people, so it holds the hint."""
    status = status_of(error)
    kind = TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    refused = error if isinstance(error, RequestRefused) else None
    return {
        "message": redact(str(error)),
        "type": kind,
        "param": refused.param if refused else None,
        "code": (refused and refused.wire_code) or error.code.replace("-", "_"),
    }


def is_openai(path: str) -> bool:
    """Whether errors at this path have OpenAI's shape."""
    return path == OPENAI_PATHS or path.startswith(f"{OPENAI_PATHS}/")


def known_form(request: Request, error: Exception) -> VoiceJobsError:
    """An error as one of the tree: also a path or method that no route has, and a defect, whose trace is in the log."""
    if isinstance(error, VoiceJobsError):
        return error
    if not isinstance(error, HTTPException):
        return Unforeseen(f"Something unforeseen went wrong: {type(error).__name__}.")
    phrase = PHRASES.get(error.status_code, error.detail)
    message = phrase.format(path=request.url.path, method=request.method)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "invalid_request")
    return RequestRefused(error.status_code, message, wire_code=code, headers=error.headers)


def wants_page(path: str, accept: str) -> bool:
    """Whether it is a browser that shows the answer to a person."""
    return "text/html" in accept and not path.startswith(("/api/", f"{OPENAI_PATHS}/"))
