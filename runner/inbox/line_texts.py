"""The text of a job, inline or in a file → its lines, and what its author may not have meant in them.

`check`, admission and planning read texts here and nowhere else, so that they judge alike.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pydantic

from models.languages import AUTO, canonical_language
from models.text.markup import LONGEST_BREAK_S, Words, markup_of, words_in
from models.text.markup_found import markup_in, markup_warning
from models.text.paragraphs import paragraphs
from models.text.sentences import split_text
from models.text.spoken_form import speaks
from models.text.spoken_time import spoken_time
from models.text.text_file import text_of
from registry.durable_files import open_regular
from registry.errors import InvalidInput, StorageError, VoiceJobsError
from runner.config.settings import SHORTEST_CAP_S
from runner.errors import AttachmentMissing
from runner.inbox.attachments import lost_or_refused
from runner.jobfile.specs import MAX_LINES, DesignSpec, LineSpec, SynthesizeSpec

MAX_TEXT_FILE_BYTES = 4 << 20
SHORTER = "Cut it into chapters."
SHORT_CHARACTERS = 20_000  # some 10 ms
LONGEST_CUT = 2_000  # characters of a line that a text is cut into; the engine cuts further where its model must
PARAGRAPH_PAUSE_S = 0.6
SENTENCE_PAUSE_S = 0.2
SHOWN = 5  # tags that a warning names
WORDLESS = "…"  # stands for a line of which its markup leaves no word


@dataclass(frozen=True, kw_only=True)
class JobTexts:
    """The lines of a job that speaks."""

    lines: Sequence[LineSpec]
    markup: Mapping[int, Sequence[str]] = field(default_factory=dict)  # by position from 1: spoken as it stands
    ignored: Sequence[str] = ()  # tags that were read, and mean nothing here
    pieces: Mapping[int, Words] = field(default_factory=dict)  # by position: of a line with pauses within it

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
    check_caps(spec)
    texts = _of_lines(spec, spec.lines) if spec.lines is not None else _of_text(spec, folder)
    if not any(speaks(line.text) for line in texts.lines):  # where its markup is read, that is
        raise InvalidInput(f"{spec.text_file or 'The job'} holds no word to speak: no letter and no digit.")
    return texts


def check_caps(spec: SynthesizeSpec | DesignSpec) -> None:
    """Raise InvalidInput for a `max_seconds` that leaves no room for any sound, before a line is tried with it."""
    lines = (spec.lines or ()) if isinstance(spec, SynthesizeSpec) else ()
    caps = [("sampling", spec.sampling), *((f"lines[{n}].sampling", line.sampling) for n, line in enumerate(lines, 1))]
    for where, sampling in caps:
        longest_s = sampling.max_seconds if sampling is not None else None
        if longest_s is not None and longest_s < SHORTEST_CAP_S:
            raise InvalidInput(
                f"{where}: max_seconds is {longest_s:g}; a line cut so short holds no sound.",
                hint=f"Give {SHORTEST_CAP_S} s or more, or leave it out: it is then derived from the text.",
            )


def _of_text(spec: SynthesizeSpec, folder: Path | None) -> JobTexts:
    text, name = spec.text, spec.text_file or ""
    if text is None:
        assert folder is not None  # parse_job and the inbox have checked that
        text = read_text(folder / name)
    markup = markup_of(text, wanted=spec.markup, file_name=name)
    words = words_in(text, wanted=spec.markup, file_name=name)
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
        with open_regular(path) as file:
            content = file.read(MAX_TEXT_FILE_BYTES + 1)
    except OSError as error:
        raise lost_or_refused(path, error) from error
    if len(content) > MAX_TEXT_FILE_BYTES:
        raise InvalidInput(f"{path.name} is larger than {MAX_TEXT_FILE_BYTES:,} bytes.", hint=SHORTER)
    return text_of(content, name=path.name)


class AskedLanguage(NamedTuple):
    """A language that a job wants spoken, as it names voice and model; None is for the instance to say."""

    voice: str
    model: str | None
    language: str | None
    position: int | None = None  # of the first such line, in a job of lines


@dataclass(frozen=True, kw_only=True)
class JudgedTexts:
    """The texts of a job that can be spoken."""

    expected_s: float  # of speech
    languages: tuple[AskedLanguage, ...]


def check_texts(spec: SynthesizeSpec, *, folder: Path) -> JudgedTexts | None:
    """The facts about a job's texts, None while a file cannot be read. Raises InvalidInput for texts that can never
    be spoken.
    """
    with contextlib.suppress(AttachmentMissing, StorageError):
        texts = job_texts(spec, folder=folder)
        seconds = expected_s([line.text for line in texts.lines], language=spec.language or AUTO)
        return JudgedTexts(expected_s=seconds, languages=tuple(_asked_languages(spec, texts)))
    return None


def _asked_languages(spec: SynthesizeSpec, texts: JobTexts) -> Iterator[AskedLanguage]:
    """Each language that a voice of the job is to speak, once."""
    if spec.lines is None:
        yield AskedLanguage(spec.voice or "", spec.model, spec.language)
        return
    seen = set()
    for position, line in enumerate(texts.lines, start=1):
        asked = (line.voice or spec.voice or "", line.model or spec.model, line.language or spec.language)
        if asked not in seen and speaks(line.text):
            seen.add(asked)
            yield AskedLanguage(*asked, position)


def size_of_texts(spec: SynthesizeSpec, *, folder: Path) -> int:
    """How much there is to be read: characters in a job, bytes in a file."""
    if spec.text_file is not None:
        with contextlib.suppress(OSError):  # reading it says what is wrong with it
            return (folder / spec.text_file).stat().st_size
        return 0
    return len(spec.text or "") + sum(len(line.text) for line in spec.lines or ())


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


def cut_text(text: str, *, longest: int = LONGEST_CUT, is_file: bool = False) -> list[tuple[str, float | None]]:
    """A long text as lines with the pause after each: a paragraph is a line; an overlong one is cut after sentences.

    A paragraph without a word has no pause yet: it is one. Single newlines of a short text that is no file stay in it.
    """
    is_short = len(text) <= longest
    if (
        is_short
        and not is_file
        and re.search(r"\n\s*\n", text.replace("\r\n", "\n").replace("\r", "\n").strip()) is None
    ):
        return [(text.strip(), 0.0)]
    parts = paragraphs(text).texts
    if is_short and len(parts) == 1:
        return [(text.strip(), 0.0)]
    lines: list[tuple[str, float | None]] = []
    for part in parts:
        if not speaks(part):
            lines.append((part, None))
            continue
        pieces = [part]
        if len(part) > longest:
            pieces = split_text(part, language=AUTO, max_characters=longest, max_words=longest)
        lines += [(piece, SENTENCE_PAUSE_S) for piece in pieces[:-1]]
        lines += [(piece, PARAGRAPH_PAUSE_S) for piece in pieces[-1:]]
    return [*lines[:-1], *((piece, pause_s and 0.0) for piece, pause_s in lines[-1:])]


def _of_lines(spec: SynthesizeSpec, lines: Sequence[LineSpec]) -> JobTexts:
    ignored: dict[str, None] = {}
    read: list[LineSpec] = []
    pieces: dict[int, Words] = {}
    plain: set[int] = set()
    for position, line in enumerate(lines, start=1):
        markup = markup_of(line.text, wanted=spec.markup)
        words = words_in(line.text, wanted=spec.markup)
        ignored |= dict.fromkeys(words.ignored)
        read.append(line if words.pieces == [(line.text, 0.0)] else _as_read(line, words))
        if words.has_pauses_within:
            pieces[position] = _within(words, position)
        if markup == "plain" and spec.markup is None:
            plain.add(position)
    found = {n: kinds for n, kinds in _markup_in(read).items() if n in plain} if plain else {}
    return JobTexts(lines=read, markup=found, ignored=list(ignored), pieces=pieces)


def _as_read(line: LineSpec, words: Words) -> LineSpec:
    """A line with the words that its markup holds; what it asks for in the end is silent, too, after its own pause."""
    asked_s = words.last_pause_s + (0.0 if words.pieces else words.lead_s)
    pause_s = (line.pause_after_s or 0.0) + asked_s if asked_s else line.pause_after_s
    return line.model_copy(update={"text": words.text or WORDLESS, "pause_after_s": pause_s})


def _within(words: Words, position: int) -> Words:
    """Everything but the pause at the end. Raises InvalidInput when it is silent for too long."""
    *before, (last, _) = words.pieces
    silent_s = words.lead_s + sum(pause_s for _, pause_s in before)
    if silent_s > LONGEST_BREAK_S:
        raise InvalidInput(
            f"The pauses within line {position} are {silent_s:,.0f} s; at most {LONGEST_BREAK_S:,.0f} s are possible.",
            hint="Make it several lines, each with `pause_after_s`.",
        )
    return Words([*before, (last, 0.0)], lead_s=words.lead_s)


def _markup_in(lines: Sequence[LineSpec]) -> dict[int, Sequence[str]]:
    """Markup by the line's position, where the line is no pause."""
    found = ((position, line.text, markup_in(line.text)) for position, line in enumerate(lines, start=1))
    return {position: kinds for position, text, kinds in found if kinds and speaks(text)}
