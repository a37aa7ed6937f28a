"""The name of a source → its format. Loads none of the readers, which only their own process needs."""

from __future__ import annotations

from typing import get_args

from registry.errors import nearest
from runner.jobfile.specs import SourceFormat
from runner.script.errors import SourceRefused

SUFFIXES: dict[str, SourceFormat] = {
    "fountain": "fountain", "spmd": "fountain", "fdx": "fdx", "epub": "epub", "md": "markdown", "markdown": "markdown",
    "html": "html", "htm": "html", "xhtml": "html", "txt": "text", "text": "text", "pdf": "pdf", "srt": "srt",
    "vtt": "vtt",
}  # fmt: skip
FORMATS: tuple[SourceFormat, ...] = get_args(SourceFormat)


def format_of(name: str, *, wanted: SourceFormat | None = None) -> SourceFormat:
    """The format that a person wants, or that the file's name says. Raises SourceRefused."""
    if wanted is not None:
        return wanted
    suffix = name.rpartition(".")[2].casefold() if "." in name else ""
    if (found := SUFFIXES.get(suffix)) is None:
        known = ", ".join(f".{each}" for each in SUFFIXES)
        near = nearest(suffix, SUFFIXES) if suffix else []
        guess = f"Did you mean .{near[0]}? " if near else ""
        raise SourceRefused(
            f"{name} is not a kind of source that can be told by its name.",
            hint=f'{guess}Sources are {known}; or say `format = "text"`, or another of {", ".join(FORMATS)}.',
        )
    return found
