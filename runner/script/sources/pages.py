"""Pages of HTML, one or those of a book → a document: chapters by table of contents, else by headings. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from runner.script.document import Document, DocumentBuilder
from runner.script.sources.archive import Archive
from runner.script.sources.epub_package import Entry, read_package
from runner.script.sources.html_blocks import Block, Page, read_page

_LEFT_OUT = "Left out, as nobody reads it aloud: {}."


def read_html(content: bytes, *, name: str) -> Document:
    """The document of one page."""
    page = read_page(content, name=name)
    builder = DocumentBuilder()
    add_blocks(builder, page.blocks, places=[_page_place("", block) for block in page.blocks])
    if page.left_out:
        builder.warn(_LEFT_OUT.format(", ".join(sorted(page.left_out))))
    return builder.document("html", title=page.title, author=page.author, language=page.language)


def read_epub(content: bytes, *, name: str) -> Document:
    """The document of a book. Raises SourceRefused."""
    archive = Archive(content, name=name)
    package = read_package(archive)
    pages = {path: read_page(archive.read(path), name=f"{name}, {path}") for path in package.pages}
    builder = DocumentBuilder()
    starts = _chapter_starts(package.contents, pages)
    if starts:
        _add_by_contents(builder, pages, starts)
    else:
        blocks = [(path, block) for path, page in pages.items() for block in page.blocks]
        add_blocks(builder, [block for _, block in blocks], places=[_page_place(*each) for each in blocks])
    if left_out := set().union(*(page.left_out for page in pages.values())):
        builder.warn(_LEFT_OUT.format(", ".join(sorted(left_out))))
    language = package.language or next((page.language for page in pages.values() if page.language), "")
    return builder.document(
        "epub", title=package.title, author=", ".join(package.authors), language=language, cover=package.cover
    )


def _page_place(path: str, block: Block) -> str:
    return ", ".join(filter(None, (path, f"line {block.line}" if block.line else "")))


def _chapter_starts(contents: Sequence[Entry], pages: Mapping[str, Page]) -> dict[tuple[str, int], str]:
    """(page, number of its block) → title of the chapter that begins there."""
    starts: dict[tuple[str, int], str] = {}
    for entry in contents:
        page = pages.get(entry.path)
        if page is None or not page.blocks:
            continue
        at = next((number for number, block in enumerate(page.blocks) if entry.fragment in block.ids), 0)
        starts[entry.path, at if entry.fragment else 0] = entry.title
    return starts


def _add_by_contents(
    builder: DocumentBuilder, pages: Mapping[str, Page], starts: Mapping[tuple[str, int], str]
) -> None:
    for path, page in pages.items():
        for number, block in enumerate(page.blocks):
            if (path, number) in starts:
                builder.chapter(starts[path, number])
            builder.line("heading" if block.level else "narration", block.text, place=_page_place(path, block))


def chapter_level(levels: Sequence[int]) -> int:
    """The level of headings at which a chapter begins: the highest that there are several of."""
    counts = Counter(level for level in levels if level)
    several = [level for level, count in counts.items() if count > 1]
    return min(several) if several else min(max(counts, default=0), 2)


def add_blocks(builder: DocumentBuilder, blocks: Sequence[Block], *, places: Sequence[str]) -> None:
    """Add the blocks, a chapter at each heading of the level that parts them, or of a higher one."""
    level = chapter_level([block.level for block in blocks])
    for block, place in zip(blocks, places, strict=True):
        if block.level and block.level <= level:
            builder.chapter(block.text)
        builder.line("heading" if block.level else "narration", block.text, place=place)
