"""When words are spoken, against voices whose word times are known: eSpeak's own, and hibari by a recogniser."""

from __future__ import annotations

import numpy as np
import pytest

from models.audio.files import resample
from models.draft.espeak import Utterance, find_library
from models.draft.languages import VOICES
from models.errors import LanguageNotSpoken
from models.hibari.engine import open_engine as open_hibari
from models.listen.word_times import word_times
from models.protocol import SAMPLE_RATE_HZ, ModelChoice, PresetVoice, SpeechWork

TEXTS = {
    "english": (
        "The door closed softly behind her, and nobody in the room spoke a word.",
        "Where did you put the keys? I have looked everywhere for them.",
        "Please remember to water the plants before you leave for the weekend.",
        "A gentle breeze moved the curtains while the children slept.",
    ),
    "german": (
        "Die Tür schloss sich leise hinter ihr, und niemand im Zimmer sagte ein Wort.",
        "Wo hast du die Schlüssel hingelegt? Ich habe überall nach ihnen gesucht.",
    ),
    "russian": (
        "Дверь тихо закрылась за ней, и никто в комнате не сказал ни слова.",
        "Куда ты положил ключи? Я искал их повсюду.",
    ),
    "chinese": ("门在她身后轻轻地关上了，屋子里没有人说一句话。", "那是半夜时分，古老的钟敲了十二下。"),
}
MEDIAN_S, NINETIETH_S = 0.030, 0.080


@pytest.fixture(scope="module")
def library():
    return find_library()


def spoken_by_espeak(library, text, language, *, variant, pitch, rate_wpm):
    """A take, and the beginning of each word that eSpeak tells, by its place in the text."""
    words = []
    utterance = Utterance(text=text, voice=VOICES[language] + variant, pitch=pitch, range=60, rate_wpm=rate_wpm)
    samples, rate_hz = library.speak(utterance, on_samples=lambda _: True, words=words)
    return resample(samples.astype(np.float32) / 32768, rate_hz, SAMPLE_RATE_HZ), dict(words)


@pytest.fixture(scope="module")
def spoken_by_hibari():
    engine = open_hibari(ModelChoice(engine="hibari"))

    def said(text):
        work = SpeechWork(id="one", text=text, voice=PresetVoice(name="heart"), seed=1, language="english")
        return next(iter(engine.speak([work], progress=lambda _id, _frames: True))).waveform

    return said


def starts_by_recogniser(waveform, text):
    """The beginning of each word as PocketSphinx aligns them, seconds."""
    pocketsphinx = pytest.importorskip("pocketsphinx")
    decoder = pocketsphinx.Decoder(samprate=16_000, lm=None, loglevel="FATAL")
    sound = resample(waveform, SAMPLE_RATE_HZ, 16_000)
    decoder.set_align_text(" ".join(word.strip(".,?").lower() for word in text.split()))
    decoder.start_utt()
    decoder.process_raw((np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes(), full_utt=True)
    decoder.end_utt()
    return [part.start_frame / 100 for part in decoder.seg() if part.word[0] not in "<["]


def assert_close(errors):
    errors_s = np.abs(errors)
    assert np.median(errors_s) <= MEDIAN_S
    assert np.percentile(errors_s, 90) <= NINETIETH_S


@pytest.mark.parametrize("language", TEXTS)
@pytest.mark.parametrize(("variant", "pitch", "rate_wpm"), [("+f2", 65, 140), ("+m3", 40, 210)], ids=["slow", "quick"])
def test_words_of_another_voice_are_found_where_it_speaks_them(library, language, variant, pitch, rate_wpm):
    errors = []
    for text in TEXTS[language]:
        take, known_ms = spoken_by_espeak(library, text, language, variant=variant, pitch=pitch, rate_wpm=rate_wpm)
        words = word_times(take, text=text, language=language, library=library)
        errors += [word.start_s - known_ms[word.place] / 1000 for word in words if word.place in known_ms]
    assert len(errors) >= 20
    assert_close(errors)


def test_words_of_a_natural_voice_are_found_where_a_recogniser_finds_them(library, spoken_by_hibari):
    errors = []
    for text in TEXTS["english"]:
        take = spoken_by_hibari(text)
        words = word_times(take, text=text, language="english", library=library)
        known_s = starts_by_recogniser(take, text)
        errors += [word.start_s - start_s for word, start_s in zip(words, known_s, strict=True)]
    assert_close(errors)


def test_every_word_as_written_has_a_time_in_order_and_within_the_take(library):
    text = "It cost $3.50 — far too much — in 1999, at the “naïve” café of a friend."
    take, _ = spoken_by_espeak(library, text, "english", variant="", pitch=50, rate_wpm=175)
    words = word_times(take, text=text, language="english", library=library)
    assert [word.text for word in words] == [word for word in text.split() if word != "—"]
    assert all(word.start_s < word.end_s <= take.size / SAMPLE_RATE_HZ + 0.03 for word in words)
    assert [word.start_s for word in words] == sorted(word.start_s for word in words)


def test_words_before_and_after_a_hole_end_and_begin_at_it(library, spoken_by_hibari):
    text = TEXTS["english"][0]
    take = spoken_by_hibari(text)
    before = word_times(take, text=text, language="english", library=library)
    at = next(number for number, word in enumerate(before) if word.text == "nobody")
    cut = round(before[at].start_s * SAMPLE_RATE_HZ)
    holed = np.concatenate([take[:cut], np.zeros(8 * SAMPLE_RATE_HZ, np.float32), take[cut:]])
    after = word_times(holed, text=text, language="english", library=library)
    assert after[at - 1].end_s <= before[at].start_s + 0.1
    assert after[at].start_s == pytest.approx(before[at].start_s + 8, abs=0.1)


def test_words_are_those_of_the_text_as_written_where_it_is_read_otherwise(library):
    text, spoken = "Ask Nguyen about the keys.", "Ask Win about the keys."
    take, known_ms = spoken_by_espeak(library, spoken, "english", variant="+f2", pitch=60, rate_wpm=160)
    words = word_times(take, text=text, spoken=spoken, language="english", library=library)
    assert [word.text for word in words] == text.split()
    known_s = [known_ms[place] / 1000 for place in sorted(known_ms)]
    assert [word.start_s for word in words] == pytest.approx(known_s, abs=0.1)


def test_silence_holds_no_words_and_noise_ends_with_times_all_the_same(library):
    assert word_times(np.zeros(SAMPLE_RATE_HZ, np.float32), text="Hello.", language="english", library=library) == []
    noise = np.random.default_rng(1).standard_normal(SAMPLE_RATE_HZ // 20).astype(np.float32)
    (word,) = word_times(noise, text="Hello.", language="english", library=library)
    assert word.start_s < word.end_s
    assert word_times(noise, text="—", language="english", library=library) == []


def test_a_language_that_nobody_knows_is_refused(library):
    with pytest.raises(LanguageNotSpoken):
        word_times(np.ones(SAMPLE_RATE_HZ, np.float32), text="Nuqneh", language="klingon", library=library)
