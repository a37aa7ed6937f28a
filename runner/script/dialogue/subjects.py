"""Words beside a quote → who the sentence says speaks: a name, a noun with an article, or a pronoun. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from runner.script.dialogue.words import Gender, SpeechWords

_TOKEN = re.compile(
    r"(?:Mrs?|Ms|Dr|St|M|Mme|Mlle|Hr|Fr|Prof|Capt|Sra?)\.(?=\s)|[^\W_]+(?:['’.][^\W_]+)*(?:['’])?|[.!?…:;,—–―()\"“”„«»]|-"
)
_SENTENCE_END = frozenset(".!?…")
_PARTICLES = frozenset(["of", "de", "von", "van", "der", "du", "del", "della", "di", "da", "la", "le", "the", "zu"])
_NO_NOUN_TEXT = """
    with as in on at to from and but or who when while after before by for into over under turning looking quickly
    quietly softly loudly again then now suddenly last so too und oder mit als an auf aus zu nach vor endlich darauf
    dann da et ou avec en dans à sur par puis alors enfin y con a e di per
"""
_NO_NOUN = frozenset(_NO_NOUN_TEXT.split())
_CLITICS_TEXT = """
    lui me se te leur nous vous m t s en mir ihm ihr ihnen sich darauf da dann nun nur noch wieder endlich le les la
    them him her quietly softly then
