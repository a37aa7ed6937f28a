"""The draft engine, judged by its sound."""

import dataclasses
import itertools
import json
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

from models.draft.engine import DraftEngine, open_draft
from models.draft.espeak import LONGEST_DATA_PATH_BYTES, EspeakLibrary, Utterance, _is_loaded, _loaded, find_library
from models.draft.languages import ACCENTS, VOICES
from models.draft.voice import PALETTES, PRESETS, DraftVoice, designed_voice
from models.errors import InvalidClonePrompt, PromptModelMismatch, UnsupportedRequest
from models.languages import canonical_language
from models.processes.open_engine import open_engine
from models.protocol import (
    DescribedVoice,
    LockedVoice,
    LockWork,
    ModelChoice,
    PresetVoice,
    SpeechDone,
    SpeechWork,
    WorkFailed,
)
from registry.errors import InvalidInput
from tests.models.draft.listening import (
    long_term_spectrum_db,
    median_pitch_hz,
    pitch_track_hz,
    semitones_between,
    spectral_distance_db,
)

pytest.importorskip("espeakng_loader", reason="eSpeak NG is an optional dependency")

TEXT = "That quick beige fox jumped in the air over each thin dog. Look out, I shout, for he's foiled you again."
RYAN = PresetVoice(name="ryan")


@pytest.fixture(scope="module")
def engine():
    return open_draft()


@pytest.fixture
def say(engine):
    def speak(text=TEXT, *, voice=RYAN, seed=0, progress=lambda _id, _frames: True, **options):
        work = SpeechWork(id="line", text=text, voice=voice, seed=seed, **options)
        (outcome,) = engine.speak([None, work], progress=progress)
        return outcome

    return speak


def described(description):
    return DescribedVoice(description=description)


def locked(voice):
    return LockedVoice(prompt=voice.to_bytes(), prompt_sha256="")


