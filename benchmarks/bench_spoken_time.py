"""The ruler of `models/text/spoken_time.py` against voices → its error by language, as a table and one JSON line.

    python benchmarks/bench_spoken_time.py [--only german,chinese] [--worst 3] [--held-out]

The draft engine speaks every language; hibari (English, `pip install hibari-tts`) joins in where it is installed.
`--held-out` takes the texts of `held_out_texts.py`, to which nothing was fitted.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.held_out_texts import HELD_OUT
from models.draft.engine import open_draft
from models.protocol import SAMPLE_RATE_HZ, PresetVoice, SpeechDone, SpeechWork
from models.text.spoken_time import SpokenTime, spoken_time

# The same eight sentences in each language, from one word to two clauses.
PROSE = {
    "english": (
        "I won't let you down, whatever happens tomorrow.",
        "The door closed softly behind her, and nobody in the room spoke a word.",
        "Yes.",
        "Come here!",
        "Where did you put the keys? I have looked everywhere for them.",
        "It was the middle of the night when the old clock struck twelve, and the wind began to rise over the fields.",
        "Good morning, ladies and gentlemen.",
        "He never really understood why the others had left so early; perhaps they were tired, perhaps afraid.",
    ),
    "german": (
        "Ich lasse dich nicht im Stich, was auch immer morgen geschieht.",
        "Die Tür schloss sich leise hinter ihr, und niemand im Zimmer sagte ein Wort.",
        "Ja.",
        "Komm her!",
        "Wo hast du die Schlüssel hingelegt? Ich habe überall nach ihnen gesucht.",
        "Es war mitten in der Nacht, als die alte Uhr zwölf schlug und der Wind über die Felder zu wehen begann.",
        "Guten Morgen, meine Damen und Herren.",
        "Er hat nie ganz verstanden, warum die anderen so früh gegangen waren; vielleicht waren sie "
        "müde, vielleicht ängstlich.",
    ),
    "french": (
        "Je ne te laisserai pas tomber, quoi qu'il arrive demain.",
        "La porte se referma doucement derrière elle, et personne dans la pièce ne dit un mot.",
        "Oui.",
        "Viens ici !",
        "Où as-tu mis les clés ? Je les ai cherchées partout.",
        "C'était le milieu de la nuit quand la vieille horloge sonna minuit, et que le vent se leva sur les champs.",
        "Bonjour, mesdames et messieurs.",
        "Il n'a jamais vraiment compris pourquoi les autres étaient partis si tôt ; peut-être "
        "étaient-ils fatigués, peut-être avaient-ils peur.",
    ),
    "spanish": (
        "No te voy a fallar, pase lo que pase mañana.",
        "La puerta se cerró suavemente detrás de ella, y nadie en la sala dijo una palabra.",
        "Sí.",
        "¡Ven aquí!",
        "¿Dónde has puesto las llaves? Las he buscado por todas partes.",
        "Era la mitad de la noche cuando el viejo reloj dio las doce y el viento empezó a levantarse sobre los campos.",
        "Buenos días, señoras y señores.",
        "Nunca entendió del todo por qué los demás se habían ido tan pronto; quizá estaban cansados, "
        "quizá tenían miedo.",
    ),
    "italian": (
        "Non ti deluderò, qualunque cosa accada domani.",
        "La porta si chiuse piano dietro di lei, e nessuno nella stanza disse una parola.",
        "Sì.",
        "Vieni qui!",
        "Dove hai messo le chiavi? Le ho cercate dappertutto.",
        "Era notte fonda quando il vecchio orologio suonò le dodici e il vento cominciò ad alzarsi sui campi.",
        "Buongiorno, signore e signori.",
        "Non ha mai capito davvero perché gli altri se ne fossero andati così presto; forse erano "
        "stanchi, forse avevano paura.",
    ),
    "portuguese": (
        "Não vou te decepcionar, aconteça o que acontecer amanhã.",
        "A porta se fechou suavemente atrás dela, e ninguém na sala disse uma palavra.",
        "Sim.",
        "Venha aqui!",
        "Onde você colocou as chaves? Eu procurei por elas em toda parte.",
        "Era o meio da noite quando o velho relógio bateu doze horas e o vento começou a soprar sobre os campos.",
        "Bom dia, senhoras e senhores.",
        "Ele nunca entendeu por que os outros tinham ido embora tão cedo; talvez estivessem cansados, talvez com medo.",
    ),
    "russian": (
        "Я тебя не подведу, что бы ни случилось завтра.",
        "Дверь тихо закрылась за ней, и никто в комнате не сказал ни слова.",
        "Да.",
        "Иди сюда!",
        "Куда ты положил ключи? Я искал их повсюду.",
        "Была середина ночи, когда старые часы пробили двенадцать и ветер начал подниматься над полями.",
        "Доброе утро, дамы и господа.",
        "Он так и не понял, почему остальные ушли так рано; может быть, они устали, а может быть, боялись.",
    ),
    "chinese": (
        "不管明天发生什么，我都不会让你失望。",
        "门在她身后轻轻地关上了，屋子里没有人说一句话。",
        "是。",
        "过来！",
        "你把钥匙放在哪里了？我到处都找过了。",
        "那是半夜时分，古老的钟敲了十二下，风开始从田野上刮起来。",
        "女士们，先生们，早上好。",
        "他一直不明白，为什么其他人那么早就离开了；也许他们累了，也许他们害怕。",
    ),
    "japanese": (
        "あしたなにがあっても、きみをうらぎらない。",
        "ドアがしずかにしまり、へやのだれもなにもいわなかった。",
        "はい。",
        "こっちにきて！",
        "かぎをどこにおいたの？あちこちさがしたよ。",
        "ふるいとけいがじゅうにじをうち、かぜがのはらのうえにふきはじめたのは、まよなかのことだった。",
        "みなさん、おはようございます。",
        "なぜほかのひとたちがあんなにはやくかえったのか、かれにはわからなかった。",
    ),
    "korean": (
        "내일 무슨 일이 있어도 너를 실망시키지 않을게.",
        "그녀 뒤로 문이 조용히 닫혔고, 방 안의 누구도 한마디도 하지 않았다.",
        "네.",
        "이리 와!",
        "열쇠를 어디에 두었니? 여기저기 다 찾아봤어.",
        "낡은 시계가 열두 시를 치고 들판 위로 바람이 불기 시작한 것은 한밤중이었다.",
        "신사 숙녀 여러분, 안녕하십니까.",
        "그는 왜 다른 사람들이 그렇게 일찍 떠났는지 끝내 이해하지 못했다. 아마 피곤했거나 무서웠을 것이다.",
    ),
    "arabic": (
        "لن أخذلك مهما حدث غدا.",
        "أُغلق الباب بهدوء خلفها، ولم يقل أحد في الغرفة كلمة واحدة.",
        "نعم.",
        "تعال هنا!",
        "أين وضعت المفاتيح؟ لقد بحثت عنها في كل مكان.",
        "كان منتصف الليل عندما دقت الساعة القديمة الثانية عشرة وبدأت الرياح تهب فوق الحقول.",
        "صباح الخير، سيداتي سادتي.",
        "لم يفهم قط لماذا غادر الآخرون مبكرا؛ ربما كانوا متعبين، وربما كانوا خائفين.",
    ),
    "hindi": (
        "कल कुछ भी हो, मैं तुम्हें निराश नहीं करूँगा।",
        "दरवाज़ा धीरे से उसके पीछे बंद हो गया, और कमरे में किसी ने एक शब्द भी नहीं कहा।",
        "हाँ।",
        "यहाँ आओ!",
        "तुमने चाबियाँ कहाँ रखी हैं? मैंने उन्हें हर जगह ढूँढा है।",
        "आधी रात थी जब पुरानी घड़ी ने बारह बजाए और खेतों पर हवा चलने लगी।",
        "सुप्रभात, देवियो और सज्जनो।",
        "वह कभी नहीं समझ पाया कि बाकी लोग इतनी जल्दी क्यों चले गए; शायद वे थके हुए थे, शायद डरे हुए।",
    ),
    "polish": (
        "Nie zawiodę cię, cokolwiek się jutro stanie.",
        "Drzwi cicho się za nią zamknęły i nikt w pokoju nie powiedział ani słowa.",
        "Tak.",
        "Chodź tutaj!",
        "Gdzie położyłeś klucze? Szukałem ich wszędzie.",
        "Był środek nocy, kiedy stary zegar wybił dwunastą, a nad polami zaczął wiać wiatr.",
        "Dzień dobry państwu.",
        "Nigdy tak naprawdę nie zrozumiał, dlaczego inni wyszli tak wcześnie; może byli zmęczeni, może się bali.",
    ),
    "turkish": (
        "Yarın ne olursa olsun seni hayal kırıklığına uğratmayacağım.",
        "Kapı arkasından usulca kapandı ve odadaki hiç kimse tek kelime etmedi.",
        "Evet.",
        "Buraya gel!",
        "Anahtarları nereye koydun? Onları her yerde aradım.",
        "Eski saat on ikiyi vurduğunda ve rüzgâr tarlaların üzerinde esmeye başladığında gece yarısıydı.",
        "Günaydın, bayanlar ve baylar.",
        "Diğerlerinin neden bu kadar erken gittiğini hiç anlayamadı; belki yorgundular, belki de korkuyorlardı.",
    ),
    "finnish": (
        "En petä sinua, tapahtuipa huomenna mitä tahansa.",
        "Ovi sulkeutui hiljaa hänen takanaan, eikä kukaan huoneessa sanonut sanaakaan.",
        "Kyllä.",
        "Tule tänne!",
        "Minne panit avaimet? Olen etsinyt niitä kaikkialta.",
        "Oli keskiyö, kun vanha kello löi kaksitoista ja tuuli alkoi nousta peltojen yllä.",
        "Hyvää huomenta, hyvät naiset ja herrat.",
        "Hän ei koskaan oikein ymmärtänyt, miksi muut olivat lähteneet niin aikaisin; ehkä he olivat "
        "väsyneitä, ehkä peloissaan.",
    ),
}

# What is read in other words than it is written, and otherwise in each language.
_UNITS_TEXT = """
    5. | 42. | 1984. | 365,25 | 3.14159 | 1,000,000 | 1,000,000,000,000 and 2,000,000,000,000. | 000000000000000000.
    | 1-800-000-0000 | 12:30 | 31.12.2024 | 2024-12-31 | 12/31/2024 | $3.50 | 50 % | €1,299.99 | BBC | U.S.A. | NATO
    | WWW | F B I | 4x4 | 10 km | 20 °C | 3rd | 1st, 2nd | iPhone 15 Pro | 2.5 GHz | 0800 123 456 | +49 30 1234567 |
    123456789012345 | http://www.example.com/a | a@b.com | C++ | R2-D2 | 1/2 | ½ | 10^6 | Henry VIII