"""
_CLITICS = frozenset(_CLITICS_TEXT.split())
_FURTHEST_VERB = 3  # words between a subject and its verb


@dataclass(frozen=True, slots=True)
class Subject:
    """Somebody who does something in a sentence."""

    kind: Literal["name", "noun", "pronoun"]
    text: str  # without an article; a pronoun in small letters
    gender: Gender = "unknown"


@dataclass(frozen=True, slots=True)
class Token:
    """A word or a mark of punctuation, with where it is in its text."""

    text: str
    start: int

    @property
    def low(self) -> str:
        """In small letters, with one kind of apostrophe."""
        return self.text.casefold().replace("’", "'")

    @property
    def is_word(self) -> bool:
        """Whether it is a word."""
        return self.text[0].isalnum()


def tokens_of(text: str) -> list[Token]:
    """The words and marks of a text; French elisions and inversions as words of their own."""
    found = []
    for match in _TOKEN.finditer(text):
        word, start = match[0], match.start()
        elided = re.match(r"([ldmtsjnLDMTSJN]|qu|Qu)['’](?=\w)", word)
        if elided and word[:2].casefold().replace("’", "'") != "s'":
            found += [Token(elided[0], start), Token(word[elided.end() :], start + elided.end())]
        else:
            found.append(Token(word, start))
    return found


def tag_after(text: str, words: SpeechWords) -> Subject | None:
    """Who speaks by the words that follow a quote: `said Anna`, `Anna said`, `dit-il`."""
    tokens = [token for token in tokens_of(text) if token.text != "-"]
    while tokens and not tokens[0].is_word:
        if tokens[0].text in _SENTENCE_END or tokens[0].text == ":":
            return None
        tokens.pop(0)
    sentence = _until_mark(tokens)
    if not sentence:
        return None
    for at in range(min(3, len(sentence))):  # `lui dit Anna`, `so sagte Anna`
        if sentence[at].low in words.verbs:
            return _subject_from(sentence, at + 1, words)
        if sentence[at].low not in _CLITICS:
            break
    found, end = _subject_at(sentence, 0, words)
    if found is not None and _has_verb(sentence[end : end + _FURTHEST_VERB], words):
        return found
    return None


def tag_before(text: str, words: SpeechWords) -> Subject | None:
    """Who speaks by the words before a quote: `Anna said, …`, `then asked the conductor: …`."""
    tokens = [token for token in tokens_of(text) if token.text != "-"]
    while tokens and tokens[-1].text in ("“", "„", "«", '"', "—", "–"):
        tokens.pop()
    if not tokens or tokens[-1].text not in (",", ":"):
        return None
    tokens.pop()
    start = max(
        (at + 1 for at, token in enumerate(tokens) if token.text in _SENTENCE_END or token.text == ";"), default=0
    )
    sentence = tokens[start:]
    verbs = [at for at, token in enumerate(sentence) if token.low in words.verbs]
    for verb in reversed(verbs):
        for back in range(max(0, verb - 6), verb):
            found, end = _subject_at(sentence, back, words)
            if found is not None and end <= verb <= end + _FURTHEST_VERB and _all_words(sentence[end:verb]):
                return found
        found = _subject_from(sentence, verb + 1, words)
        if found is not None:
            return found
    return None


def subject_of_sentence(text: str, words: SpeechWords) -> Subject | None:
    """Who does something in a sentence that begins with a name or a pronoun."""
    tokens = [token for token in tokens_of(text) if token.text != "-"]
    while tokens and not tokens[0].is_word:
        tokens.pop(0)
    found, end = _subject_at(tokens, 0, words)
    if found is None or found.kind == "noun" or end >= len(tokens) or not tokens[end].text[0].islower():
        return None
    return found


def names_in(text: str, words: SpeechWords) -> list[Subject]:
    """Names that a told text holds, in its order; first words of sentences only when nothing else can be meant."""
    tokens, found, at = tokens_of(text), list[Subject](), 0
    while at < len(tokens):
        starts = at == 0 or tokens[at - 1].text in _SENTENCE_END or tokens[at - 1].text in '“”„«»":'
        has_article = at > 0 and tokens[at - 1].low in {*words.articles, *words.possessives}
        subject, end = _name_at(tokens, at, words)
        is_sure = subject is not None and (subject.gender != "unknown" or tokens[at].low in words.titles)
        if subject is None or has_article or ((starts or words.nouns_have_capitals) and not is_sure):
            at += 1
            continue
        found.append(subject)
        at = end
    return found


def _until_mark(tokens: Sequence[Token]) -> list[Token]:
    for at, token in enumerate(tokens):
        if not token.is_word:
            return list(tokens[:at])
    return list(tokens)


def _all_words(tokens: Sequence[Token]) -> bool:
    return all(token.is_word for token in tokens)


def _has_verb(tokens: Sequence[Token], words: SpeechWords) -> bool:
    return any(token.low in words.verbs for token in tokens)


def _subject_from(tokens: Sequence[Token], start: int, words: SpeechWords) -> Subject | None:
    """The subject that follows a verb, perhaps after a small word."""
    for at in range(start, min(start + 3, len(tokens))):
        found, _ = _subject_at(tokens, at, words)
        if found is not None:
            return found
        if not tokens[at].is_word or not tokens[at].text[0].islower():
            return None
    return None


def _subject_at(tokens: Sequence[Token], at: int, words: SpeechWords) -> tuple[Subject | None, int]:
    """(subject that begins at a token, place after it)."""
    if at >= len(tokens) or not tokens[at].is_word:
        return None, at
    low = tokens[at].low
    if low in words.pronouns:
        return Subject("pronoun", low, words.pronouns[low]), at + 1
    if low in words.articles or low in words.possessives:
        return _noun_at(tokens, at + 1, words, gender=words.articles.get(low, "unknown"))
    return _name_at(tokens, at, words)


def _noun_at(tokens: Sequence[Token], at: int, words: SpeechWords, *, gender: Gender) -> tuple[Subject | None, int]:
    phrase: list[str] = []
    for end in range(at, min(at + 4, len(tokens))):
        token = tokens[end]
        if not token.is_word or token.low in words.verbs or token.low in _NO_NOUN or (phrase and token.low in _CLITICS):
            break
        phrase.append(token.text)
        if token.text[0].isupper() and not (end + 1 < len(tokens) and tokens[end + 1].text[0].isupper()):
            break
    if not phrase or (words.nouns_have_capitals and not phrase[-1][0].isupper()):
        return None, at
    return Subject("noun", " ".join(phrase), words.titles.get(phrase[-1].casefold(), gender)), at + len(phrase)


def _name_at(tokens: Sequence[Token], at: int, words: SpeechWords) -> tuple[Subject | None, int]:
    phrase: list[str] = []
    end, gender = at, "unknown"
    title = tokens[at].low.rstrip(".")
    if title in words.titles and (tokens[at].text[0].isupper() or title in ("monsieur", "madame", "don", "doña")):
        gender = words.titles[title]
        phrase.append(tokens[at].text)
        end = at + 1
    own = end
    while end < len(tokens) and len(phrase) < 5:
        token = tokens[end]
        following = tokens[end + 1] if end + 1 < len(tokens) else None
        is_particle = end > own and token.low in _PARTICLES and following is not None and following.text[0].isupper()
        if not is_particle and not _is_name(token, words):
            break
        phrase.append(re.sub(r"['’]s$", "", token.text))
        end += 1
    if end == own and not (phrase and words.titles[title] != "unknown"):
        return None, at
    return Subject("name", " ".join(phrase), gender), end  # type: ignore[arg-type]


def _is_name(token: Token, words: SpeechWords) -> bool:
    return (
        token.is_word
        and token.text[0].isupper()
        and token.low not in words.no_names
        and token.low not in words.verbs
        and not token.text.isdigit()
        and (not token.text.isupper() or len(token.text) > 1)
    )
