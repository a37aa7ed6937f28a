"""A plain text → its document: chapters by their headings, without the frame of Project Gutenberg. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from models.text.paragraphs import paragraphs
from runner.script.document import Document, DocumentBuilder

_START = re.compile(r"^\*{3}[ \t]*START OF (?:THE|THIS) PROJECT GUTENBERG.{0,300}$", re.MULTILINE | re.IGNORECASE)
_END = re.compile(
    r"^(?:\*{3}[ \t]*END OF (?:THE|THIS) PROJECT GUTENBERG|End of (?:the )?Project Gutenberg'?s?).{0,300}$",
    re.MULTILINE | re.IGNORECASE,
)
_FACT = re.compile(r"^(Title|Author|Language):[ \t]*(.{1,300})$", re.MULTILINE)
_ROMAN = r"(?=[MDCLXVI])M{0,3}(?:CM|CD|D?C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})"
_COUNTED_TEXT = """
    one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen
    nineteen twenty first second third fourth fifth sixth seventh eighth ninth tenth last
    eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf
    premier première deuxième second seconde troisième quatrième cinquième sixième septième huitième neuvième dixième
    primero segundo tercero cuarto quinto uno dos tres cuatro cinco seis siete ocho nueve diez
"""
_NUMBER = rf"(?:\d{{1,4}}|{_ROMAN}|(?:twenty|thirty|forty)-\w{{3,6}}|{'|'.join(_COUNTED_TEXT.split())})"
_WORDS_TEXT = """
    chapter part book volume canto act scene letter section stave
    kapitel teil buch band abschnitt aufzug auftritt brief
    chapitre partie livre tome acte lettre capítulo capitulo parte libro livro capitolo hoofdstuk deel rozdział luku
    kapittel глава часть
"""
_WORDS = "|".join(_WORDS_TEXT.split())
_CHAPTER = re.compile(
    rf"(?:(?:{_WORDS})[ \t]+(?:the[ \t]+)?{_NUMBER}|(?:erste|zweite|dritte|vierte|fünfte|sechste|siebente|siebte|achte|"
    rf"neunte|zehnte)[rs]?[ \t]+(?:{_WORDS})|\d{{1,3}}\.[ \t]+(?:{_WORDS}))(?![\w'’])(?P<rest>.{{0,120}})",
    re.IGNORECASE,
)
_NUMBER_ALONE = re.compile(rf"(?:(?P<roman>{_ROMAN})|(?P<digits>\d{{1,3}}))\.?")
_NAMED_TEXT = """
    prologue epilogue preface introduction foreword afterword conclusion prolog epilog vorwort nachwort einleitung
    préface avant-propos épilogue introduzione prefazione prólogo epílogo
"""
_NAMED = frozenset(_NAMED_TEXT.split())
_LONGEST_HEADING, LONGEST_RUN = 80, 3
_LOOK_AHEAD = 60  # words: what a joined hyphen, or the glue of a script without spaces, can put a count out by


def read_plain_text(text: str) -> Document:
    """The document of a text."""
    facts: dict[str, str] = {}
    skipped = 0
    if (start := _START.search(text)) is not None:
        facts = {key.casefold(): value.strip() for key, value in _FACT.findall(text[: start.start()])}
        skipped, text = text.count("\n", 0, start.end()), text[start.end() :]
    ends = list(_END.finditer(text))
    if ends and (start is not None or ends[0].start() > len(text) // 2):
        text = text[: ends[0].start()]
    parts = list(paragraphs(text).texts)
    builder = DocumentBuilder()
    starts = _chapter_starts(parts)
    headings = _headings(parts)
    for number, (part, line) in enumerate(zip(parts, _line_numbers(text, parts), strict=True)):
        if number in starts:
            builder.chapter(starts[number])
        builder.line("heading" if number in headings else "narration", part, place=f"line {line + skipped}")
    return builder.document("text", **facts)


# ---- chapters ------------------------------------------------------------------------------------------------------


def _chapter_starts(parts: Sequence[str]) -> dict[int, str]:
    """Number of a paragraph → title of the chapter that begins with it.

    Headings that follow each other are one: a part and its first chapter, a number and its title. A long row of them
    is a table of contents, of which the last is the chapter.
    """
    headings = sorted(_headings(parts))
    starts: dict[int, str] = {}
    run: list[int] = []
    for at, following in zip(headings, [*headings, -1][1:], strict=True):
        run.append(at)
        if following == at + 1:
            continue
        first = run[0] if len(run) <= LONGEST_RUN else run[-1]
        starts[first] = " – ".join(parts[number] for number in range(first, run[-1] + 1))
        run = []
    return starts


def _headings(parts: Sequence[str]) -> set[int]:
    """Numbers of the paragraphs that are headings."""
    named = {number for number, part in enumerate(parts) if _is_named_heading(part)}
    found = named | _counted(parts)
    if len(found) < 2:
        found |= {number for number, part in enumerate(parts) if _is_all_capitals(part)}
    return found | {
        number + 1
        for number in found
        if number + 1 < len(parts) and (_is_all_capitals(parts[number + 1]) or _is_title(parts, number + 1))
    }


def _is_named_heading(part: str) -> bool:
    if len(part) > _LONGEST_HEADING:
        return False
    if part.rstrip(".").casefold() in _NAMED:
        return True
    found = _CHAPTER.fullmatch(part)
    if found is None:
        return False
    rest = found["rest"].strip()
    return not rest or rest[0] in ".:—–-" or (part.split()[0].isupper() and rest[0].isupper())


def _is_title(parts: Sequence[str], number: int) -> bool:
    """Whether a paragraph is the title below a chapter's number: short, and no sentence."""
    part = parts[number]
    is_bare = (found := _CHAPTER.fullmatch(parts[number - 1])) is not None and len(found["rest"].strip(" .")) == 0
    return is_bare and len(part) <= 60 and part[-1:].isalnum() and part[:1].isupper() and number + 1 < len(parts)


def _counted(parts: Sequence[str]) -> set[int]:
    """Paragraphs that are a number alone, when they count from one."""
    found: dict[str, list[tuple[int, str]]] = {"roman": [], "digits": []}
    for number, part in enumerate(parts):
        if len(part) <= 8 and (match := _NUMBER_ALONE.fullmatch(part)) is not None and match.lastgroup:
            found[match.lastgroup].append((number, match[match.lastgroup]))
    counted: set[int] = set()
    for first, second, kind in (("I", "II", "roman"), ("1", "2", "digits")):
        numerals = [numeral for _, numeral in found[kind]]
        if numerals[:2] == [first, second] and len(set(numerals)) == len(numerals):
            counted |= {number for number, _ in found[kind]}
    return counted


def _is_all_capitals(part: str) -> bool:
    letters = sum(map(str.isalpha, part))
    return part.isupper() and 4 <= letters <= 60 and part[-1:] not in '!?,;:"”»' and part[0] not in '"“„«—–-'


# ---- places --------------------------------------------------------------------------------------------------------


def _line_numbers(text: str, parts: Sequence[str]) -> Iterator[int]:
    """The line of the text in which each of its paragraphs begins."""
    words = [(word, number) for number, line in enumerate(text.split("\n"), start=1) for word in line.split()]
    at = 0
    for part in parts:
        own = part.split()
        ahead = (here for here in range(at, min(at + _LOOK_AHEAD, len(words))) if words[here][0] == own[0])
        at = next(ahead, min(at, max(0, len(words) - 1)))
        yield words[at][1] if words else 1
        at += len(own)