"""
UNITS = tuple(unit.strip() for unit in _UNITS_TEXT.replace("\n", " ").split(" | "))

Speak = Callable[[str], float | None]  # text -> seconds


@dataclass(frozen=True)
class Measured:
    """One text, as long as a voice took for it and as the ruler says."""

    text: str
    spoken_s: float
    estimate: SpokenTime

    @property
    def ratio(self) -> float:
        return self.spoken_s / self.estimate.expected_s

    @property
    def is_in_range(self) -> bool:
        return self.estimate.low_s <= self.spoken_s <= self.estimate.high_s

    @property
    def is_in_bounds(self) -> bool:
        return self.estimate.shortest_s <= self.spoken_s <= self.estimate.longest_s


def draft(language: str) -> Speak:
    """The draft engine's preset voice in a language."""
    engine = open_draft()

    def speak(text: str) -> float | None:
        work = SpeechWork(id="x", text=text, voice=PresetVoice(name="ryan"), seed=1, language=language)
        done = next(iter(engine.speak([work], progress=lambda _id, _frames: True)))
        return done.waveform.size / SAMPLE_RATE_HZ if isinstance(done, SpeechDone) else None

    return speak


def hibari() -> Speak | None:
    """A natural English voice; None where it is not installed."""
    try:
        module: Any = importlib.import_module("hibari")
    except ImportError:
        return None
    voice = module.Hibari()
    return lambda text: len(voice(text, seed=1)) / module.SAMPLE_RATE