def test_a_line_is_speech_at_an_even_loudness(say):
    done = say()
    assert done.finish_reason == "eos"
    assert done.waveform.dtype == np.float32
    assert 4 < done.waveform.size / 24_000 < 9
    assert done.frames == -(-done.waveform.size // 1920)
    assert 0.1 < np.abs(done.waveform).max() <= 0.91
    assert len(pitch_track_hz(done.waveform)) > 50


def test_what_was_spoken_before_changes_nothing(say):
    alone = say("The first line.")
    say("Zweite Zeile!", language="german", voice=PresetVoice(name="sohee"), instruct="shouting")
    say("…")
    assert say("The first line.").waveform.tobytes() == alone.waveform.tobytes()


def test_another_process_speaks_the_same(say, tmp_path):
    program = (
        "import sys; from models.draft.engine import open_draft; from models.protocol import *;"
        "w = SpeechWork(id='x', text='The same everywhere.', voice=PresetVoice(name='ryan'), seed=0);"
        "(done,) = open_draft().speak([w], progress=lambda i, f: True);"
        "open(sys.argv[1], 'wb').write(done.waveform.tobytes())"
    )
    subprocess.run([sys.executable, "-c", program, tmp_path / "sound"], check=True)
    assert (tmp_path / "sound").read_bytes() == say("The same everywhere.").waveform.tobytes()


@pytest.mark.bench
def test_it_speaks_at_more_than_a_hundred_times_real_time(say):
    started_s = time.perf_counter()
    seconds = say(TEXT * 10).waveform.size / 24_000
    assert seconds / (time.perf_counter() - started_s) > 100


@pytest.mark.parametrize(
    ("description", "count"),
    [
        ("A warm female voice, 30s, confident and clear.", 8),
        ("A male voice, 40-50. A tired detective.", 8),
        ("A deep-voiced old man", 5),
        ("A low-pitched woman", 5),
        ("A narrator.", 6),
        ("A six year old child", 3),
    ],
)
def test_any_two_candidates_are_easy_to_tell_apart(say, description, count):
    first_seed = 2**40 + 7
    heard = []
    for seed in range(first_seed, first_seed + count):
        waveform = say(voice=described(description), seed=seed).waveform
        heard.append((median_pitch_hz(waveform), long_term_spectrum_db(waveform)))
    for (one_hz, one_db), (other_hz, other_db) in itertools.combinations(heard, 2):
        assert semitones_between(one_hz, other_hz) >= 2 or spectral_distance_db(one_db, other_db) >= 4


@pytest.mark.slow
@pytest.mark.parametrize("kind", PALETTES, ids=str)
def test_the_whole_palette_of_a_kind_of_voice_is_apart(say, kind):
    heard = []
    for variant, colour, pitch_hz in PALETTES[kind]:
        voice = DraftVoice(variant=variant, colour=colour, pitch_hz=float(pitch_hz))
        waveform = say(voice=locked(voice)).waveform
        heard.append((median_pitch_hz(waveform), long_term_spectrum_db(waveform)))
    for (one_hz, one_db), (other_hz, other_db) in itertools.combinations(heard, 2):
        assert semitones_between(one_hz, other_hz) >= 2 or spectral_distance_db(one_db, other_db) >= 4


@pytest.mark.parametrize(
    ("description", "count"),
    [
        ("A woman", 50),
        ("A man", 50),
        ("Somebody", 50),
        ("A deep-voiced woman", 39),
        ("non-binary", 26),
        ("A child", 26),
    ],
)
def test_a_kind_of_voice_has_as_many_variations_as_the_docs_say(description, count):
    assert len({designed_voice(description, seed).to_bytes() for seed in range(count)}) == count


@pytest.mark.parametrize("description", ["A warm female voice.", "A low-pitched woman, 60s", "a high, bright girl"])
@pytest.mark.parametrize("seed", (0, 5))
def test_a_female_voice_lies_above_160_hz(say, description, seed):
    assert median_pitch_hz(say(voice=described(description), seed=seed).waveform) >= 160


@pytest.mark.parametrize("description", ["A male voice.", "An old man with a deep voice", "A young man, high-pitched"])
@pytest.mark.parametrize("seed", (0, 5))
def test_a_male_voice_lies_below_130_hz(say, description, seed):
    assert median_pitch_hz(say(voice=described(description), seed=seed).waveform) <= 130


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("chinese", "你好，很高兴认识你。今天天气很好，我们出去走走吧。"),
        ("german", "Der schnelle braune Fuchs springt über den faulen Hund."),
        ("vietnamese", "Xin chào, rất vui được gặp bạn. Hôm nay trời đẹp quá."),
        ("japanese", "こんにちは、おげんきですか。きょうはとてもいいてんきですね。"),
    ],
)
def test_the_pitch_of_a_voice_holds_in_other_languages(say, language, text):
    female = say(text, voice=described("A woman"), seed=0, language=language)
    male = say(text, voice=described("A man"), seed=3, language=language)
    assert median_pitch_hz(female.waveform) >= 160
    assert median_pitch_hz(male.waveform) <= 130


def test_slow_takes_at_least_15_percent_longer_than_fast(say):
    slow = say(voice=described("A slow female voice")).waveform.size
    plain = say(voice=described("A female voice")).waveform.size
    fast = say(voice=described("A fast female voice")).waveform.size
    assert slow >= 1.15 * plain >= 1.15 * 1.1 * fast


def test_an_accent_of_the_description_is_heard_in_its_language_only(say):
    british, american = (say(voice=described(f"A man with a {word} accent")) for word in ("British", "American"))
    assert british.waveform.tobytes() != american.waveform.tobytes()
    german = [
        say("Guten Tag.", voice=described(f"A man with a {word} accent"), language="german").waveform.tobytes()
        for word in ("British", "American")
    ]
    assert german[0] == german[1]


def test_an_accent_that_espeak_lacks_is_a_warning(say):
    assert "'texan'" in say(voice=described("A man with a Texan accent")).warnings[0]
    assert say(voice=described("A man with a thick Scottish accent")).warnings == ()


def test_a_candidate_is_locked_and_speaks_on_as_it_was(engine, say):
    candidate = say(voice=described("A warm woman"), seed=5)
    done = engine.lock(LockWork(id="lock", transcript=TEXT, design_state=candidate.design_state))
    assert json.loads(done.prompt)["variant"] == done.facts["variant"]
    again = say(voice=LockedVoice(prompt=done.prompt, prompt_sha256=""), seed=99)
    assert again.waveform.tobytes() == candidate.waveform.tobytes()
    assert again.design_state is None


def test_a_recording_cannot_be_locked(engine):
    with pytest.raises(UnsupportedRequest, match="cannot clone a recording"):
        engine.lock(LockWork(id="lock", transcript=TEXT, waveform=np.zeros(24_000, np.float32)))
    assert "clone" not in engine.facts().abilities


