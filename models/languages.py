"""A language as a person writes it (`de`, `ger`, `pt-BR`, `German`, `auto`) → its English name in lower case.

One name per language crosses every boundary of the project, so that `de`, `DE-at` and `German` are one take.
A dialect (`beijing_dialect`) is a property of a preset voice, not a language, and is refused as one.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping

from models.errors import LanguageNotSpoken, UnknownLanguage
from registry.errors import nearest

AUTO = "auto"

# Canonical name: ISO 639-1, -2/T, -2/B and -3 codes = further English names.
# Members of a macrolanguage that sound alike to somebody who chooses a voice (nb, nn, no) share one line.
_TABLE = """
abkhazian: ab abk
afrikaans: af afr
albanian: sq sqi alb als
amharic: am amh
ancient greek: grc = greek (ancient), classical greek
arabic: ar ara arb = modern standard arabic
aragonese: an arg
armenian: hy hye arm = eastern armenian, east armenian
assamese: as asm
asturian: ast = asturleonese
azerbaijani: az aze azj = azeri
bashkir: ba bak
basque: eu eus baq
belarusian: be bel = byelorussian
bengali: bn ben = bangla
bishnupriya manipuri: bpy = bishnupriya
bosnian: bs bos
breton: br bre
bulgarian: bg bul
burmese: my mya bur = myanmar
cantonese: yue = yue chinese, cantonese chinese
catalan: ca cat = valencian
cebuano: ceb
chechen: ce che
cherokee: chr
chinese: zh zho chi cmn = mandarin, mandarin chinese, standard chinese, simplified chinese, traditional chinese
chuvash: cv chv
cornish: kw cor
corsican: co cos
croatian: hr hrv
czech: cs ces cze
danish: da dan
divehi: dv div = dhivehi, maldivian
dutch: nl nld dut = flemish
dzongkha: dz dzo
english: en eng
esperanto: eo epo
estonian: et est ekk
faroese: fo fao
fijian: fj fij
finnish: fi fin
french: fr fra fre
frisian: fy fry = western frisian, west frisian
galician: gl glg
ganda: lg lug = luganda
georgian: ka kat geo
german: de deu ger
greek: el ell gre = modern greek
greenlandic: kl kal = kalaallisut
guarani: gn grn
gujarati: gu guj
haitian creole: ht hat = haitian, kreyol
hakka: hak = hakka chinese
hausa: ha hau
hawaiian: haw
hebrew: he heb iw
hindi: hi hin
hungarian: hu hun = magyar
icelandic: is isl ice
ido: io ido
igbo: ig ibo
indonesian: id ind in = bahasa indonesia
interlingua: ia ina
inuktitut: iu iku
irish: ga gle = irish gaelic
italian: it ita
japanese: ja jpn jp
javanese: jv jav
k'iche': quc = kiche, quiche
kannada: kn kan
karakalpak: kaa
kazakh: kk kaz
khmer: km khm = cambodian
kinyarwanda: rw kin
klingon: tlh
konkani: kok
korean: ko kor kr
kurdish: ku kur kmr = kurmanji
kyrgyz: ky kir = kirghiz
lang belta: qdb = belter
lao: lo lao
latgalian: ltg
latin: la lat
latvian: lv lav lvs
lingala: ln lin
lingua franca nova: lfn = elefen
lithuanian: lt lit
lojban: jbo
lule sami: smj = lule saami
luxembourgish: lb ltz
macedonian: mk mkd mac
malagasy: mg mlg
malay: ms msa may zsm = bahasa melayu
malayalam: ml mal
maltese: mt mlt
maori: mi mri mao = māori
marathi: mr mar
mongolian: mn mon khk
nahuatl: nah nci nhe = classical nahuatl, nahuatl (classical)
nepali: ne nep npi
nogai: nog
norwegian: no nor nb nob nn nno = bokmål, bokmal, norwegian bokmål, norwegian bokmal, nynorsk, norwegian nynorsk
occitan: oc oci
odia: or ori ory = oriya
oromo: om orm
papiamento: pap = papiamentu
pashto: ps pus = pushto
persian: fa fas per pes = farsi
polish: pl pol
portuguese: pt por = brazilian portuguese, european portuguese
punjabi: pa pan = panjabi
pyash: pya
quechua: qu que
quenya: qya
romanian: ro ron rum mo mol = moldavian, moldovan
romansh: rm roh
russian: ru rus
samoan: sm smo
sango: sg sag
sanskrit: sa san
sardinian: sc srd
scottish gaelic: gd gla = scots gaelic, gaelic
serbian: sr srp
shan: shn = tai yai
shona: sn sna
sindarin: sjn
sindhi: sd snd
sinhala: si sin = sinhalese
slovak: sk slk slo
slovenian: sl slv = slovene
somali: so som
southern sotho: st sot = sesotho, sotho
spanish: es spa = castilian, european spanish, latin american spanish, mexican spanish
sundanese: su sun
swahili: sw swa swh = kiswahili
swedish: sv swe
tagalog: tl tgl fil = filipino, pilipino
tajik: tg tgk
tamil: ta tam
tatar: tt tat
telugu: te tel
thai: th tha
tibetan: bo bod tib
tigrinya: ti tir
totontepec mixe: mto
tswana: tn tsn = setswana
turkish: tr tur
turkmen: tk tuk
ukrainian: uk ukr
urdu: ur urd
uyghur: ug uig = uighur
uzbek: uz uzb uzn
vietnamese: vi vie
welsh: cy cym wel
western armenian: hyw = west armenian
wolof: wo wol
xhosa: xh xho
yiddish: yi yid
yoruba: yo yor
zulu: zu zul
"""

# What languages call themselves.
_OWN_NAMES = """
arabic: العربية; bengali: বাংলা; bulgarian: български; catalan: català
chinese: 中文, 汉语, 漢語, 普通话, 普通話, 国语, 國語, zhongwen
cantonese: 粤语, 粵語, 廣東話, 广东话; croatian: hrvatski; czech: čeština, česky; danish: dansk
dutch: nederlands, vlaams
estonian: eesti; finnish: suomi; french: français, francais; german: deutsch; greek: ελληνικά; hebrew: עברית
hindi: हिन्दी, हिंदी; icelandic: íslenska; irish: gaeilge; italian: italiano; japanese: 日本語, nihongo
korean: 한국어, hangugeo
latvian: latviešu; lithuanian: lietuvių; norwegian: norsk; persian: فارسی; polish: polski; romanian: română, romana
portuguese: português, portugues, português do brasil; russian: русский, russkij; serbian: српски, srpski
slovak: slovenčina; slovenian: slovenščina; spanish: español, espanol, castellano; swedish: svenska; tamil: தமிழ்
thai: ไทย, ภาษาไทย; turkish: türkçe, turkce; ukrainian: українська; urdu: اردو; vietnamese: tiếng việt; welsh: cymraeg
basque: euskara; galician: galego; albanian: shqip; afrikaans: afrikaans; bosnian: bosanski; macedonian: македонски
"""

# The shape of a BCP-47 tag: language, extended language, script, region, variants, extensions and private use.
_BCP47 = re.compile(
    r"(?P<language>[a-z]{2,3})(?:-(?P<extended>[a-z]{3}))?(?:-[a-z]{4})?(?:-(?:[a-z]{2}|\d{3}))?"
    r"(?:-(?:[a-z0-9]{5,8}|\d[a-z0-9]{3}))*(?:-[a-wy-z0-9](?:-[a-z0-9]{2,8})+)*(?:-x(?:-[a-z0-9]{1,8})+)?"
)
LONGEST_TAG_CHARACTERS = 64


def _table_lines() -> Iterator[tuple[str, list[str], list[str]]]:
    for line in _TABLE.strip().splitlines():
        codes_part, _, names_part = line.partition("=")
        name, _, codes = codes_part.partition(":")
        yield name.strip(), codes.split(), [other.strip() for other in names_part.split(",") if other.strip()]


@functools.cache
def _by_name() -> Mapping[str, str]:
    english = {known: name for name, _, others in _table_lines() for known in (name, *others)}
    own = (entry.partition(":") for entry in _OWN_NAMES.strip().replace("\n", ";").split(";"))
    return {**{_folded(called): name.strip() for name, _, all_ in own for called in all_.split(",")}, **english}


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name.strip().casefold())


@functools.cache
def _by_code() -> Mapping[str, str]:
    return {code: name for name, codes, _ in _table_lines() for code in codes}


def canonical_language(tag: str) -> str:
    """The lower-case English name of the language that `tag` means, or `auto`.

    Takes ISO 639-1 and 639-2/3 codes, BCP-47 tags (`pt-BR`, `zh_Hant_TW`; the region does not matter) and English
    or own names in any case. Raises UnknownLanguage, naming the nearest, for anything else; a dialect is anything else.
    """
    folded = _folded(tag) if len(tag) <= LONGEST_TAG_CHARACTERS else ""
    if folded == AUTO:
        return AUTO
    name = _by_name().get(re.sub(r"[\s_]+", " ", folded)) or _from_bcp47(folded.replace("_", "-"))
    if name is None:
        raise UnknownLanguage(f"{tag[:LONGEST_TAG_CHARACTERS]!r} is not a language we know.", hint=_hint_for(folded))
    return name


def _from_bcp47(tag: str) -> str | None:
    match = _BCP47.fullmatch(tag)
    if match is None:
        return None
    codes = _by_code()
    extended = match["extended"]  # `zh-yue` is Cantonese, written the older way
    return codes.get(extended) if extended else codes.get(match["language"])


def _hint_for(folded: str) -> str:
    if "dialect" in folded:
        return 'A dialect belongs to a preset voice; give the language ("chinese") and choose the voice that has it.'
    close = nearest(folded, _by_name()) if len(folded) > 3 else []
    if close:
        return f"Did you mean {', '.join(dict.fromkeys(_by_name()[name] for name in close))}?"
    return 'Give an ISO 639 code ("en"), a BCP-47 tag ("pt-BR"), an English name ("german") or "auto".'


def resolve_language(tag: str, spoken: Collection[str]) -> str:
    """The canonical name of `tag`, checked against what a model speaks (canonical names; empty: anything).

    `auto` always passes. Raises UnknownLanguage, or LanguageNotSpoken when the model lacks it.
    """
    name = canonical_language(tag)
    if name != AUTO and spoken and name not in spoken:
        raise LanguageNotSpoken(name, spoken=spoken)
    return name


@functools.cache
def language_code(name: str) -> str:
    """The shortest ISO 639 code of a canonical name: `en` for `english`. Raises UnknownLanguage."""
    for known, codes, _ in _table_lines():
        if known == name:
            return codes[0]
    raise UnknownLanguage(f"{name!r} is not a canonical language name.", hint=_hint_for(name))


@functools.cache
def three_letter_code(name: str) -> str:
    """The ISO 639-2/T or 639-3 code of a canonical name: `deu` for `german`. Raises UnknownLanguage."""
    for known, codes, _ in _table_lines():
        if known == name:
            return next(code for code in codes if len(code) == 3)
    raise UnknownLanguage(f"{name!r} is not a canonical language name.", hint=_hint_for(name))
