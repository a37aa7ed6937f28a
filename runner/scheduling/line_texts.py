"""The text of a job, inline or in a file → its lines, and what its author may not have meant in them.

`check`, admission and planning read texts here and nowhere else, so that they judge alike.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pydantic

from models.languages import AUTO, canonical_language
from models.text.markup import Words, markup_of, words_of
from models.text.markup_found import markup_in, markup_warning
from models.text.spoken_form import speaks
from models.text.spoken_time import spoken_time
from models.text.text_file import text_of
from registry.errors import InvalidInput, StorageError, VoiceJobsError
from runner.errors import AttachmentMissing
from runner.inbox.attachments import lost_or_refused
from runner.jobfile.specs import MAX_LINES, LineSpec, SynthesizeSpec
from runner.scheduling.line_plan import cut_text

MAX_TEXT_FILE_BYTES = 4 << 20
SHORTER = "Cut it into chapters."
SHORT_CHARACTERS = 20_000  # some 10 ms
SHOWN = 5  # tags that a warning names
WORDLESS = "…"  # stands for a line of which its markup leaves no word


@dataclass(frozen=True, kw_only=True)
class JobTexts:
    """The lines of a job that speaks."""

    lines: Sequence[LineSpec]
    markup: Mapping[int, Sequence[str]] = field(default_factory=dict)  # by position from 1: spoken as it stands
    ignored: Sequence[str] = ()  # tags that were read, and mean nothing here

    def warnings(self) -> tuple[str, ...]:
        """Sentences on what may sound otherwise than it was meant."""
        return (*([markup_warning(self.markup)] if self.markup else []), *self.ignored_warnings())

    def ignored_warnings(self) -> tuple[str, ...]:
        """A sentence on tags that were left out."""
        if not self.ignored:
            return ()
        tags = ", ".join([*self.ignored[:SHOWN], *(["…"] if len(self.ignored) > SHOWN else [])])
        return (f"Tags that mean nothing here were left out, and their contents are spoken: {tags}.",)


def job_texts(spec: SynthesizeSpec, *, folder: Path | None) -> JobTexts:
    """The lines of a job, also when it was given one text or a file. Raises InvalidInput, AttachmentMissing, …"""
    texts = _of_lines(spec, spec.lines) if spec.lines is not None else _of_text(spec, folder)
    if not any(speaks(line.text) for line in texts.lines):  # where its markup is read, that is
        raise InvalidInput(f"{spec.text_file or 'The job'} holds no word to speak: no letter and no digit.")
    return texts


def _of_text(spec: SynthesizeSpec, folder: Path | None) -> JobTexts:
    text, name = spec.text, spec.text_file or ""
    if text is None:
        assert folder is not None  # parse_job and the inbox have checked that
        text = read_text(folder / name)
    markup = markup_of(text, wanted=spec.markup, file_name=name)
    words = words_of(text, markup)
    pieces = list(_pieces(words, is_file=bool(name)))
    if len(pieces) > MAX_LINES:
        where = name or "The text"
        raise InvalidInput(f"{where} has {len(pieces):,} paragraphs, over the limit of {MAX_LINES:,}.", hint=SHORTER)
    try:
        lines = [LineSpec(text=piece, pause_after_s=pause_s) for piece, pause_s in pieces]
    except pydantic.ValidationError as error:
        reason = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise InvalidInput(f"The text of {name or 'the job'} cannot be spoken: {reason}.") from None
    found = _markup_in(lines) if markup == "plain" and spec.markup is None else {}
    return JobTexts(lines=lines, markup=found, ignored=words.ignored)


def read_text(path: Path) -> str:
    """A text file as text. Raises InvalidInput when it is no UTF-8, too large, or says nothing; AttachmentMissing."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_TEXT_FILE_BYTES + 1)
    except OSError as error:
        raise lost_or_refused(path, error) from error
    if len(content) > MAX_TEXT_FILE_BYTES:
        raise InvalidInput(f"{path.name} is larger than {MAX_TEXT_FILE_BYTES:,} bytes.", hint=SHORTER)
    return text_of(content, name=path.name)


def check_texts(spec: SynthesizeSpec, *, folder: Path) -> float | None:
    """Expected length of the speech in seconds, None while a file cannot be read. Raises InvalidInput for texts that
    can never be spoken.

    The markup of long ones is read, and their paragraphs are counted, when the job is planned.
    """
    with contextlib.suppress(AttachmentMissing, StorageError):
        texts = [spec.text] if spec.text is not None else [line.text for line in spec.lines or ()]
        if spec.text_file is not None:
            texts = [read_text(folder / spec.text_file)]
            if not speaks(texts[0]):
                raise InvalidInput(f"{spec.text_file} holds no word to speak: no letter and no digit.")
        if sum(map(len, texts)) <= SHORT_CHARACTERS:
            texts = [line.text for line in job_texts(spec, folder=folder).lines]
        return expected_s(texts, language=spec.language or AUTO)
    return None


def expected_s(texts: Sequence[str], *, language: str) -> float:
    """Expected length of the speech, in seconds; of much text, as its beginning lets one expect."""
    measured, characters = 0.0, 0
    with contextlib.suppress(VoiceJobsError):
        language = canonical_language(language)
    for text in texts:
        part = text[: SHORT_CHARACTERS - characters]
        measured += spoken_time(part, language).expected_s if speaks(part) else 0.0
        characters += len(part)
        if characters >= SHORT_CHARACTERS:
            break
    return measured * sum(map(len, texts)) / max(1, characters)


def _pieces(words: Words, *, is_file: bool) -> Iterator[tuple[str, float | None]]:
    """Texts of lines, and the pause after each; None where it is for others to say."""
    if words.lead_s:
        yield WORDLESS, words.lead_s
    for number, (text, pause_s) in enumerate(words.pieces, start=1):
        *before, (last, last_pause_s) = cut_text(text, is_file=is_file)
        yield from before
        yield last, pause_s if pause_s or number < len(words.pieces) else last_pause_s


def _of_lines(spec: SynthesizeSpec, lines: Sequence[LineSpec]) -> JobTexts:
    read = [(line, markup_of(line.text, wanted=spec.markup)) for line in lines]
    if all(markup == "plain" for _, markup in read):
        return JobTexts(lines=lines, markup=_markup_in(lines) if spec.markup is None else {})
    ignored: dict[str, None] = {}
    plain: list[LineSpec] = []
    for line, markup in read:
        words = words_of(line.text, markup)
        ignored |= dict.fromkeys(words.ignored)
        plain.append(_as_read(line, words) if markup != "plain" else line)
    is_read = {position for position, (_, markup) in enumerate(read, start=1) if markup != "plain"}
    found = {} if spec.markup else {n: kinds for n, kinds in _markup_in(plain).items() if n not in is_read}
    return JobTexts(lines=plain, markup=found, ignored=list(ignored))


def _as_read(line: LineSpec, words: Words) -> LineSpec:
    """A line with the words that its markup holds; what it asks for in the end is silent, too, after its own pause."""
    asked_s = words.last_pause_s + (0.0 if words.pieces else words.lead_s)
    pause_s = (line.pause_after_s or 0.0) + asked_s if asked_s else line.pause_after_s
    return line.model_copy(update={"text": words.text or WORDLESS, "pause_after_s": pause_s})


def _markup_in(lines: Sequence[LineSpec]) -> dict[int, Sequence[str]]:
    """Markup by the line's position, where the line is no pause."""
    found = ((position, line.text, markup_in(line.text)) for position, line in enumerate(lines, start=1))
    return {position: kinds for position, text, kinds in found if kinds and speaks(text)}
