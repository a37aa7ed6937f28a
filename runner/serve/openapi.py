"""`/openapi.json`: the paths under /api and /v1, and what they answer, as an OpenAPI 3.1 description."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from registry.jobs.values import JobStatus
from runner.serve.openai.speech_request import FASTEST, FORMATS, SLOWEST, STREAM_FORMATS
from runner.version import VERSION

Schema = dict[str, Any]
TEXT: Schema = {"type": "string"}
MAYBE_TEXT: Schema = {"type": ["string", "null"]}
COUNT: Schema = {"type": "integer", "minimum": 0}
STATUS: Schema = {"type": "string", "enum": [str(status) for status in JobStatus]}


def _object(required: Schema, optional: Schema | None = None) -> Schema:
    return {"type": "object", "properties": {**required, **(optional or {})}, "required": list(required)}


def _list_of(schema: Schema) -> Schema:
    return {"type": "array", "items": schema}


_BRIEF = {"job": TEXT, "kind": TEXT, "status": STATUS}
_PROGRESS = _object({"lines": COUNT, "published": COUNT, "failed": COUNT})
_NAMED = _list_of(_object({"id": TEXT, "name": TEXT}))
_MODEL = _object({"id": TEXT, "object": TEXT, "created": COUNT, "owned_by": TEXT})
_LISTED = {
    **_BRIEF,
    "priority": {"type": "integer"},
    "model": MAYBE_TEXT,
    "claimed_at": MAYBE_TEXT,
    "started_at": MAYBE_TEXT,
    "finished_at": MAYBE_TEXT,
    "progress": _PROGRESS,
    "waits_for": _list_of(TEXT),
    "error": {"type": ["object", "null"]},
}
SCHEMAS: dict[str, Schema] = {
    "Job": _object(_BRIEF, {"warnings": _list_of(TEXT)}),
    "ListedJob": _object(_LISTED),
    "JobPage": _object({"jobs": _list_of({"$ref": "#/components/schemas/ListedJob"}), "next": MAYBE_TEXT}),
    "OpenJob": _object({**_LISTED, "id": MAYBE_TEXT, "warnings": _list_of(TEXT)}),
    "Receipt": _object(
        {
            "schema": {"const": 1},
            **_BRIEF,
            "error": {"type": ["object", "null"]},
            "warnings": _list_of(TEXT),
            "lines": _list_of({"type": "object"}),
            "candidates": _list_of({"type": "object"}),
            "voice": {"type": ["object", "null"]},
        }
    ),
    "Error": _object({"error": _object({"code": TEXT, "message": TEXT, "hint": TEXT})}),
    "OpenAIError": _object(
        {"error": _object({"message": TEXT, "type": TEXT, "param": MAYBE_TEXT, "code": MAYBE_TEXT})}
    ),
    "Speech": _object(
        {"input": TEXT, "voice": {"anyOf": [TEXT, _object({"id": TEXT})]}},
        {
            "model": TEXT,
            "instructions": TEXT,
            "response_format": {"type": "string", "enum": list(FORMATS)},
            "speed": {"type": "number", "minimum": SLOWEST, "maximum": FASTEST},
            "stream_format": {"type": "string", "enum": list(STREAM_FORMATS)},
            "language": TEXT,
            "lang_code": TEXT,
            "seed": COUNT,
        },
    ),
    "Voices": _object({"object": {"const": "list"}, "voices": _NAMED, "data": _NAMED}),
    "Model": _MODEL,
    "Models": _object({"object": {"const": "list"}, "data": _list_of(_MODEL)}),
    "Health": _object({"status": TEXT, "runner": {"type": "boolean"}, "version": TEXT}),
}


def _answer(name: str, text: str, *, media_type: str = "application/json") -> Schema:
    schema = {"$ref": f"#/components/schemas/{name}"} if name else {}
    return {"description": text, "content": {media_type: {"schema": schema}}}


def _errors(*statuses: int, shape: str = "Error") -> Schema:
    return {str(status): _answer(shape, "An error.") for status in statuses}


def _parameter(name: str, place: str, schema: Schema) -> Schema:
    return {"name": name, "in": place, "required": place == "path", "schema": schema}


_JOB = _parameter("job", "path", TEXT)
_BODY = {"content": {"application/toml": {}, "application/json": {}, "multipart/form-data": {}}, "required": True}
_SPEECH_BODY = {
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Speech"}}},
    "required": True,
}
_SOUND = {"description": "The sound.", "content": {"audio/*": {}, "text/event-stream": {}}}
_LIST_PARAMETERS = [_parameter("limit", "query", COUNT), _parameter("after", "query", TEXT)]
PATHS: dict[str, Schema] = {
    "/health": {"get": {"responses": {code: _answer("Health", "Health.") for code in ("200", "503")}}},
    "/api/jobs": {
        "get": {
            "parameters": [*_LIST_PARAMETERS, _parameter("status", "query", STATUS)],
            "responses": {"200": _answer("JobPage", "Jobs, newest first."), **_errors(400, 401)},
        },
        "post": {
            "parameters": [_parameter("name", "query", TEXT), _parameter("Idempotency-Key", "header", TEXT)],
            "requestBody": _BODY,
            "responses": {
                "200": _answer("Job", "The job that has this id and content already."),
                "202": _answer("Job", "The job, claimed."),
                **_errors(400, 401, 403, 409, 413, 415, 422, 429, 503),
            },
        },
    },
    "/api/jobs/{job}": {
        "parameters": [_JOB],
        "get": {
            "responses": {
                "200": {
                    "description": "Its receipt once it has ended, its state before.",
                    "content": {
                        "application/json": {
                            "schema": {
                                "anyOf": [{"$ref": f"#/components/schemas/{name}"} for name in ("Receipt", "OpenJob")]
                            }
                        }
                    },
                },
                **_errors(401, 404),
            }
        },
        "delete": {"responses": {"202": _answer("Job", "It will be cancelled."), **_errors(401, 403, 404, 409)}},
    },
    "/api/jobs/{job}/retry": {
        "parameters": [_JOB],
        "post": {"responses": {"202": _answer("Job", "It will run again."), **_errors(401, 403, 404, 409, 503)}},
    },
    "/api/jobs/{job}/files/{name}": {
        "parameters": [_JOB, _parameter("name", "path", TEXT)],
        "get": {
            "responses": {"200": {"description": "The file."}, "206": {"description": "A range."}, **_errors(404, 416)}
        },
    },
    "/api/events": {"get": {"responses": {"200": {"description": "Changes.", "content": {"text/event-stream": {}}}}}},
    "/v1/audio/speech": {
        "post": {
            "requestBody": _SPEECH_BODY,
            "responses": {"200": _SOUND, **_errors(400, 401, 403, 404, 429, 503, shape="OpenAIError")},
        }
    },
    "/v1/audio/transcriptions": {
        "post": {
            "requestBody": {"content": {"multipart/form-data": {}}, "required": True},
            "responses": {
                "200": {
                    "description": "The words.",
                    "content": {"application/json": {}, "text/plain": {}, "text/vtt": {}},
                },
                **_errors(400, 401, 403, 413, 429, 503, shape="OpenAIError"),
            },
        }
    },
    "/v1/audio/voices": {"get": {"responses": {"200": _answer("Voices", "Voices.")}}},
    "/v1/models": {"get": {"responses": {"200": _answer("Models", "Models.")}}},
    "/v1/models/{model}": {
        "parameters": [_parameter("model", "path", TEXT)],
        "get": {"responses": {"200": _answer("Model", "A model."), **_errors(404, shape="OpenAIError")}},
    },
    "/metrics": {"get": {"responses": {"200": {"description": "Figures for Prometheus."}}}},
}


def openapi_routes() -> list[Route]:
    """The path of the description."""
    return [Route("/openapi.json", _show, methods=["GET"])]


async def _show(_request: Request) -> Response:
    info = {"title": "voicejobs", "version": VERSION}
    return JSONResponse({"openapi": "3.1.0", "info": info, "paths": PATHS, "components": {"schemas": SCHEMAS}})
