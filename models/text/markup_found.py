"""A text that is spoken as it stands → the markup in it that its author may have meant otherwise. Pure functions."""

from __future__ import annotations

import html.entities
import re
from collections.abc import Iterator, Mapping, Sequence

SHOWN = 3  # examples of a kind that a warning names
SHOWN_LINES = 5
LONGEST_SHOWN = 40

_SSML_TAGS_TEXT = """
    speak break emphasis prosody say-as sub phoneme voice audio mark lang w token s p desc lexicon par seq media
"""
SSML_TAGS = frozenset(_SSML_TAGS_TEXT.split())
_HTML_TAGS_TEXT = """
    html head body title meta link script style div span br hr b i u em strong small sup sub code pre blockquote
    a img font center ul ol li dl dt dd table thead tbody tr td th h1 h2 h3 h4 h5 h6 section article header
    footer nav main figure figcaption cite q abbr del ins ruby rt rp input form button iframe
"""
HTML_TAGS = frozenset(_HTML_TAGS_TEXT.split())
_TAG = re.compile(r"<(/?)([A-Za-z][\w:.-]{0,40})((?:\s[^<>]{0,500})?)/?>")
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});")
_CONTROL_TOKEN = re.compile(r"<\|[^|<>\s]{1,60}\|>")
_MARKDOWN = re.compile(
    r"!?\[[^\[\]\n]{1,200}\]\([^()\s]{1,500}\)"
    r"|\*\*[^\s*][^*\n]{0,200}\*\*|~~[^\s~][^~\n]{0,200}~~|(?<!\w)__[^\s_][^_\n]{0,200}__(?!\w)"
    r"|(?<![\w*])\*[^\s*][^*\n]{0,200}(?<![\s*])\*(?![\w*])|(?<!\w)_[^\s_][^_\n]{0,200}(?<![\s_])_(?!\w)"
    r"|`[^`\n]{1,200}`|^```.*$|^ {0,3}#{1,6}[ \t]+\S.{0,30}|^ {0,3}>[ \t]+\S.{0,30}|^\|.{1,40}\|[ \t]*$"
    r"|^ {0,3}[*+][ \t]+[^\s*+].{0,30}|\[\^\w{1,20}\]",
    re.MULTILINE,
)
_LIST = re.compile(r"^ {0,3}-[ \t]+\S.{0,200}[^.!?…\"”»’\s]\n {0,3}-[ \t]+\S.{0,30}", re.MULTILINE)
_BBCODE = re.compile(r"\[/?(?:b|i|u|s|url|img|quote|code|color|size|list)(?:=[^\]\n]{1,100})?\]")
_LATEX = re.compile(r"\\(?:emph|text\w{2}|section|chapter|footnote|begin|end|item|cite|ref)\b\{?")
_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|[nrt](?![a-z]))|(?:=[0-9A-F]{2}){2,}")
_CAPTION_TIME = re.compile(r"\d\d:\d\d[,.:]\d{2,3}(?:[,.]\d{3})? --> ")
_PLACEHOLDER = re.compile(r"\{\{[^{}\n]{1,60}\}\}|\$\{[^{}\n]{1,60}\}|<%[^%\n]{1,60}%>")
_MISREAD = re.compile(
    "â€[\u2122\u0153\u009d\u201c\u201d\u00a6œ™]?|Ã[\u00a0-\u00bf\u0192\u201e\u2026\u2020\u2021Ÿ¼¶¤©¨]|ï»¿|\ufffd"
)

_DIRECTION = re.compile(
    r"[\[(]([a-z][a-z' -]{1,40}?)(?: ?[\d.]+ ?(?:ms|s|sec|seconds?))?[\])]|<([a-z]{3,12})/?>|\*([a-z]{3,15})\*",
    re.IGNORECASE,
)
_MANNERS_TEXT = """
    " laugh* chuckl* giggl* sigh* whisper* shout* scream* cry cries crying sob* cough* gasp* groan* yawn*
    sniff* sing* hum* breath* inhal* exhal* pause pauses paused pausing long-pause short-pause beat silence
    break music* applau* clap* clears-throat clear-throat clearing-throat throat-clearing snort* gulp*
    swallow* moan* mumbl* mutter* excited* angry angrily sad sadly happy happily sarcastic* nervous* tired
    calm* curious* serious* cheerful* smil* surprised shocked sneez* growl* hiss* snicker* wheez* cackl*
    stammer* noise uv_break lbreak
"""
_MANNER = "|".join(_MANNERS_TEXT.split()).replace("-", " ").replace("*", r"\w*")
_MANNERS = re.compile(rf"(?:\w{{3,8}}ly )?(?:{_MANNER})(?: \w+)?", re.IGNORECASE)
_MAY_BE_MARKUP = re.compile(r"[<(&*=_`\[#>~|\\{\ufffdÃâï]|^ {0,3}[-+]", re.MULTILINE)


