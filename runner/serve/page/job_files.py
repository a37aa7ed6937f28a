"""Fields of a form → the job file that they make, as TOML that a person would write. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from runner.exchange.voice_file_names import PROMPT_SUFFIXES, VOX_SUFFIX
from runner.serve.errors import RequestRefused

JOB_FILES = (".toml", ".json")
VOICE_FILES = (VOX_SUFFIX, *PROMPT_SUFFIXES)
TEXTS = (".txt", ".md", ".markdown", ".html", ".htm", ".ssml")
BOOKS = (".epub", ".fountain", ".spmd", ".fdx", ".pdf", ".srt", ".vtt")  # further sources of a script
RECORDINGS = (
    ".wav",
    ".flac",
    ".mp3",
    ".ogg",
    ".opus",
    ".m4a",
    ".mp4",
    ".mov",
    ".webm",
    ".aac",
    ".amr",
    ".3gp",
    ".aif",
    ".aiff",
)


def values_of(kind: str, fields: Mapping[str, str], files: list[str]) -> dict[str, Any]:
    """Values of the job file of a form. Raises RequestRefused for a file that makes none."""
    wanted = {key: value.strip() for key, value in fields.items() if value.strip()}

    def some(*keys: str) -> dict[str, Any]:
        return {key: wanted[key] for key in keys if key in wanted}

    if kind == "design":
        number = wanted.get("candidates", "")
        candidates = {"candidates": int(number)} if number.isascii() and number.isdigit() and len(number) < 4 else {}
        return {"kind": "design", **some("voice", "description", "text", "language", "model"), **candidates}
    if kind == "text":
        return {"kind": "synthesize", **some("voice", "format", "language", "instruct", "text")}
    ending = files[0][files[0].rfind(".") :].lower() if files else ""
    if ending in BOOKS or (ending in TEXTS and "cast" in wanted):
        narrator = {"narrator": wanted["voice"]} if "voice" in wanted else {}
        return {"kind": "script", "source": files[0], **narrator, **some("cast", "language")}
    if ending in TEXTS:
        return {"kind": "synthesize", **some("voice", "format", "language"), "text_file": files[0]}
    if ending in RECORDINGS:
        return {"kind": "lock", **some("voice"), "audio": files[0], **some("transcript", "consent", "language")}
    if ending in VOICE_FILES:
        return {"kind": "import", "file": files[0], **some("voice", "consent", "transcript")}
    said = f"Nothing can be made of {files[0]!r}." if files else "No file was chosen."
    endings = (*JOB_FILES, *TEXTS, *BOOKS, *RECORDINGS, *VOICE_FILES)
    raise RequestRefused(400, said, hint=f"Files end in {', '.join(endings)}.", wire_code="malformed-request")


def toml_of(values: Mapping[str, Any]) -> str:
    """Values as TOML: one key a line, a text of several lines as it is."""
    return "".join(f"{key} = {_value(value)}\n" for key, value in values.items())


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_value(inner)}" for key, inner in value.items()) + " }"
    if not isinstance(value, str):
        return json.dumps(value)
    lines = [json.dumps(line, ensure_ascii=False)[1:-1].replace("\x7f", "\\u007f") for line in value.split("\n")]
    return f'"{lines[0]}"' if len(lines) == 1 else '"""\n' + "\n".join(lines) + '"""'