@pytest.mark.parametrize("content", [b"", b"\xff" * 99, b"[]", b"{}", b'{"format":"other"}', b"[" * 9_000])
def test_the_prompt_of_another_engine_is_refused(content):
    with pytest.raises(PromptModelMismatch):
        DraftVoice.from_bytes(content)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"variant": "../../etc"},
        {"variant": 3},
        {"pitch_hz": 1e9},
        {"pitch_hz": float("nan")},
        {"pitch_hz": None},
        {"range": -1},
        {"rate_wpm": 10**9},
        {"colour": "+"},
        {"accents": {"english": "en+x/../"}},
        {"accents": [1]},
        {"more": 1},
    ],
)
def test_a_damaged_prompt_is_refused(change):
    values = json.loads(PRESETS["ryan"].to_bytes()) | change
    with pytest.raises(InvalidClonePrompt):
        DraftVoice.from_bytes(json.dumps(values).encode())


def test_a_variant_that_this_espeak_lacks_is_an_error_and_not_the_default_voice(say):
    failed = say(voice=locked(dataclasses.replace(PRESETS["ryan"], variant="nosuch")))
    assert isinstance(failed, WorkFailed)
    assert "'nosuch'" in failed.message


def test_a_language_that_espeak_lacks_is_an_error_and_not_the_previous_voice(say):
    say(language="german")
    failed = say(language="thai" if "thai" not in VOICES else "tibetan")
    assert (failed.code, failed.retryable) == ("language-not-spoken", False)
    with pytest.raises(UnsupportedRequest, match="no voice 'xx'"):
        utterance = Utterance(text="a", voice="xx", pitch=50, range=50, rate_wpm=170)
        find_library().speak(utterance, on_samples=lambda _count: True)


def test_every_preset_speaks_by_its_name_in_any_case(say, engine):
    assert {"ryan", "aiden", "vivian", "serena", "uncle_fu", "dylan", "eric", "anna", "ono_anna", "sohee"} == set(
        engine.facts().presets
    )
    for name, voice in PRESETS.items():
        waveform = say(voice=PresetVoice(name=name.upper())).waveform
        assert semitones_between(median_pitch_hz(waveform), voice.pitch_hz) < 1.5
    anna, ono_anna = (say("Hi.", voice=PresetVoice(name=name)).waveform.tobytes() for name in ("anna", "ono_anna"))
    assert anna == ono_anna


def test_an_unknown_preset_names_the_nearest(say):
    failed = say(voice=PresetVoice(name="ryann"))
    assert failed.code == "invalid-input" or "ryan" in failed.hint


@pytest.mark.parametrize("text", ["…", "", " \n", "\0", "...", "\u200b"])
def test_a_text_without_anything_to_speak_fails_at_once(say, text):
    failed = say(text)
    assert isinstance(failed, WorkFailed)
    assert "nothing to speak" in failed.message
    assert not failed.retryable


def test_nul_and_lone_surrogates_do_not_cut_the_text_short(say):
    whole = say("one two three four")
    odd = say("one two\0three\ud800four")
    assert odd.waveform.size == pytest.approx(whole.waveform.size, rel=0.1)
    assert "Control characters" in odd.warnings[0]


def test_kanji_are_warned_about_and_chinese_is_not(say):
    assert "Write kana" in say("漢字です。", language="japanese").warnings[0]
    assert say("你好，很高兴认识你。").warnings == ()


def test_chinese_among_english_words_is_told_to_name_its_language(say):
    (warning,) = say("我喜欢 machine learning 和 open source software").warnings
    assert 'language = "zh"' in warning and "kana" not in warning


def test_without_a_language_the_letters_decide(say):
    for text, language in (("Привет, как дела?", "russian"), ("안녕하세요", "korean"), ("Hello", "english")):
        assert say(text).waveform.tobytes() == say(text, language=language).waveform.tobytes()


