"""The lines of a track, and when their words are spoken → captions as SubRip and WebVTT, and a list of the words.

A caption is a whole line, or where its words are timed and it is too long, a part that ends with a phrase. Pure.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from models.listen.values import TimedWord
from models.protocol import SAMPLE_RATE_HZ
from models.text.characters import is_wide
from runner.outbox.track import TrackLine

LONGEST_S = 7.0
MOST_ROWS = 2
ROW_CHARACTERS, WIDE_ROW_CHARACTERS = 42, 20
LONGEST_CHARACTERS = MOST_ROWS * ROW_CHARACTERS
HELD_S = 0.4  # a caption stays for a moment after its last word
_SENTENCE_END = re.compile(r"[.!?…。！？।؟][\"'»”’)\]」』]*$")
_CLAUSE_END = re.compile(r"[,;:、，；：،—–)\]][\"'»”’]*$")
SENTENCE, CLAUSE, PAUSE, LEAST_PAUSE_S = 1.0, 0.6, 0.4, 0.15  # what a place to cut at is worth, besides a full caption
SHORT_REST = 0.25  # of a caption: so little is not left over


@dataclass(frozen=True, kw_only=True)
class Cue:
    """A caption and when it is spoken, in seconds from the start of the track."""

    text: str
    start_s: float
    end_s: float
    words: tuple[TimedWord, ...] = ()  # by the time of the track, for tags


def cues(
    lines: Sequence[TrackLine], words: Sequence[Sequence[TimedWord]] = (), *, wraps: bool = False
) -> Iterator[Cue]:
    """The captions of every line that is spoken; `words` are those of each line, with times in the line's own take.

    With `wraps`, each is cut into rows, and the words carry their times.
    """
    position = 0
    for number, line in enumerate(lines):
        position += line.lead_samples
        start_s, end_s = position / SAMPLE_RATE_HZ, (position + line.samples) / SAMPLE_RATE_HZ
        timed = tuple(words[number]) if number < len(words) else ()
        if line.samples and not timed:
            yield Cue(text=line.text, start_s=start_s, end_s=end_s)
        elif line.samples:
            yield from _parts(line.text, _moved(timed, start_s), start_s, end_s, wraps=wraps)
        position += line.samples + line.pause_samples


def is_long(line: TrackLine) -> bool:
    """Whether a line is too long for one caption."""
    return len(line.text) > LONGEST_CHARACTERS or line.samples > LONGEST_S * SAMPLE_RATE_HZ


def word_list(lines: Sequence[TrackLine], words: Sequence[Sequence[TimedWord]]) -> str:
    """`words.json`: every word of the track in order, one a row."""
    rows: list[str] = []
    position = 0
    for line, timed in zip(lines, words, strict=True):
        position += line.lead_samples
        for word in _moved(timed, position / SAMPLE_RATE_HZ):
            entry = {"line": line.number, "word": word.text, "start_s": word.start_s, "end_s": word.end_s}
            rows.append(json.dumps(entry, ensure_ascii=False))
        position += line.samples + line.pause_samples
    return "[\n" + ",\n".join(f"  {row}" for row in rows) + "\n]\n" if rows else "[]\n"


def _moved(words: Iterable[TimedWord], start_s: float) -> tuple[TimedWord, ...]:
    """Words of a line by the time of the track."""
    return tuple(
        TimedWord(
            text=word.text,
            place=word.place,
            start_s=round(start_s + word.start_s, 3),
            end_s=round(start_s + word.end_s, 3),
        )
        for word in words
    )


def _parts(text: str, words: tuple[TimedWord, ...], start_s: float, end_s: float, *, wraps: bool) -> Iterator[Cue]:
    """One line as captions, from one cut to the next."""
    first = 0
    row = WIDE_ROW_CHARACTERS if sum(map(is_wide, text)) * 2 > len(text) else ROW_CHARACTERS
    while first < len(words):
        begins_s = start_s if first == 0 else words[first].start_s
        last = _cut(text, words, first, begins_s, end_s, row=row, wraps=wraps)
        is_end = last == len(words)
        until_s = end_s if is_end else min(words[last].start_s, words[last - 1].end_s + HELD_S)
        place = 0 if first == 0 else words[first].place
        shown = text[place : None if is_end else words[last].place].rstrip()
        yield _cue(shown, words[first:last], begins_s, min(until_s, begins_s + LONGEST_S), row=row, wraps=wraps)
        first = last


def _cut(
    text: str, words: Sequence[TimedWord], first: int, start_s: float, end_s: float, *, row: int, wraps: bool
) -> int:
    """Index of the word after the caption that begins with word `first`: as much as fits, to the end of a phrase."""
    place = 0 if first == 0 else words[first].place
    best, best_worth = first + 1, -1.0
    for last in range(first + 1, len(words) + 1):
        is_end = last == len(words)
        shown = text[place : None if is_end else words[last].place].rstrip()
        until_s = end_s if is_end else words[last - 1].end_s
        fits = (
            len(_rows(shown, row)) <= MOST_ROWS if wraps or row < ROW_CHARACTERS else len(shown) <= LONGEST_CHARACTERS
        )
        if not fits or until_s - start_s > LONGEST_S:
            break
        if is_end:
            return last
        pause_s = words[last].start_s - words[last - 1].end_s
        worth = len(shown) / (MOST_ROWS * row) + _mark_worth(shown, pause_s)
        worth -= SENTENCE if len(text) - words[last].place < SHORT_REST * MOST_ROWS * row else 0.0
        if worth >= best_worth:
            best, best_worth = last, worth
    return best


def _mark_worth(shown: str, pause_s: float) -> float:
    if _SENTENCE_END.search(shown):
        return SENTENCE
    if _CLAUSE_END.search(shown):
        return CLAUSE
    return PAUSE if pause_s >= LEAST_PAUSE_S else 0.0


def _cue(shown: str, words: Sequence[TimedWord], start_s: float, end_s: float, *, row: int, wraps: bool) -> Cue:
    if not wraps:
        return Cue(text=shown, start_s=start_s, end_s=end_s)
    return Cue(text="\n".join(_rows(shown, row)), start_s=start_s, end_s=end_s, words=tuple(words))


def _rows(shown: str, row: int) -> list[str]:
    """A caption in rows of at most so many characters, of which the first is not much longer than the second."""
    flat = re.sub(r"\s", " ", shown)
    if len(flat) <= row:
        return [flat]
    places = [at for at in range(1, len(flat)) if _may_break(flat, at)]
    two = [at for at in places if len(flat[:at].rstrip()) <= row and len(flat[at:].lstrip()) <= row]
    if two:
        middle = len(flat) / 2
        at = min(two, key=lambda at: abs(at - middle) - (8 if _CLAUSE_END.search(flat[:at].rstrip()) else 0))
        return [flat[:at].rstrip(), flat[at:].lstrip()]
    at = max((at for at in places if len(flat[:at].rstrip()) <= row), default=min(places, default=len(flat)))
    rest = flat[at:].lstrip()
    return [flat[:at].rstrip(), *(_rows(rest, row) if rest else [])]


def _may_break(flat: str, at: int) -> bool:
    """Whether a row may end before this character."""
    if flat[at - 1] == " ":
        return True
    return is_wide(flat[at]) and flat[at].isalnum() and flat[at - 1] not in "「『（《〈"


def srt(captions: Iterable[Cue]) -> str:
    """SubRip text."""
    parts = (
        f"{number}\n{timestamp(cue.start_s, mark=',')} --> {timestamp(cue.end_s, mark=',')}\n{_caption(cue.text)}\n"
        for number, cue in enumerate(captions, start=1)
    )
    return "\n".join(parts)


def vtt(captions: Iterable[Cue]) -> str:
    """WebVTT text; words that are timed carry tags."""
    parts = (
        f"{timestamp(cue.start_s, mark='.')} --> {timestamp(cue.end_s, mark='.')}\n{_tagged(cue)}\n" for cue in captions
    )
    return "\n".join(["WEBVTT\n", *parts])


def _tagged(cue: Cue) -> str:
    """The caption with the time of each word but the first before it, as far as the times rise."""
    marks: dict[int, str] = {}
    place, latest_s = 0, cue.start_s
    for word in cue.words:
        place = cue.text.find(word.text, place)
        if place < 0:
            break
        if place > 0 and round(latest_s, 3) < word.start_s < round(cue.end_s, 3):
            marks[place], latest_s = timestamp(word.start_s, mark="."), word.start_s
        place += len(word.text)
    cut = [0, *marks, len(cue.text)]
    pieces = [_escaped(cue.text[start:end]) for start, end in itertools.pairwise(cut)]
    tags = ["", *(f"<{mark}>" for mark in marks.values())]
    return _caption("".join(tag + piece for tag, piece in zip(tags, pieces, strict=True)), arrow="--&gt;")


def timestamp(seconds: float, *, mark: str) -> str:
    """`00:01:02,345`; `mark` comes before the milliseconds."""
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{milliseconds // 1000:02d}{mark}{milliseconds % 1000:03d}"


def _caption(text: str, *, arrow: str = "-->") -> str:
    """A blank line would end the caption, and `-->` would begin another."""
    return "\n".join(line.strip() for line in text.splitlines() if line.strip()).replace(arrow, "→")


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
