"""A document of paragraphs → the same words as lines of narrator and speakers, each with rule and confidence. Pure.

What the text says comes first: a tag (`said Anna`), then a sentence about one person beside the quote, then turns
between two. Whatever is unsure is the narrator's.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from runner.script.dialogue.incise import without_incises
from runner.script.dialogue.people import People
from runner.script.dialogue.quotes import Segment, is_left_open, segments, speaks_by_dashes, styles_of
from runner.script.dialogue.subjects import Subject, names_in, subject_of_sentence, tag_after, tag_before, tokens_of
from runner.script.dialogue.words import LANGUAGES, Gender, SpeechWords
from runner.script.document import Document, ScriptLine, within_length

MEMORY = 8  # paragraphs for which somebody who was named is there
NEAR = 2  # paragraphs from one speech to the next of an exchange: at most one is told between them
SHORT = 80  # characters of what is told there
MOST_TURNS = 4  # of an exchange without a name
CONFIDENCE = {
    "tag": 0.95,
    "noun": 0.85,
    "pronoun": 0.7,
    "beat": 0.7,
    "exchange": 0.6,
    "first person": 0.9,
    "unsure": 0.0,
}
_MARKS = re.compile(r"[,.;:!?…][,.;:!?…\s]*")
_SENTENCE = re.compile(r"[^.!?…]+[.!?…]*")


@dataclass
class _Paragraph:
    line: ScriptLine
    pieces: list[Segment]
    tags: dict[int, Subject] = field(default_factory=dict)  # piece -> who the text says speaks it
    beat: Subject | None = None
    speaker: str | None = None
    rule: str = ""
    confidence: float = 0.0
    speakers: dict[int, tuple[str | None, str, float]] = field(default_factory=dict)
    present: list[str] = field(default_factory=list)  # the others who were named or spoke lately

    @property
    def is_spoken(self) -> bool:
        return any(piece.is_said for piece in self.pieces)

    @property
    def told(self) -> str:
        return " ".join(piece.text for piece in self.pieces if not piece.is_said)


@dataclass(frozen=True)
class Attribution:
    """A document whose quotes have speakers, and the people behind the names."""

    document: Document
    people: People


def attribute(document: Document, *, language: str) -> Attribution:
    """Find who speaks in prose; `language` is an ISO 639-1 code."""
    words = LANGUAGES.get(language, LANGUAGES["en"])
    texts = [line.text for line in document.lines if line.kind == "narration"]
    styles = styles_of(texts)
    dashes = speaks_by_dashes(texts, styles=styles)
    incises = words if language == "fr" else None
    paragraphs = list(_paragraphs(document.lines, styles=styles, dashes=dashes, incises=incises))
    for before, paragraph in zip([None, *paragraphs], paragraphs, strict=False):
        _find_tags(paragraph, before, words)
    people = _people(paragraphs, words)
    _name_speakers(paragraphs, people)
    _take_turns(paragraphs, people)
    _take_turns(paragraphs[::-1], people)
    lines = [part for paragraph in paragraphs for part in _lines(paragraph)]
    return Attribution(replace(document, lines=tuple(lines)), people)


def _paragraphs(
    lines: Sequence[ScriptLine], *, styles: Sequence[tuple[str, str]], dashes: bool, incises: SpeechWords | None
) -> Iterator[_Paragraph]:
    is_open = False
    for line in lines:
        if line.kind != "narration":
            is_open = False
            yield _Paragraph(line, [Segment(line.text, is_said=False)])
            continue
        pieces = segments(line.text, styles=styles, dashes=dashes, open_quote=is_open)
        if incises is not None:
            pieces = [
                part for piece in pieces for part in (without_incises(piece, incises) if piece.is_said else (piece,))
            ]
        yield _Paragraph(line, pieces)
        is_open = is_left_open(line.text, styles=styles)


# ---- what the text says --------------------------------------------------------------------------------------------


def _find_tags(paragraph: _Paragraph, before: _Paragraph | None, words: SpeechWords) -> None:
    pieces = paragraph.pieces
    for at, piece in enumerate(pieces):
        if not piece.is_said:
            continue
        after = pieces[at + 1].text if at + 1 < len(pieces) else ""
        told_before = pieces[at - 1].text if at > 0 else ""
        if at == 0 and before is not None and before.line.text.rstrip().endswith(":"):
            told_before = before.line.text
        tag = _tag_after(piece.text, after, words) or tag_before(told_before, words)
        if tag is not None:
            paragraph.tags[at] = tag
    if paragraph.is_spoken and not paragraph.tags:
        paragraph.beat = _beat(pieces, words)


def _tag_after(said: str, told: str, words: SpeechWords) -> Subject | None:
    """A tag goes on with the sentence of its quote: a full stop before a capital ends that."""
    last = next((character for character in reversed(said) if character not in "\"“”’‘'«»›‹」』 \u00a0"), "")
    bare = told.lstrip(" \u00a0—–―-")
    if last == "." and bare[:1].isupper():
        return None
    return tag_after(told, words)


def _beat(pieces: Sequence[Segment], words: SpeechWords) -> Subject | None:
    """The one person about whom the sentences beside a quote are."""
    found = set[Subject]()
    for piece in pieces:
        if piece.is_said:
            continue
        sentences = _SENTENCE.findall(piece.text)
        for sentence in (sentences[0], sentences[-1]) if sentences else ():
            if (subject := subject_of_sentence(sentence, words)) is not None:
                found.add(subject)
    return found.pop() if len(found) == 1 else None


# ---- who that is ---------------------------------------------------------------------------------------------------


def _people(paragraphs: Sequence[_Paragraph], words: SpeechWords) -> People:
    tagged = [tag for paragraph in paragraphs for tag in paragraph.tags.values() if tag.kind != "pronoun"]
    named = [subject for paragraph in paragraphs for subject in names_in(paragraph.told, words)]
    often = Counter(subject.text for subject in named)
    sure = (subject for subject in named if often[subject.text] > 1 or subject.gender != "unknown")
    people = People.of([*tagged, *sure], words)
    known = {subject.text for subject in (*tagged, *named)}
    people.learn(_facts(paragraphs, known, words))
    return people


def _facts(
    paragraphs: Sequence[_Paragraph], known: set[str], words: SpeechWords
) -> Iterator[tuple[list[str], dict[Gender, int]]]:
    """(names, pronouns by gender) of every told sentence."""
    for paragraph in paragraphs:
        for sentence in _SENTENCE.findall(paragraph.told):
            lows = [token.low for token in tokens_of(sentence)]
            genders = Counter(words.pronouns[low] for low in lows if words.pronouns.get(low) in ("male", "female"))
            names = [name for name in known if name in sentence]
            first = min((low for low in lows if low in words.pronouns), key=sentence.casefold().find, default="")
            names_first = all(sentence.find(name) < sentence.casefold().find(first) for name in names)
            if names and genders and names_first:
                yield names, dict(genders)


@dataclass
class _Scene:
    """Who was named or spoke lately."""

    people: People
    _last: dict[str, int] = field(default_factory=dict)  # person -> number of the paragraph

    def mention(self, person: str, number: int) -> None:
        """Note that somebody is there."""
        self._last.pop(person, None)
        self._last[person] = number

    def present(self, number: int) -> list[str]:
        """Everybody of the paragraphs before this one, the latest first."""
        return [person for person, last in reversed(self._last.items()) if number - last <= MEMORY]

    def meant(self, tag: Subject, number: int, *, not_those: set[str], last_speaker: str | None) -> str | None:
        """The person whom a pronoun means: of this paragraph, else somebody who has not just spoken."""
        fitting = [
            each for each in self.present(number) if self.people.fits(each, tag.gender) and each not in not_those
        ]
        here = [person for person in fitting if self._last[person] == number]
        sure = [person for person in fitting if self.people.gender(person) == tag.gender]
        others = [person for person in sure or fitting if person != last_speaker]
        return next(iter((*here, *others, *fitting)), None)


def _name_speakers(paragraphs: Sequence[_Paragraph], people: People) -> None:
    scene = _Scene(people)
    known = sorted(people.names(), key=len, reverse=True)
    pattern = re.compile(rf"\b(?:{'|'.join(map(re.escape, known))})\b") if known else None
    before: _Paragraph | None = None
    chapter = 0
    for number, paragraph in enumerate(paragraphs):
        if paragraph.line.chapter != chapter:
            scene, before, chapter = _Scene(people), None, paragraph.line.chapter
        last: tuple[str | None, str, float] | None = None
        for at, piece in enumerate(paragraph.pieces):
            if not piece.is_said:
                for found in pattern.findall(piece.text) if pattern else ():
                    scene.mention(people.person(found), number)
            elif piece.continues and before is not None and before.rule:
                last = paragraph.speakers[at] = before.speaker, "continued", before.confidence
            elif (tag := paragraph.tags.get(at)) is not None:
                called = _called(piece.text, people)
                speaker = before.speaker if before else None
                last = paragraph.speakers[at] = _speaker(tag, scene, number, not_those=called, last_speaker=speaker)
            if last is not None and last[0] is not None:
                scene.mention(last[0], number)
        if last is None and paragraph.beat is not None:
            person, rule, confidence = _speaker(paragraph.beat, scene, number, not_those=set(), last_speaker=None)
            if person is not None:
                last = person, "beat", min(confidence, CONFIDENCE["beat"])
            elif rule == "first person":
                last = None
        _spread(paragraph, last)
        if paragraph.is_spoken:
            paragraph.present = [each for each in scene.present(number) if each != paragraph.speaker]
            before = paragraph


def _speaker(
    tag: Subject, scene: _Scene, number: int, *, not_those: set[str], last_speaker: str | None
) -> tuple[str | None, str, float]:
    """(person, rule, confidence) of whom a tag means."""
    if tag.kind != "pronoun":
        rule = "tag" if tag.kind == "name" else "noun"
        return scene.people.person(tag.text), "tag", CONFIDENCE[rule]
    if tag.text in ("i", "ich", "je", "yo", "io", "eu", "ja", "я"):
        return None, "first person", CONFIDENCE["first person"]
    person = scene.meant(tag, number, not_those=not_those, last_speaker=last_speaker)
    return (person, "pronoun", CONFIDENCE["pronoun"]) if person else (None, "unsure", 0.0)


def _called(said: str, people: People) -> set[str]:
    """People whom a speech calls by their name, and who therefore do not speak it."""
    named = (name for name in people.names() if name in said)
    return {
        people.person(name) for name in named if re.search(rf"(?:^\W*|, |dear ){re.escape(name)}(?=[,.!?…]|$)", said)
    }


def _spread(paragraph: _Paragraph, last: tuple[str | None, str, float] | None) -> None:
    """Give quotes of a paragraph without a tag of their own the speaker of the one before, else of the one after."""
    said = [at for at, piece in enumerate(paragraph.pieces) if piece.is_said]
    first = next((paragraph.speakers[at] for at in said if at in paragraph.speakers), last)
    current = first
    for at in said:
        current = paragraph.speakers.get(at, current)
        if current is not None:
            paragraph.speakers[at] = current
    if current is not None:
        paragraph.speaker, paragraph.rule, paragraph.confidence = current


# ---- turns ---------------------------------------------------------------------------------------------------------


def _take_turns(paragraphs: Sequence[_Paragraph], people: People) -> None:
    """Fill in an exchange between two, in the order that is given: forward, or backward from its end."""
    spoken = [(number, paragraph) for number, paragraph in enumerate(paragraphs) if paragraph.is_spoken]
    turns = 0
    for at, (number, paragraph) in enumerate(spoken):
        if paragraph.rule:
            turns = turns if paragraph.rule == "exchange" else 0
            continue
        near = [other for place, other in spoken[max(0, at - 2) : at] if abs(number - place) <= 2 * NEAR]
        is_near = at > 0 and _is_short_between(paragraphs, *sorted((number, spoken[at - 1][0])))
        other = _other_of_two(near, people) if is_near else None
        if other is None or turns == MOST_TURNS or any(map(str.isalnum, paragraph.told)):
            continue
        if near[-1].line.chapter == paragraph.line.chapter and other not in _called(paragraph.line.text, people):
            turns += 1
            _spread(paragraph, (other, "exchange", CONFIDENCE["exchange"]))


def _is_short_between(paragraphs: Sequence[_Paragraph], first: int, last: int) -> bool:
    """Whether no more than a short sentence is told between two speeches."""
    between = [paragraph.line.text for paragraph in paragraphs[first + 1 : last]]
    return len(between) < NEAR and sum(map(len, between)) <= SHORT


def _other_of_two(near: Sequence[_Paragraph], people: People) -> str | None:
    """The one who answers the last of these speeches: who spoke before it, else the only other who is there."""
    if not near or (last := near[-1].speaker) is None:
        return None
    if len(near) == 2 and near[0].speaker is not None and near[0].speaker != last:
        return near[0].speaker
    called = _called(near[-1].line.text, people) - {last}
    if len(called) == 1:
        return called.pop()
    return near[-1].present[0] if len(near[-1].present) == 1 else None


# ---- lines ---------------------------------------------------------------------------------------------------------


def _lines(paragraph: _Paragraph) -> Iterator[ScriptLine]:
    line = paragraph.line
    if not any(speaker for speaker, _, _ in paragraph.speakers.values()):
        rule = paragraph.rule or ("unsure" if paragraph.is_spoken else line.rule)
        confidence = paragraph.confidence if paragraph.is_spoken else line.confidence
        yield replace(line, rule=rule, confidence=confidence)
        return
    for text, said in _merged(paragraph):
        if said is None:
            yield replace(line, text=text)
        else:
            speaker, rule, confidence = said
            part = replace(line, text=text, kind="dialogue", speaker=speaker, rule=rule, confidence=confidence)
            yield from within_length(part)


def _merged(paragraph: _Paragraph) -> list[tuple[str, tuple[str | None, str, float] | None]]:
    """(text, who says it) of the pieces; marks without a word go to the piece before them, else to the one after."""
    found: list[tuple[str, tuple[str | None, str, float] | None]] = []
    carried = ""
    for at, piece in enumerate(paragraph.pieces):
        text = carried + piece.text
        carried = ""
        if found and not piece.is_said and (marks := _MARKS.match(text)) is not None and marks.end() < len(text):
            found[-1] = found[-1][0] + marks[0].rstrip(), found[-1][1]
            text = text[marks.end() :]
        if any(map(str.isalnum, piece.text)):
            found.append((text, paragraph.speakers.get(at) if piece.is_said else None))
        elif found:
            found[-1] = found[-1][0] + piece.text, found[-1][1]
        else:
            carried = text
    return [(" ".join(text.split()), said) for text, said in found]
