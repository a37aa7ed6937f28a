"""`python -m runner.script.read_script` < request > answer: a source's file → its document, or why not.

The request is JSON: `{"path", "format", "language", "prose"}`; `prose` says whether to find who speaks in it. The
answer is a line of JSON with facts, or an error as `models/processes/one_answer.py` tells it;
then the document as JSON.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from models.languages import canonical_language, language_code
from models.processes.one_answer import answer_one
from registry.errors import VoiceJobsError, storage_error
from runner.script.dialogue.attribution import attribute
from runner.script.document import Chapter, Document, ScriptLine
from runner.script.sources.archive import MAX_ARCHIVE_BYTES

MODULE = "runner.script.read_script"
LONGEST_S = 240
MOST_MEMORY_BYTES = 4 << 30


@dataclass(frozen=True, kw_only=True)
class ReadScript:
    """A document whose lines have speakers, with other names of these, and facts about its file."""

    document: Document
    sha256: str
    language: str = ""  # ISO 639-1, by which speakers were looked for
    aliases: Mapping[str, list[str]] = field(default_factory=dict)
    has_cover: bool = False  # a picture that can be used

    @classmethod
    def from_answer(cls, header: Mapping[str, Any], content: bytes) -> ReadScript:
        """Value that `main` wrote."""
        told = json.loads(content)
        names = [each.name for each in fields(ScriptLine)]
        document = Document(
            **header["facts"],
            chapters=tuple(Chapter(index=index, title=title) for index, title in told["chapters"]),
            lines=tuple(ScriptLine(**dict(zip(names, line, strict=True))) for line in told["lines"]),
            warnings=tuple(told["warnings"]),
        )
        return cls(
            document=document,
            sha256=header["sha256"],
            language=header["language"],
            aliases=told["aliases"],
            has_cover=header["has_cover"],
        )


def read_script(path: Path, *, wanted: Any = None, language: str = "", finds_speakers: bool = True) -> ReadScript:
    """The document of a file, and who speaks in it. Raises SourceRefused, or StorageError."""
    from runner.script.sources.read import read_source  # not at the top: the runner only takes the answer

    try:
        with path.open("rb") as file:
            content = file.read(MAX_ARCHIVE_BYTES + 1)
    except OSError as error:
        raise storage_error(error, f"reading {path.name}") from error
    document = read_source(content, name=path.name, wanted=wanted)
    aliases: dict[str, list[str]] = {}
    code = _code(language) or _code(document.language) or "en"
    if document.is_prose and finds_speakers:
        found = attribute(document, language=code)
        document = found.document
        speakers = dict.fromkeys(line.speaker for line in document.lines if line.speaker)
        aliases = {name: others for name in speakers if (others := found.people.aliases(name))}
    digest = hashlib.sha256(content).hexdigest()
    has_cover = document.cover is not None
    return ReadScript(document=document, sha256=digest, language=code, aliases=aliases, has_cover=has_cover)


def _code(language: str) -> str:
    """The ISO 639-1 code of a language as people write it; "" for none, and for one that nobody knows."""
    if not language or language == "auto":
        return ""
    with contextlib.suppress(VoiceJobsError):
        return language_code(canonical_language(language))
    return ""


def main() -> int:
    return answer_one(_answer, longest_s=LONGEST_S, most_memory_bytes=MOST_MEMORY_BYTES)


def _answer(request: dict[str, Any]) -> tuple[object, bytes]:
    return _told(
        read_script(
            Path(request["path"]),
            wanted=request["format"],
            language=request["language"] or "",
            finds_speakers=request["prose"],
        )
    )


def _told(read: ReadScript) -> tuple[dict[str, Any], bytes]:
    document = replace(read.document, cover=None)
    facts = {name: getattr(document, name) for name in ("format", "encoding", "title", "author", "language")}
    names = [each.name for each in fields(ScriptLine)]
    content = {
        "chapters": [(chapter.index, chapter.title) for chapter in document.chapters],
        "lines": [[getattr(line, name) for name in names] for line in document.lines],
        "warnings": document.warnings,
        "aliases": read.aliases,
    }
    header = {"facts": facts, "sha256": read.sha256, "language": read.language, "has_cover": read.has_cover}
    return header, json.dumps(content).encode()


if __name__ == "__main__":
    sys.exit(main())