def contestants(only: frozenset[str]) -> Iterator[tuple[str, str, Speak]]:
    """(name, language, voice) of everything that can speak here."""
    for language in PROSE:
        if not only or language in only:
            yield f"draft, {language}", language, draft(language)
    if (not only or "english" in only) and (speak := hibari()) is not None:
        yield "hibari, english", "english", speak


def texts_of(language: str, *, held_out: bool) -> list[tuple[str, tuple[str, ...]]]:
    """(kind, texts) in a language; none where no text was held out."""
    if held_out:
        return [("new", HELD_OUT[language])] if language in HELD_OUT else []
    return [("prose", PROSE[language]), ("units", UNITS)]


def measured(texts: tuple[str, ...], language: str, speak: Speak) -> list[Measured]:
    """The texts that the voice could speak."""
    spoken = ((text, speak(text)) for text in texts)
    return [Measured(text, spoken_s, spoken_time(text, language)) for text, spoken_s in spoken if spoken_s]


def row(name: str, kind: str, found: list[Measured]) -> dict[str, Any]:
    """What is said of one voice and kind of text."""
    ratios = sorted(item.ratio for item in found)
    return {
        "voice": name,
        "texts": kind,
        "count": len(found),
        "median": round(statistics.median(ratios), 2),
        "p10": round(ratios[len(ratios) // 10], 2),
        "p90": round(ratios[-1 - len(ratios) // 10], 2),
        "in_range": sum(item.is_in_range for item in found),
        "in_bounds": sum(item.is_in_bounds for item in found),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="languages, separated by commas")
    parser.add_argument("--held-out", action="store_true", help="texts to which nothing was fitted")
    parser.add_argument("--worst", type=int, default=0, metavar="N", help="show the texts farthest off, too")
    options = parser.parse_args()
    rows = []
    print(f"{'voice':22} {'texts':6} {'n':>3}  spoken / expected: median (p10 … p90)   in range   in bounds")
    for name, language, speak in contestants(frozenset(filter(None, options.only.split(",")))):
        for kind, texts in texts_of(language, held_out=options.held_out):
            found = measured(texts, language, speak)
            rows.append(line := row(name, kind, found))
            print(
                f"{name:22} {kind:6} {line['count']:3}  {line['median']:27.2f} ({line['p10']:.2f} … {line['p90']:.2f})"
                f"   {line['in_range']:3}/{line['count']}    {line['in_bounds']:3}/{line['count']}"
            )
            for item in sorted(found, key=lambda item: abs(item.ratio - 1), reverse=True)[: options.worst]:
                estimate = item.estimate
                print(f"    {item.text[:44]!r}: {item.spoken_s:.2f} s, {estimate.low_s:.2f} … {estimate.high_s:.2f}")
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
