"""Names as a text writes them → the people they mean, with gender, and who was mentioned last. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from runner.script.dialogue.subjects import Subject
from runner.script.dialogue.words import Gender, SpeechWords

_SURE_BY = 2  # mentions more of one gender than of the other


@dataclass
class People:
    """Everyone who speaks or is named."""

    words: SpeechWords
    _person: dict[str, str] = field(default_factory=dict)  # a way of writing a name -> the person's name
    _genders: dict[str, Gender] = field(default_factory=dict)

    @classmethod
    def of(cls, subjects: Sequence[Subject], words: SpeechWords) -> People:
        """People behind all names of a text: `Mr. Darcy` is `Darcy`, unless there is a `Mrs. Darcy`, too."""
        people = cls(words)
        written = {subject.text: subject for subject in subjects}
        for text, subject in written.items():
            longer = [
                other for other in written
                if other != text and subject.kind == written[other].kind == "name" and people._is_part(text, other)
            ]  # fmt: skip
            best = [
                other
                for other in longer
                if not any(people._is_part(other, third) for third in longer if third != other)
            ]
            people._person[text] = best[0] if len(best) == 1 else text
        for text in written:
            person = people.person(text)
            if (gender := written[text].gender) != "unknown":
                people._genders.setdefault(person, gender)
        return people

    def _is_part(self, short: str, long: str) -> bool:
        """Whether one way of writing a name leaves out words of the other, and contradicts none."""
        bare_short, bare_long = self._bare(short), self._bare(long)
        gender_short, gender_long = self._title_gender(short), self._title_gender(long)
        if "unknown" not in (gender_short, gender_long) and gender_short != gender_long:
            return False
        if bare_short == bare_long:
            return len(short) < len(long)
        return bool(bare_short) and set(bare_short) < set(bare_long)

    def _bare(self, name: str) -> tuple[str, ...]:
        return tuple(word for word in name.casefold().split() if word.rstrip(".") not in self.words.titles)

    def _title_gender(self, name: str) -> Gender:
        return self.words.titles.get(name.casefold().split()[0].rstrip("."), "unknown")

    def person(self, text: str) -> str:
        """The name of the person that this way of writing means."""
        seen = set[str]()
        while (other := self._person.get(text, text)) != text and other not in seen:
            seen.add(text)
            text = other
        return text

    def names(self) -> list[str]:
        """All ways of writing the names of people."""
        return list(self._person)

    def gender(self, person: str) -> Gender:
        """Gender, where the text says it."""
        return self._genders.get(person, "unknown")

    def learn(self, sentences: Iterable[tuple[Sequence[str], Mapping[Gender, int]]]) -> None:
        """Take genders from sentences that hold one name, and pronouns of one gender."""
        votes: dict[str, Counter[Gender]] = {}
        for names, pronouns in sentences:
            people = {self.person(name) for name in names}
            if len(people) == 1 and len(pronouns) == 1:
                votes.setdefault(people.pop(), Counter()).update(pronouns)
        for person, counts in votes.items():
            if abs(counts["male"] - counts["female"]) >= _SURE_BY:
                self._genders.setdefault(person, "male" if counts["male"] > counts["female"] else "female")

    def aliases(self, person: str) -> list[str]:
        """Other ways in which this person's name is written."""
        return sorted(text for text in self._person if text != person and self.person(text) == person)

    def fits(self, person: str, gender: Gender) -> bool:
        """Whether a pronoun of this gender can mean the person."""
        own = self.gender(person)
        return gender in ("unknown", "nonBinary") or own in ("unknown", gender)
