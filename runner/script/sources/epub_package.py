"""The package of an EPUB 2 or 3 → its reading order, table of contents, title and cover. Pure but for the archive."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from runner.script.errors import SourceRefused
from runner.script.sources.archive import Archive
from runner.script.sources.html_blocks import html_events
from runner.script.sources.xml_events import Begin, End, Event, NotWellFormed, Text, xml_events

CONTAINER, ENCRYPTION = "META-INF/container.xml", "META-INF/encryption.xml"
_FONTS_ALONE = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")
_PAGES = ("application/xhtml+xml", "text/html", "application/x-dtbook+xml", "text/x-oeb1-document")
_PICTURES = ("image/jpeg", "image/png")
MAX_COVER_BYTES = 10 << 20


@dataclass(frozen=True, kw_only=True)
class Item:
    """A file that the manifest lists."""

    path: str
    media_type: str
    properties: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An entry of the table of contents."""

    title: str
    path: str
    fragment: str


@dataclass
class Package:
    """Everything that the package says of the book."""

    title: str = ""
    authors: list[str] = field(default_factory=list)
    language: str = ""
    pages: list[str] = field(default_factory=list)  # in reading order
    contents: Sequence[Entry] = ()
    cover: bytes | None = None


def read_package(archive: Archive) -> Package:
    """The package that the container names. Raises SourceRefused."""
    _refuse_protected(archive)
    path = _package_path(archive)
    reader = _PackageReader()
    for event in _events(archive, path):
        reader.read(event)
    items = {
        item_id: Item(path=found, media_type=media_type, properties=frozenset(properties.split()))
        for item_id, (href, media_type, properties) in reader.manifest.items()
        if (found := archive.beside(path, href)) is not None
    }
    pages = [items[ref].path for ref in reader.spine if ref in items and items[ref].media_type in _PAGES]
    if not pages:
        raise SourceRefused(
            f"{archive.name} lists no page to read.", hint="Convert it again with the program you used."
        )
    return Package(
        title=reader.values.get("title", [""])[0],
        authors=reader.values.get("creator", []),
        language=reader.values.get("language", [""])[0],
        pages=list(dict.fromkeys(pages)),
        contents=_contents(archive, items, toc=reader.toc),
        cover=_cover(archive, items, reader.cover),
    )


def _events(archive: Archive, path: str) -> list[Event]:
    content = archive.read(path)
    try:
        return xml_events(content, name=f"{archive.name}, {path}")
    except NotWellFormed:
        return list(html_events(content, name=f"{archive.name}, {path}"))


def _refuse_protected(archive: Archive) -> None:
    found = archive.find(ENCRYPTION)
    if found is None:
        return
    methods = [
        event.attributes.get("Algorithm", "")
        for event in xml_events(archive.read(found), name=f"{archive.name}, {found}")
        if isinstance(event, Begin) and event.name == "EncryptionMethod"
    ]
    if any(method not in _FONTS_ALONE for method in methods):
        raise SourceRefused(
            f"{archive.name} is protected: its text is encrypted.",
            hint="A book that was bought with copy protection cannot be read aloud; look for one without.",
        )


def _package_path(archive: Archive) -> str:
    found = archive.find(CONTAINER)
    if found is None:
        raise SourceRefused(f"{archive.name} is no EPUB: it has no {CONTAINER}.")
    for event in _events(archive, found):
        if isinstance(event, Begin) and event.name.casefold() == "rootfile":
            path = event.attributes.get("full-path", "")
            if (package := archive.find(path)) is not None:
                return package
    raise SourceRefused(f"{archive.name} is no EPUB: its {CONTAINER} names no package that is there.")


class _PackageReader:
    """Follows the tags of the package."""

    def __init__(self) -> None:
        self.values: dict[str, list[str]] = {}
        self.manifest: dict[str, tuple[str, str, str]] = {}  # id -> href, media type, properties
        self.spine: list[str] = []
        self.toc, self.cover = "", ""
        self._text: list[str] | None = None

    def read(self, event: Event) -> None:
        if isinstance(event, Text):
            if self._text is not None:
                self._text.append(event.text)
        elif isinstance(event, End):
            if self._text is not None and (value := " ".join("".join(self._text).split())):
                self.values.setdefault(event.name, []).append(value)
            self._text = None
        else:
            self._begin(event.name, event)

    def _begin(self, tag: str, event: Begin) -> None:
        has = event.attributes
        if tag in ("title", "creator", "language"):
            self._text = []
        elif tag == "item":
            self.manifest.setdefault(
                has.get("id", ""), (has.get("href", ""), has.get("media-type", ""), has.get("properties", ""))
            )
        elif tag == "spine":
            self.toc = has.get("toc", "")
        elif tag == "itemref" and has.get("linear", "yes") != "no":
            self.spine.append(has.get("idref", ""))
        elif tag == "meta" and has.get("name") == "cover":
            self.cover = has.get("content", "")


# ---- the table of contents -----------------------------------------------------------------------------------------


def _contents(archive: Archive, items: dict[str, Item], *, toc: str) -> list[Entry]:
    """Entries of the navigation page, else of the NCX; empty when the book has neither."""
    for item in items.values():
        if "nav" in item.properties and (found := list(_nav_entries(archive, item.path))):
            return found
    ncx = items.get(toc) or next(
        (item for item in items.values() if item.media_type == "application/x-dtbncx+xml"), None
    )
    return list(_ncx_entries(archive, ncx.path)) if ncx else []


def _entry(archive: Archive, path: str, title: str, href: str) -> Entry | None:
    target = archive.beside(path, href)
    if target is None:
        return None
    return Entry(title=" ".join(title.split()), path=target, fragment=href.partition("#")[2])


def _nav_entries(archive: Archive, path: str) -> Iterator[Entry]:
    depth, inside, href, title = 0, 0, "", list[str]()
    for event in _events(archive, path):
        if isinstance(event, Text):
            title.append(event.text)
        elif isinstance(event, Begin):
            depth += 1
            kinds = f"{event.attributes.get('epub:type', '')} {event.attributes.get('role', '')}".split()
            if event.name == "nav" and not inside and ("toc" in kinds or "doc-toc" in kinds):
                inside = depth
            elif event.name == "a":
                href, title = event.attributes.get("href", ""), []
        else:
            if event.name == "a" and inside and href:
                if (entry := _entry(archive, path, "".join(title), href)) is not None:
                    yield entry
                href = ""
            if depth == inside:
                inside = 0
            depth -= 1


def _ncx_entries(archive: Archive, path: str) -> Iterator[Entry]:
    title, in_text, in_map = list[str](), False, False
    for event in _events(archive, path):
        if isinstance(event, Text):
            if in_text:
                title.append(event.text)
        elif isinstance(event, End):
            in_text = in_text and event.name != "text"
            in_map = in_map and event.name != "navMap"
        elif event.name == "navMap":
            in_map = True
        elif event.name == "text" and in_map:
            title, in_text = [], True
        elif event.name == "content" and in_map:
            entry = _entry(archive, path, "".join(title), event.attributes.get("src", ""))
            if entry is not None:
                yield entry


def _cover(archive: Archive, items: dict[str, Item], cover_id: str) -> bytes | None:
    """The picture on the cover, a JPEG or PNG; None when there is none that can be used."""
    found = next((item for item in items.values() if "cover-image" in item.properties), items.get(cover_id))
    if found is None or found.media_type not in _PICTURES:
        return None
    try:
        content = archive.read(found.path)
    except SourceRefused:
        return None
    return content if len(content) <= MAX_COVER_BYTES else None
