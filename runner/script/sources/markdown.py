"""Markdown → its document, by way of HTML: `markdown-it-py` knows its rules. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdit_py_plugins.footnote import footnote_plugin

from runner.script.document import Document, DocumentBuilder
from runner.script.sources.html_blocks import Block, read_page
from runner.script.sources.pages import add_blocks

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.{0,20000}?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_FRONT_KEY = re.compile(r"^(title|author|language|lang)[ \t]*:[ \t]*(.+?)[ \t]*$", re.MULTILINE | re.IGNORECASE)
_LINE_ID = "voicejobs-line-"


def read_markdown(text: str, *, name: str) -> Document:
    """The document of a text in Markdown; its front matter is not spoken."""
    facts, skipped_lines = {}, 0
    if front := _FRONT_MATTER.match(text):
        facts = {key.casefold(): value.strip("\"'") for key, value in _FRONT_KEY.findall(front[1])}
        skipped_lines = front[0].count("\n")
        text = text[front.end() :]
    parser = MarkdownIt("commonmark", {"html": True}).enable("table").enable("strikethrough").use(footnote_plugin)
    tokens, has_notes = _without_notes(parser.parse(text))
    _number(tokens, skipped_lines)
    rendered = parser.renderer.render(tokens, parser.options, {})
    page = read_page(f"<html><body>{rendered}</body></html>".encode(), name=name)
    builder = DocumentBuilder()
    add_blocks(builder, page.blocks, places=[f"line {_line_of(block)}" for block in page.blocks])
    if has_notes:
        builder.warn("Left out, as nobody reads it aloud: footnotes.")
    title = facts.get("title", "") or next((block.text for block in page.blocks if block.level == 1), "")
    return builder.document(
        "markdown",
        title=title,
        author=facts.get("author", ""),
        language=facts.get("language", facts.get("lang", "")),
    )


def _without_notes(tokens: Sequence[Token]) -> tuple[list[Token], bool]:
    """The tokens without footnotes and their marks, and whether there were any."""
    kept: list[Token] = []
    is_in_notes = has_notes = False
    for token in tokens:
        is_in_notes = token.type == "footnote_block_open" or (is_in_notes and token.type != "footnote_block_close")
        has_notes = has_notes or is_in_notes
        if not is_in_notes and token.type != "footnote_block_close":
            token.children = [child for child in token.children or () if child.type != "footnote_ref"]
            kept.append(token)
    return kept, has_notes


def _number(tokens: Sequence[Token], skipped_lines: int) -> None:
    """Give each block its line in the source as an id, which survives the way through HTML."""
    for token in tokens:
        if token.map and token.nesting >= 0 and token.type != "inline":
            token.attrSet("id", f"{_LINE_ID}{token.map[0] + 1 + skipped_lines}")


def _line_of(block: Block) -> int:
    """The line that `_number` noted for a block, or for the first tag in it."""
    lines = [int(found.removeprefix(_LINE_ID)) for found in block.ids if found.startswith(_LINE_ID)]
    return max(lines, default=1)
