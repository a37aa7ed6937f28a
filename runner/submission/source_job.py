"""A book or screenplay on a person's disk → the script job that speaks it. Only reads files."""

from __future__ import annotations

from pathlib import Path

from models.named_paths import is_folder, named_path, shown_path, status_of
from registry.errors import NotFound
from runner.names import job_name_from
from runner.script.sources.formats import SUFFIXES
from runner.submission.checked_job import JobOnDisk
from runner.submission.drop_writer import job_from_values


def is_source(name: str) -> bool:
    """Whether a file is a book or screenplay by its name."""
    return Path(name).suffix.casefold().removeprefix(".") in SUFFIXES and not is_folder(named_path(name))


def job_from_source(name: str, *, narrator: str | None) -> JobOnDisk:
    """A job that casts and speaks a source. Raises InvalidInput, NotFound, …"""
    path = named_path(name).absolute()
    if status_of(path) is None:
        raise NotFound(f"There is no file {shown_path(path)}.")
    values = {"kind": "script", "source": path.name}
    if narrator is not None:
        values["narrator"] = narrator
    return job_from_values(values, name=job_name_from(path.stem), folder=path.parent)
