"""Books made while the tests run: the EPUBs, PDFs and screenplays that the readers are tried on."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping

import pytest

CONTAINER = (
    '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container" version="1.0"><rootfiles>'
    '<rootfile full-path="OEBPS/book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>'
)
XHTML = '<html xmlns="http://www.w3.org/1999/xhtml" xmlns:epub="http://www.idpf.org/2007/ops">{}</html>'


def packed(files: Mapping[str, str | bytes]) -> bytes:
    """A ZIP archive of files, as an EPUB is one."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return content.getvalue()


def package(pages: Mapping[str, str], *, more: str = "", metadata: str = "", spine: str = "") -> str:
    """The package file of a book whose pages are read in their order."""
    items = "".join(f'<item id="{name}" href="{name}" media-type="application/xhtml+xml"/>' for name in pages)
    refs = "".join(f'<itemref idref="{name}"/>' for name in pages)
    return (
        '<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/" version="3.0">'
        f"<metadata>{metadata}</metadata><manifest>{items}{more}</manifest><spine toc='ncx'>{spine or refs}</spine>"
        "</package>"
    )


@pytest.fixture
def epub() -> Callable[..., bytes]:
    """`epub({"one.xhtml": "<p>Text.</p>"}, nav=…, metadata=…)` → the bytes of a book."""

    def make(
        pages: Mapping[str, str],
        *,
        nav: str = "",
        ncx: str = "",
        metadata: str = "",
        files: Mapping[str, str | bytes] | None = None,
        more: str = "",
        spine: str = "",
    ) -> bytes:
        named = {f"OEBPS/{name}": XHTML.format(f"<body>{body}</body>") for name, body in pages.items()}
        if nav:
            more += '<item id="nav" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>'
            named["OEBPS/nav.xhtml"] = XHTML.format(f'<body><nav epub:type="toc"><ol>{nav}</ol></nav></body>')
        if ncx:
            more += '<item id="ncx" href="toc.ncx" media-type="application/x-dtbncx+xml"/>'
            named["OEBPS/toc.ncx"] = (
                '<ncx xmlns="http://www.daisy.org/z3986/2005/ncx/"><docTitle><text>unread</text></docTitle>'
                f"<navMap>{ncx}</navMap></ncx>"
            )
        return packed(
            {
                "mimetype": "application/epub+zip",
                "META-INF/container.xml": CONTAINER,
                "OEBPS/book.opf": package(pages, more=more, metadata=metadata, spine=spine),
                **named,
                **(files or {}),
            }
        )

    return make


@pytest.fixture
def pdf() -> Callable[..., bytes]:
    """`pdf([["first line", "second line"], …])` → the bytes of a PDF with a page for each list of lines."""

    def make(pages: list[list[str]], *, title: str = "") -> bytes:
        objects = ["<< /Type /Catalog /Pages 2 0 R >>", "", "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"]
        kids = []
        for lines in pages:
            shown = " ".join(f"({line}) Tj 0 -14 Td" for line in lines)
            stream = f"BT /F1 12 Tf 72 720 Td {shown} ET"
            kids.append(f"{len(objects) + 1} 0 R")
            objects.append(
                f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {len(objects) + 2} 0 R "
                "/Resources << /Font << /F1 3 0 R >> >> >>"
            )
            objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
        objects[1] = f"<< /Type /Pages /Kids [{' '.join(kids)}] /Count {len(kids)} >>"
        objects.append(f"<< /Title ({title}) >>")
        body, offsets = "%PDF-1.4\n", []
        for number, content in enumerate(objects, start=1):
            offsets.append(len(body))
            body += f"{number} 0 obj\n{content}\nendobj\n"
        table = "".join(f"{offset:010d} 00000 n \n" for offset in offsets)
        return (
            f"{body}xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}trailer\n"
            f"<< /Size {len(objects) + 1} /Root 1 0 R /Info {len(objects)} 0 R >>\nstartxref\n{len(body)}\n%%EOF\n"
        ).encode("latin-1")

    return make
