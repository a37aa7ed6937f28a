"""A script whose chapters are spoken → the master job that makes its finished files. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from registry.jobs.values import Job
from runner.jobfile.master_spec import MAX_TAG_CHARACTERS, MasterTable, TagsTable
from runner.jobfile.specs import MasterSpec, ScriptSpec
from runner.master.file_tags import clean
from runner.script.production import Production


def master_spec(
    spec: ScriptSpec, table: MasterTable, production: Production, *, chapters: Mapping[int, Job]
) -> MasterSpec:
    """The master of spoken chapters, by their index; the book says what the table does not."""
    document = production.document
    titles = {chapter.index: chapter.title for chapter in document.chapters}
    given = table.tags
    tags = TagsTable(
        **{
            **given.model_dump(),
            "title": given.title or _tag(document.title) or production.book,
            "author": given.author or _tag(document.author) or None,
            "language": given.language or spec.language or production.read.language or None,
        }
    )
    cover = table.cover or (spec.source if production.read.has_cover else None)
    return MasterSpec(
        **{**table.model_dump(), "tags": tags, "cover": cover},
        kind="master",
        source_jobs=[job.name for job in chapters.values()],
        titles=[_tag(titles.get(index, "")) for index in chapters],
        priority=spec.priority,
    )


def _tag(text: str) -> str:
    return clean(text).replace("\n", " ")[:MAX_TAG_CHARACTERS]