@pytest.mark.parametrize(
    ("instruct", "is_heard"),
    [
        ("slowly", lambda plain, told: told.size > 1.2 * plain.size),
        ("quickly, in a hurry", lambda plain, told: told.size < 0.85 * plain.size),
        ("whispering", lambda plain, told: len(pitch_track_hz(told)) < 0.5 * len(pitch_track_hz(plain))),
        ("shouting", lambda plain, told: np.abs(told).mean() > 1.15 * np.abs(plain).mean()),
        ("softly", lambda plain, told: np.abs(told).mean() < 0.8 * np.abs(plain).mean()),
        ("happily", lambda plain, told: median_pitch_hz(told) > 1.05 * median_pitch_hz(plain)),
        ("sadly", lambda plain, told: told.size > 1.08 * plain.size),
    ],
)
def test_an_instruction_it_understands_is_heard(say, instruct, is_heard):
    plain, told = say(), say(instruct=instruct)
    assert is_heard(plain.waveform, told.waveform)
    assert told.warnings == ()


def test_an_instruction_it_does_not_understand_is_a_warning(say):
    told = say(instruct="like a pirate on Sunday")
    assert "ignored the instruction" in told.warnings[0]
    assert told.waveform.tobytes() == say().waveform.tobytes()


def test_max_seconds_ends_a_line_as_cut_off(say):
    done = say(max_seconds=1.5)
    assert done.finish_reason == "length"
    assert done.waveform.size == 36_000
    assert say("Hi.", max_seconds=1.5).finish_reason == "eos"


def test_a_line_can_be_cancelled_while_it_is_spoken(say):
    heard = []
    done = say(TEXT * 20, progress=lambda _id, frames: heard.append(frames) or len(heard) < 3)
    assert done.finish_reason == "cancelled"
    assert done.waveform.size / 24_000 < 5
    assert heard == sorted(heard)


def test_a_data_folder_with_a_long_name_is_reached_by_a_short_link(tmp_path):
    library = find_library()
    deep = tmp_path / ("x" * LONGEST_DATA_PATH_BYTES)
    deep.mkdir()
    (deep / "espeak-ng-data").symlink_to(library.data_path)
    far = EspeakLibrary(library_path=library.library_path, data_path=deep / "espeak-ng-data")
    (done,) = DraftEngine(far, model="draft").speak(
        [SpeechWork(id="x", text="Hello.", voice=RYAN, seed=0)], progress=lambda _id, _frames: True
    )
    assert isinstance(done, SpeechDone)


def test_a_library_that_the_system_keeps_loaded_is_copied_so_that_it_is_pristine(say):
    before = say().waveform.tobytes()
    with _loaded(find_library().library_path):
        assert _is_loaded(find_library().library_path)
        assert say().waveform.tobytes() == before
    assert not _is_loaded(find_library().library_path)


def test_a_missing_wheel_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(UnsupportedRequest, match="pip install 'espeakng-loader"):
        open_draft()


def test_the_fingerprint_follows_the_data(tmp_path, engine):
    library = find_library()
    data = tmp_path / "espeak-ng-data"
    shutil.copytree(library.data_path, data, ignore=shutil.ignore_patterns("ru_dict"))
    other = EspeakLibrary(library_path=library.library_path, data_path=data)
    assert f"espeak-ng:{other.fingerprint()}" != engine.facts().model_fingerprint
    assert engine.facts().model_fingerprint == open_draft().facts().model_fingerprint


def test_every_language_and_accent_of_the_map_is_there_with_its_dictionary(engine):
    library = find_library()
    for name, voice in [*VOICES.items(), *ACCENTS.values()]:
        assert canonical_language(name) == name
        with library._opened() as (espeak, _):
            assert espeak.espeak_SetVoiceByName(voice.encode()) == 0, voice
    dictionaries = {path.name for path in library.data_path.glob("*_dict")}
    without = {voice for voice in VOICES.values() if f"{voice.partition('-')[0]}_dict" not in dictionaries}
    assert without <= {"nb", "hyw"}
    assert engine.facts().languages == tuple(VOICES)


@pytest.mark.slow
@pytest.mark.parametrize("language", VOICES)
def test_every_language_makes_sound(say, language):
    text = {"cherokee": "ᎣᏏᏲ", "chuvash": "салам", "sindarin": "mellon"}.get(language, "1 2 3")
    assert isinstance(say(text, language=language), SpeechDone)


def test_the_engine_process_opens_it_by_name():
    assert open_engine(ModelChoice(engine="draft")).facts().engine == "draft"
    with pytest.raises(UnsupportedRequest, match="Did you mean draft"):
        open_engine(ModelChoice(engine="drafft"))
    with pytest.raises(InvalidInput):
        open_engine(ModelChoice(engine="tests.engines.noop:open_engine"))
