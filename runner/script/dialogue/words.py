"""Words by which languages say who speaks: verbs of speech, pronouns, titles. Pure data, in small letters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Gender = Literal["male", "female", "nonBinary", "unknown"]


@dataclass(frozen=True, kw_only=True)
class SpeechWords:
    """The words of one language."""

    verbs: frozenset[str]
    pronouns: dict[str, Gender]  # the third person, as a subject
    articles: dict[str, Gender]  # before a noun that speaks: the conductor
    titles: dict[str, Gender]  # before a name
    possessives: frozenset[str]  # of the third person: her mother
    no_names: frozenset[str]  # words that begin a sentence, so that their capital says nothing
    nouns_have_capitals: bool = False


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _by_gender(male: str = "", female: str = "") -> dict[str, Gender]:
    return {**dict.fromkeys(male.split(), "male"), **dict.fromkeys(female.split(), "female")}


_ENGLISH = SpeechWords(
    verbs=_words("""
        said says asked asks replied replies answered answers cried cries whispered whispers shouted shouts murmured
        murmurs muttered mutters exclaimed exclaims added adds called calls began begins continued continues returned
        observed remarked declared explained repeated sighed laughed screamed yelled growled hissed snapped insisted
        admitted agreed announced begged demanded interrupted protested responded retorted stammered suggested told
        thought wondered inquired enquired gasped groaned grumbled grunted moaned mumbled panted pleaded remonstrated
        roared shrieked sobbed snarled sneered bellowed boomed breathed croaked drawled echoed ejaculated faltered
        giggled chuckled persisted proceeded promised rejoined resumed ventured warned wailed went smiled concluded
        confessed commented assured urged ordered commanded lied joked teased spoke
    """),
    pronouns={"he": "male", "she": "female", "they": "nonBinary", "i": "unknown"},
    articles=dict.fromkeys(("the", "a", "an"), "unknown"),
    titles=_by_gender(
        "mr mister sir lord king prince father uncle brother monsieur count duke baron master",
        "mrs miss ms lady queen princess mother aunt sister madame mademoiselle countess duchess dame",
    )
    | dict.fromkeys(("dr", "doctor", "professor", "captain", "colonel", "major", "sergeant", "inspector"), "unknown"),
    possessives=_words("his her their my"),
    no_names=_words("""
        the a an and but or so yet for nor if then when while as at in on of to from with without by he she it they we i
        you his her its their my your our this that these those there here what who whom which why how where not no yes
        oh ah well now after before again once perhaps only even just chapter all some any every each both one two three
        mr mrs miss ms dr sir lady lord god good dear very english french german monday tuesday wednesday thursday
        friday saturday sunday january february march april may june july august september october november december
        still suddenly finally meanwhile instead nobody everybody nothing everything something someone everyone
        outside inside behind above below down up out over under
    """),
)
_GERMAN = SpeechWords(
    verbs=_words("""
        sagte sagt fragte fragt antwortete antwortet rief ruft flüsterte flüstert schrie schreit murmelte murmelt
        erwiderte erwidert meinte meint sprach spricht entgegnete versetzte bemerkte erklärte begann fuhr wiederholte
        seufzte lachte brummte knurrte stöhnte jammerte bat befahl drohte warnte brüllte stammelte stotterte hauchte
        ergänzte unterbrach wandte gestand behauptete versicherte dachte wunderte überlegte hörte grinste lächelte
        kicherte schluchzte bestätigte verkündete forderte mahnte nickte zischte raunte keuchte
    """),
    pronouns={"er": "male", "sie": "female", "ich": "unknown", "es": "unknown"},
    articles=_by_gender("der dieser jener", "die eine diese jene") | dict.fromkeys(("das", "ein", "dieses"), "unknown"),
    titles=_by_gender(
        "herr könig prinz onkel vater bruder graf baron fürst herzog",
        "frau fräulein königin prinzessin tante mutter schwester gräfin baronin großmutter",
    )
    | dict.fromkeys(("doktor", "dr", "professor", "hauptmann", "kommissar"), "unknown"),
    possessives=_words("sein seine ihr ihre mein meine"),
    no_names=_words("""
        der die das ein eine einen einem einer und aber oder so denn doch als wenn wie da dann nun nur noch schon in an
        auf aus bei mit nach von vor zu er sie es wir ihr ich du man sein seine ihr ihre mein meine dein deine was wer
        wo warum dieser diese dieses jener jene alle kein keine nicht ja nein ach oh endlich plötzlich jetzt hier dort
        kapitel herr frau eines einmal tages abends morgens
    """),
    nouns_have_capitals=True,
)
_FRENCH = SpeechWords(
    verbs=_words("""
        dit demanda demande répondit répond cria crie murmura murmure reprit s'écria s'exclama ajouta ajoute fit
        répliqua répéta continua observa soupira balbutia chuchota hurla ordonna interrompit déclara expliqua pensa
        commença appela insista avoua affirma remarqua riposta gronda grogna supplia lança souffla poursuivit
        rétorqua protesta annonça promit proposa conclut disait demandait répondait criait
    """),
    pronouns={"il": "male", "elle": "female", "je": "unknown", "ils": "male", "elles": "female", "on": "unknown"},
    articles=_by_gender("le un ce cet", "la une cette") | dict.fromkeys(("l'", "les"), "unknown"),
    titles=_by_gender(
        "monsieur m mr sire oncle père frère roi prince comte",
        "madame mme mademoiselle mlle tante mère sœur reine princesse comtesse",
    )
    | dict.fromkeys(("docteur", "professeur", "capitaine"), "unknown"),
    possessives=_words("son sa mon ma leur"),
    no_names=_words("""
        le la les l' un une des et mais ou donc or ni car si quand comme que qui quoi où il elle ils elles je tu nous
        vous on ce cet cette ces son sa ses mon ma mes ton ta tes leur leurs à au aux de du en dans par pour sur avec
        sans après avant puis alors ainsi enfin non oui ah oh eh hé bien chapitre monsieur madame
    """),
)  # fmt: skip
_SPANISH = SpeechWords(
    verbs=_words("""
        dijo preguntó respondió contestó gritó susurró murmuró exclamó añadió repuso replicó continuó repitió suspiró
        explicó observó declaró pensó insistió interrumpió llamó ordenó dice pregunta responde
    """),
    pronouns={"él": "male", "ella": "female", "yo": "unknown", "ellos": "male", "ellas": "female"},
    articles=_by_gender("el los un aquel", "la las una aquella"),
    titles=_by_gender("don señor sr rey padre tío hermano", "doña señora sra señorita reina madre tía hermana"),
    possessives=_words("su mi"),
    no_names=_words("el la los las un una y pero o si cuando como que quien qué quién él ella yo tú su mi en de a con"
                    " sin por para no sí ah oh pues entonces luego capítulo señor señora"),
)  # fmt: skip
_ITALIAN = SpeechWords(
    verbs=_words("""
        disse chiese rispose gridò sussurrò mormorò esclamò aggiunse replicò continuò ripeté sospirò spiegò osservò
        dichiarò pensò insistette interruppe domandò ordinò fece dice chiede risponde riprese
    """),
    pronouns={"egli": "male", "lui": "male", "ella": "female", "lei": "female", "io": "unknown"},
    articles=_by_gender("il lo i gli un uno quel", "la le una quella") | {"l'": "unknown"},
    titles=_by_gender("signor don re padre zio fratello", "signora signorina donna regina madre zia sorella"),
    possessives=_words("suo sua mio mia"),
    no_names=_words("il lo la i gli le un uno una e ma o se quando come che chi egli ella lui lei io tu suo sua in di a"
                    " con senza per non sì ah oh poi allora capitolo signor signora"),
)  # fmt: skip
_PORTUGUESE = SpeechWords(
    verbs=_words("""
        disse perguntou respondeu gritou sussurrou murmurou exclamou acrescentou replicou continuou repetiu suspirou
        explicou observou declarou pensou insistiu interrompeu chamou ordenou diz pergunta responde
    """),
    pronouns={"ele": "male", "ela": "female", "eu": "unknown"},
    articles=_by_gender("o os um aquele", "a as uma aquela"),
    titles=_by_gender("senhor sr dom rei pai tio irmão", "senhora sra dona rainha mãe tia irmã"),
    possessives=_words("seu sua meu minha"),
    no_names=_words("o a os as um uma e mas ou se quando como que quem ele ela eu tu seu sua em de com sem por para não"
                    " sim ah oh então depois capítulo senhor senhora"),
)  # fmt: skip
_POLISH = SpeechWords(
    verbs=_words("""
        powiedział powiedziała zapytał zapytała spytał spytała odpowiedział odpowiedziała odparł odparła krzyknął
        krzyknęła szepnął szepnęła zawołał zawołała rzekł rzekła mruknął mruknęła dodał dodała odrzekł odrzekła
        westchnął westchnęła powtórzył powtórzyła zaczął zaczęła
    """),
    pronouns={"on": "male", "ona": "female", "ja": "unknown"},
    articles={},
    titles=_by_gender("pan król książę ojciec wuj brat", "pani panna królowa księżniczka matka ciotka siostra"),
    possessives=_words("jego jej mój moja"),
    no_names=_words("i a ale lub jeśli kiedy jak co kto on ona ja ty w z na do od po nie tak ach och więc potem pan"
                    " pani rozdział"),
)  # fmt: skip
_RUSSIAN = SpeechWords(
    verbs=_words("""
        сказал сказала спросил спросила ответил ответила крикнул крикнула прошептал прошептала воскликнул воскликнула
        проговорил проговорила закричал закричала произнёс произнес произнесла добавил добавила продолжал продолжала
        отвечал отвечала говорил говорила подумал подумала повторил повторила заметил заметила
    """),
    pronouns={"он": "male", "она": "female", "я": "unknown"},
    articles={},
    titles=_by_gender("господин князь граф король отец дядя брат", "госпожа княгиня княжна графиня мать тётка сестра"),
    possessives=_words("его её мой моя"),
    no_names=_words("и а но или если когда как что кто он она я ты в с на к от по не да нет ах ох потом тогда глава"),
)

LANGUAGES: dict[str, SpeechWords] = {
    "en": _ENGLISH, "de": _GERMAN, "fr": _FRENCH, "es": _SPANISH, "it": _ITALIAN, "pt": _PORTUGUESE, "pl": _POLISH,
    "ru": _RUSSIAN,
}  # fmt: skip
