"""A document → its parts: everybody who speaks, with the evidence of what they sound like. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from registry.errors import nearest
from runner.jobfile.specs import Narrate
from runner.script.document import Document, ScriptLine, is_spoken
from runner.script.sources.cues import part_key, slug_of

MOST_SPEECHES, MOST_MENTIONS, MOST_SCENES, MOST_DIRECTIONS = 20, 10, 20, 40
LONGEST_EVIDENCE = 400  # characters of one speech or mention
_TOGETHER = frozenset(("all", "both", "everyone", "everybody", "alle", "beide", "tous", "todos", "tutti", "ensemble"))


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything that a document shows of one part, shortened; the analyzer sees nothing else."""

    speeches: tuple[str, ...] = ()
    directions: tuple[str, ...] = ()
    scenes: tuple[str, ...] = ()
    mentions: tuple[str, ...] = ()  # what the narrator says of it


@dataclass(frozen=True, kw_only=True)
class Part:
    """Somebody who speaks."""

    name: str  # as the document writes it first
    slug: str  # for the names of jobs and voices
    lines: int  # that are spoken
    aliases: tuple[str, ...] = ()
    evidence: Evidence = field(default_factory=Evidence)

    @property
    def keys(self) -> set[str]:
        """Equal for every way of writing its names."""
        return {part_key(name) for name in (self.name, *self.aliases)}


def parts_of(document: Document, *, narrate: Narrate, aliases: Mapping[str, Sequence[str]]) -> list[Part]:
    """The parts in the order of their first words; `aliases` are other names by part name."""
    by_key: dict[str, list[ScriptLine]] = {}
    for line in document.lines:
        if line.speaker is not None and is_spoken(line, narrate=narrate, is_screenplay=document.is_screenplay):
            by_key.setdefault(part_key(line.speaker), []).append(line)
    slugs: set[str] = set()
    found = []
    mentions = _mentions(document, [lines[0].speaker or "" for lines in by_key.values()])
    titles = {chapter.index: chapter.title for chapter in document.chapters}
    for key, lines in by_key.items():
        name = lines[0].speaker or ""
        evidence = Evidence(
            speeches=tuple(line.text[:LONGEST_EVIDENCE] for line in lines[:MOST_SPEECHES]),
            directions=tuple(dict.fromkeys(line.direction for line in lines if line.direction))[:MOST_DIRECTIONS],
            scenes=tuple(dict.fromkeys(title for line in lines if (title := titles[line.chapter])))[:MOST_SCENES],
            mentions=tuple(mentions[key]),
        )
        part = Part(
            name=name,
            slug=_free(slug_of(name), slugs),
            lines=len(lines),
            aliases=tuple(aliases.get(name, ())),
            evidence=evidence,
        )
        found.append(part)
    return found


def _free(slug: str, taken: set[str]) -> str:
    number, free = 1, slug
    while free in taken:
        number += 1
        free = f"{slug}-{number}"
    taken.add(free)
    return free


def _mentions(document: Document, names: Sequence[str]) -> dict[str, list[str]]:
    """Key of a part → told lines in which its name is; one pass over the document."""
    found: dict[str, list[str]] = {part_key(name): [] for name in names}
    words = {name.casefold(): part_key(name) for name in names}
    if not words:
        return found
    longest_first = sorted(words, key=len, reverse=True)
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)")
    for line in document.lines:
        if line.speaker is not None or line.kind not in ("action", "narration"):
            continue
        for name in dict.fromkeys(pattern.findall(line.text.casefold())):
            said = found[words[name]]
            if len(said) < MOST_MENTIONS:
                said.append(line.text[:LONGEST_EVIDENCE])
    return found


def part_named(parts: Sequence[Part], name: str) -> Part | None:
    """The part of this name, alias or slug, in any case."""
    key = part_key(name)
    return next((part for part in parts if key in part.keys or part.slug == name.casefold()), None)


def nearest_parts(parts: Sequence[Part], name: str) -> list[str]:
    """Names of parts that may have been meant."""
    return nearest(name.casefold(), [part.name.casefold() for part in parts])


def crowd_warnings(parts: Sequence[Part]) -> Iterator[str]:
    """Warnings of parts that are several people at once."""
    for part in parts:
        if part_key(part.name) in _TOGETHER:
            yield f"{part.name} are several at once, and get one voice; give it by [voices], or name who speaks."