def markup_in(text: str) -> list[str]:
    """The kinds of markup in a text, each with examples of it, as a warning names them."""
    if not _MAY_BE_MARKUP.search(text):
        return []
    found: dict[str, list[str]] = {}
    for kind, example in _found(text):
        examples = found.setdefault(kind, [])
        if example not in examples and len(examples) <= SHOWN:
            examples.append(example)
    return [f"{kind} ({_listed(examples)})" for kind, examples in found.items()]


def markup_warning(found: Mapping[int, Sequence[str]]) -> str:
    """A sentence about lines, by their positions, in which there is markup that is spoken."""
    positions = list(found)
    more = f" and {counted_more} more lines" if (counted_more := len(positions) - SHOWN_LINES) > 0 else ""
    where = f"{'Line' if len(positions) == 1 else 'Lines'} {', '.join(map(str, positions[:SHOWN_LINES]))}{more}"
    kinds: dict[str, str] = {}  # each with the examples of the first line that has it
    for kind in (kind for kinds_of_line in found.values() for kind in kinds_of_line):
        kinds.setdefault(kind.partition(" (")[0], kind)
    return (
        f"{where}: markup is spoken literally: {'; '.join(kinds.values())}. "
        '`markup = "ssml"`, "html" or "markdown" has it read, "plain" says that it is meant so.'
    )


def _found(text: str) -> Iterator[tuple[str, str]]:
    for match in _CONTROL_TOKEN.finditer(text):
        yield "control tokens of a model", match[0]
    for match in _DIRECTION.finditer(text):
        if _MANNERS.fullmatch(match[1] or match[2] or match[3]):
            yield "directions", match[0]
    for match in _TAG.finditer(text):
        kind = _tag_kind(match[2].casefold(), match[3])
        if kind:
            yield kind, f"<{match[2]}>"
    yield from (("HTML entities", match[0]) for match in _ENTITY.finditer(text) if _is_entity(match[0]))
    yield from (("Markdown", match[0].strip()) for match in _MARKDOWN.finditer(text) if not _is_direction(match[0]))
    yield from (("Markdown", match[0].strip().split("\n")[0]) for match in _LIST.finditer(text))
    yield from (("BBCode", match[0]) for match in _BBCODE.finditer(text))
    yield from (("LaTeX", match[0]) for match in _LATEX.finditer(text))
    yield from (("placeholders", match[0]) for match in _PLACEHOLDER.finditer(text))
    yield from (("escapes", match[0]) for match in _ESCAPE.finditer(text))
    yield from (("times of captions", match[0]) for match in _CAPTION_TIME.finditer(text))
    yield from (("characters that were lost or misread in a conversion", match[0]) for match in _MISREAD.finditer(text))


def _tag_kind(name: str, attributes: str) -> str:
    is_ssml = name in SSML_TAGS and name not in HTML_TAGS
    if is_ssml or ":" in name or (name == "sub" and "alias" in attributes) or name in ("s", "p"):
        return "SSML tags"
    if name in HTML_TAGS:
        return "HTML tags"
    return "" if _MANNERS.fullmatch(name) else "tags"


def _is_entity(entity: str) -> bool:
    return entity[1] == "#" or entity[1:] in html.entities.html5


def _is_direction(found: str) -> bool:
    match = _DIRECTION.fullmatch(found)
    return match is not None and _MANNERS.fullmatch(match[1] or match[2] or match[3]) is not None


def _listed(examples: list[str]) -> str:
    shown = [
        example if len(example) <= LONGEST_SHOWN else f"{example[:LONGEST_SHOWN]}…" for example in examples[:SHOWN]
    ]
    return ", ".join([*shown, *(["…"] if len(examples) > SHOWN else [])])
