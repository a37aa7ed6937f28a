"""A language, an accent and a text → the name of the eSpeak NG voice that reads it.

The map is explicit because eSpeak goes on with the previous voice when it does not know a name.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping

from models.errors import LanguageNotSpoken
from models.languages import AUTO

# Canonical language: voice of eSpeak NG 1.52, by file name. Faroese, Karakalpak and Latgalian are left out: the wheel
# has voices for them, but not their dictionaries. So is Greenlandic: a digit in it crashes the library.
_VOICES_TEXT = """
afrikaans af; albanian sq; amharic am; ancient greek grc; arabic ar; aragonese an; armenian hy; assamese as;
azerbaijani az; bashkir ba; basque eu; belarusian be; bengali bn; bishnupriya manipuri bpy; bosnian bs; bulgarian bg;
burmese my; cantonese yue; catalan ca; cherokee chr; chinese cmn; chuvash cv; croatian hr; czech cs;
danish da; dutch nl; english en-us; esperanto eo; estonian et; finnish fi; french fr; georgian ka;
german de; greek el; guarani gn; gujarati gu; haitian creole ht; hakka hak; hawaiian haw; hebrew he;
hindi hi; hungarian hu; icelandic is; ido io; indonesian id; interlingua ia; irish ga; italian it; japanese ja;
k'iche' quc; kannada kn; kazakh kk; konkani kok; korean ko; kurdish ku; kyrgyz ky; lang belta qdb;
latin la; latvian lv; lingua franca nova lfn; lithuanian lt; lojban jbo; lule sami smj;
luxembourgish lb; macedonian mk; malay ms; malayalam ml; maltese mt; maori mi; marathi mr; nahuatl nci; nepali ne;
nogai nog; norwegian nb; odia or; oromo om; papiamento pap; persian fa; polish pl; portuguese pt-br; punjabi pa;
quechua qu; quenya qya; romanian ro; russian ru; scottish gaelic gd; serbian sr; shan shn; sindarin sjn; sindhi sd;
sinhala si; slovak sk; slovenian sl; spanish es; swahili sw; swedish sv; tamil ta; tatar tt; telugu te; thai th;
tigrinya ti; totontepec mixe mto; tswana tn; turkish tr; turkmen tk; ukrainian uk; urdu ur; uyghur ug; uzbek uz;
vietnamese vi; welsh cy; western armenian hyw
"""
VOICES: Mapping[str, str] = {
    name: voice
    for name, _, voice in (entry.strip().rpartition(" ") for entry in _VOICES_TEXT.replace("\n", " ").split(";"))
}

# Word of a description: (language it applies to, voice).
ACCENTS: Mapping[str, tuple[str, str]] = {
    "american": ("english", "en-us"),
    "new york": ("english", "en-us-nyc"),
    "british": ("english", "en"),
    "english": ("english", "en"),
    "london": ("english", "en"),
    "received pronunciation": ("english", "en-gb-x-rp"),
    "rp": ("english", "en-gb-x-rp"),
    "posh": ("english", "en-gb-x-rp"),
    "scottish": ("english", "en-gb-scotland"),
    "scots": ("english", "en-gb-scotland"),
    "lancashire": ("english", "en-gb-x-gbclan"),
    "northern english": ("english", "en-gb-x-gbclan"),
    "midlands": ("english", "en-gb-x-gbcwmd"),
    "birmingham": ("english", "en-gb-x-gbcwmd"),
    "caribbean": ("english", "en-029"),
    "jamaican": ("english", "en-029"),
    "castilian": ("spanish", "es"),
    "latin american": ("spanish", "es-419"),
    "mexican": ("spanish", "es-419"),
    "brazilian": ("portuguese", "pt-br"),
    "european portuguese": ("portuguese", "pt"),
    "lisbon": ("portuguese", "pt"),
    "belgian": ("french", "fr-be"),
    "swiss": ("french", "fr-ch"),
    "valencian": ("catalan", "ca-va"),
    "balearic": ("catalan", "ca-ba"),
    "saigon": ("vietnamese", "vi-vn-x-south"),
    "southern vietnamese": ("vietnamese", "vi-vn-x-south"),
    "hue": ("vietnamese", "vi-vn-x-central"),
}
_LONGEST_FIRST = sorted(ACCENTS, key=len, reverse=True)  # "northern english" before "english"

# The median pitch of a language against that of English with the same settings: tones and melodies move it.
PITCH_FACTORS: Mapping[str, float] = {
    "vietnamese": 0.86,
    "cantonese": 0.88,
    "chinese": 0.89,
    "japanese": 0.95,
    "korean": 0.95,
    "thai": 1.08,
    "burmese": 1.10,
    "hakka": 1.15,
}

# The language to assume for `auto`, by the first word of a letter's Unicode name.
_SCRIPTS: Mapping[str, str] = {
    "LATIN": "english",
    "CYRILLIC": "russian",
    "GREEK": "greek",
    "CJK": "chinese",
    "HIRAGANA": "japanese",
    "KATAKANA": "japanese",
    "HANGUL": "korean",
    "ARABIC": "arabic",
    "HEBREW": "hebrew",
    "DEVANAGARI": "hindi",
    "BENGALI": "bengali",
    "GUJARATI": "gujarati",
    "GURMUKHI": "punjabi",
    "TAMIL": "tamil",
    "TELUGU": "telugu",
    "KANNADA": "kannada",
    "MALAYALAM": "malayalam",
    "SINHALA": "sinhala",
    "THAI": "thai",
    "MYANMAR": "burmese",
    "GEORGIAN": "georgian",
    "ARMENIAN": "armenian",
    "ETHIOPIC": "amharic",
    "CHEROKEE": "cherokee",
}
_READS_HAN = frozenset({"chinese", "cantonese", "hakka"})
_LETTERS_FOR_HAN = {"japanese": "kana", "korean": "hangul"}


def language_of(text: str) -> str:
    """The language that the letters of `text` suggest; English where they suggest none."""
    scripts = Counter(unicodedata.name(letter, "").partition(" ")[0] for letter in text if letter.isalpha())
    if scripts["HIRAGANA"] + scripts["KATAKANA"]:
        return "japanese"  # even among many kanji: Chinese has no kana
    for script, _ in scripts.most_common():
        if script in _SCRIPTS:
            return _SCRIPTS[script]
    return "english"


def spoken_language(language: str, text: str) -> str:
    """The canonical language to read `text` in. Raises LanguageNotSpoken when eSpeak NG lacks it."""
    wanted = language_of(text) if language == AUTO else language
    if wanted not in VOICES:
        raise LanguageNotSpoken(wanted, spoken=VOICES)
    return wanted


def accents_in(description: str) -> dict[str, str]:
    """The accents that a description names, as eSpeak voices by language."""
    found: dict[str, str] = {}
    rest = description.casefold()
    for words in _LONGEST_FIRST:
        pattern = rf"\b{words}\b(?! (?:ancestry|literature|words?|text|language))"
        if re.search(pattern, rest):
            language, voice = ACCENTS[words]
            found.setdefault(language, voice)
            rest = re.sub(pattern, " ", rest)
    return found


def unknown_accent_in(description: str) -> str | None:
    """The word before "accent" that no eSpeak voice has; None when there is none."""
    for match in re.finditer(r"([\w-]+(?: [\w-]+)?) accent\b", description.casefold()):
        words = match[1]
        if not any(re.search(rf"\b{known}$", words) for known in ACCENTS):
            return words.split()[-1]
    return None


def han_warning(text: str, language: str) -> str | None:
    """A sentence where eSpeak NG will name Chinese characters in `text` one by one instead of reading them."""
    if language in _READS_HAN or not any(unicodedata.name(letter, "").startswith("CJK") for letter in text):
        return None
    if (letters := _LETTERS_FOR_HAN.get(language)) is not None:
        return f"eSpeak NG names Chinese characters one by one in {language.title()}. Write {letters} instead."
    return (
        f"The line is read as {language.title()}, in which eSpeak NG names Chinese characters one by one. "
        'If it is Chinese with foreign words, say `language = "zh"`.'
    )


def spoken_languages() -> tuple[str, ...]:
    """Languages that the engine speaks, English first."""
    return tuple(sorted(VOICES, key=lambda language: language != "english"))
