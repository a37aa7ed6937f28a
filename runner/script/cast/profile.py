"""A part's evidence → who it is by simple rules: gender, age, sound. Offline, and the same every time. Pure.

What no word of the evidence says is filled in from the part's name, so that parts of a cast differ, and a part that
comes again sounds as before.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from runner.script.cast.parts import Part
from runner.script.dialogue.words import LANGUAGES, Gender

MOST_TRAITS = 6
LONGEST_SUMMARY = 160
Analyzer = Literal["rules", "openai", "mlx"]


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Who speaks, as the analyzer sees it; the keys of `[character]` in a design job."""

    gender: Gender
    age_range: str
    summary: str
    voice_traits: tuple[str, ...]
    description: str = ""
    analyzer: Analyzer = "rules"


_FEMALE_TEXT = """
    woman girl mother grandmother queen princess lady wife sister daughter aunt mrs miss ms madam nurse waitress actress
    frau mädchen mutter großmutter königin prinzessin tante schwester tochter fräulein femme fille mère reine tante sœur
    madame mademoiselle mujer niña madre reina señora donna ragazza signora hostess witch widow bride nun
"""
_MALE_TEXT = """
    man boy father grandfather king prince lord husband brother son uncle mr sir waiter actor priest monk
    mann junge vater großvater könig prinz herr onkel bruder sohn homme garçon père roi monsieur frère fils
    hombre niño padre rey señor uomo ragazzo signore wizard widower groom guy gentleman
"""
_FEMALE, _MALE = frozenset(_FEMALE_TEXT.split()), frozenset(_MALE_TEXT.split())
_AGES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (age, re.compile(rf"(?<!\w)(?:{words})(?!\w)"))
    for age, words in (
        ("child", r"child|kid|little (?:girl|boy)|kind|enfant|niñ[oa]|bambin[oa]|aged? (?:[4-9]|1[0-2])"),
        ("teenager", r"teen(?:ager|age)?|girl|boy|schoolgirl|schoolboy|mädchen|junge|fille|garçon|aged? 1[3-9]"),
        ("70-80", r"elderly|ancient|grandmother|grandfather|grandma|grandpa|großmutter|großvater|(?:70|80)s|seventies"),
        ("60-70", r"old (?:man|woman|lady)|aged|grey-haired|alte[rs]?|vieux|vieille|(?:60)s|sixties"),
        ("50-60", r"50s|fifties|middle-aged"),
        ("40-50", r"40s|forties|mid-40s"),
        ("30-40", r"30s|thirties"),
        ("20-30", r"20s|twenties|young (?:man|woman|lady)|jung(?:er mann|e frau)"),
    )
)
_DECADE = r"teens|twenties|thirties|forties|fifties|sixties|seventies|eighties|nineties|[2-9]0'?s"
_WHOSE_AGE = re.compile(rf"(?<!\w)in (her|his) (?:early |mid[- ]?|late )?(?:{_DECADE})(?!\w)")
_SOUNDS: tuple[tuple[str, str], ...] = (
    ("soft", r"whisper\w*|soft(?:ly)?|quiet(?:ly)?|murmur\w*|hushed|flüster\w*|leise|doucement"),
    ("gravelly", r"growl\w*|gruff(?:ly)?|hoarse(?:ly)?|rasp\w*|gravel\w*|husky|brumm\w*|knurr\w*"),
    ("commanding", r"shout\w*|command\w*|bark\w*|order\w*|roar\w*|bellow\w*|brüll\w*|befahl|officer|captain|colonel"),
    ("nervous", r"nervous(?:ly)?|stammer\w*|trembl\w*|frighten\w*|scared|anxious(?:ly)?|panic\w*|zitter\w*"),
    ("cheerful", r"laugh\w*|cheer\w*|grin\w*|happi\w*|happy|smil\w*|giggl\w*|lach\w*|fröhlich"),
    ("weary", r"tired|weary|wearily|sigh\w*|exhaust\w*|yawn\w*|müde|seufz\w*"),
    ("dry", r"dry|drily|dryly|wry|wryly|deadpan|sarcast\w*|ironic\w*"),
    ("cold", r"cold(?:ly)?|icy|icily|flat(?:ly)?|stern(?:ly)?|kühl|kalt"),
    ("warm", r"warm(?:ly)?|kind(?:ly)?|gentl[ye]|tender(?:ly)?|herzlich|sanft"),
    ("angry", r"angr\w+|furious(?:ly)?|snarl\w*|snap\w*|hiss\w*|wütend|zornig"),
)
_SOUND_PATTERNS = tuple((sound, re.compile(rf"(?<!\w)(?:{words})(?!\w)")) for sound, words in _SOUNDS)
_NAMES_OF_MEN_IN_A = frozenset(
    ("luca", "joshua", "nikola", "ezra", "andrea", "papa", "sascha", "mischa", "ilja", "grandpa")
)
_TIMBRES = ("clear", "deep", "bright", "mellow", "slightly husky", "crisp", "rounded", "light")
_PACES = ("measured", "brisk", "unhurried", "lively")
_ADULT_AGES = ("20-30", "30-40", "40-50", "50-60")


def rules_profile(part: Part, *, language: str) -> Profile:
    """The profile of a part by the words of its evidence; `language` is an ISO 639-1 code."""
    about = " ".join((part.name, *part.evidence.directions, *part.evidence.mentions)).casefold()
    chance = hashlib.sha256(part.slug.encode()).digest()
    gender = _gender(part, about, language)
    age = _age(part, about) or _ADULT_AGES[chance[0] % len(_ADULT_AGES)]
    heard = [sound for sound, pattern in _SOUND_PATTERNS if pattern.search(_directions(part))]
    heard += [sound for sound, pattern in _SOUND_PATTERNS if sound not in heard and pattern.search(about)][:2]
    timbre = _TIMBRES[chance[1] % len(_TIMBRES)]
    traits = tuple(dict.fromkeys((timbre, _PACES[chance[2] % len(_PACES)], *heard)))[:MOST_TRAITS]
    return Profile(gender=gender, age_range=age, summary=_summary(part), voice_traits=traits)


def _directions(part: Part) -> str:
    return " ".join(part.evidence.directions).casefold()


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", text.casefold())


def _gender(part: Part, about: str, language: str) -> Gender:
    own = _words(part.name)
    words = LANGUAGES.get(language, LANGUAGES["en"])
    by_title = {words.titles[word] for word in own if words.titles.get(word) in ("male", "female")}
    by_name = {"female" for word in own if word in _FEMALE} | {"male" for word in own if word in _MALE}
    for sure in (by_name, by_title):
        if len(sure) == 1:
            return sure.pop()  # type: ignore[return-value]
    votes: Counter[str] = Counter()
    for word in _words(about):
        votes[words.pronouns.get(word, "unknown")] += 1
        votes["female"] += 2 * (word in _FEMALE)
        votes["male"] += 2 * (word in _MALE)
    for whose in _WHOSE_AGE.findall(about):
        votes["female" if whose == "her" else "male"] += 2
    if votes["male"] == votes["female"]:
        return _gender_of_name(own)
    return "male" if votes["male"] > votes["female"] else "female"


def _gender_of_name(words: Sequence[str]) -> Gender:
    """Gender that the ending of a name makes likely, in the languages of Europe."""
    first = words[0] if words else ""
    if len(first) < 3 or first in _NAMES_OF_MEN_IN_A:
        return "unknown"
    if first.endswith(("a", "ette", "elle", "ine", "ie")):
        return "female"
    return "male" if first.endswith(("us", "o", "ert", "ard", "rich", "ros")) else "unknown"


def _age(part: Part, about: str) -> str:
    for text in (part.name.casefold(), about):
        if (number := re.search(r"\((?:aged? )?(\d{1,2})\)|(?<!\w)aged? (\d{1,2})(?!\d)", text)) is not None:
            return _range_of(int(number[1] or number[2]))
        for age, pattern in _AGES:
            if pattern.search(text):
                return age
    return ""


def _range_of(years: int) -> str:
    if years < 13:
        return "child"
    if years < 20:
        return "teenager"
    return f"{years // 10 * 10}-{years // 10 * 10 + 10}"


def _summary(part: Part) -> str:
    """The first short sentence that names the part."""
    sentences = (one for told in part.evidence.mentions for one in re.split(r"(?<=[.!?…])\s", " ".join(told.split())))
    name = part.name.casefold()
    first = next((one.rstrip(".") for one in sentences if name in one.casefold() and len(one) <= LONGEST_SUMMARY), "")
    return first if first else f"{part.name}, who has {part.lines} {'line' if part.lines == 1 else 'lines'}"
