"""Speaker profiles of OuteTTS: where words are cut, what is measured, and profiles that are none."""

import copy

import numpy as np
import pytest

from models.errors import InvalidClonePrompt
from models.voices.outetts_profile import checked_profile, features_of, make_profile, plain_text
from models.voices.recorded_prompt import RecordedPrompt, recorded_prompt

SECONDS = 2.0
CODES = np.stack([np.arange(150), np.arange(150) + 500])  # each says which frame it is
WORDS = [("Hello,", 0.4, 0.8), (" there ", 0.85, 1.2), ("friend.", 1.3, 1.8)]


def tone(frequency_hz, *, level=0.5, seconds=SECONDS):
    return (level * np.sin(2 * np.pi * frequency_hz * np.arange(round(24_000 * seconds)) / 24_000)).astype(np.float32)


@pytest.fixture(scope="module")
def profile():
    return make_profile(tone(220), WORDS, CODES, transcript="Hello,  there “friend”…")


def test_words_follow_one_another_and_the_outer_ones_have_room(profile):
    first, second, last = profile["words"]
    assert (first["c1"][0], first["c1"][-1]) == (30 - 20, 59)
    assert (second["c1"][0], second["c1"][-1]) == (60, 89)
    assert (last["c1"][0], last["c1"][-1]) == (90, 149)  # 135 + 20 is beyond the end
    assert first["c2"] == [code + 500 for code in first["c1"]]
    assert [word["word"] for word in profile["words"]] == ["Hello,", "there", "friend."]
    assert first["duration"] == round(50 / 75, 2)


def test_a_tone_has_its_level_its_centroid_and_its_pitch():
    found = features_of(tone(220, level=0.5))
    assert (found["energy"], found["spectral_centroid"]) == (35, 2)
    assert found["pitch"] == pytest.approx(100 * (220 - 75) / 525, abs=2)
    assert features_of(tone(330, level=0.1))["pitch"] == pytest.approx(100 * (330 - 75) / 525, abs=2)


@pytest.mark.parametrize("sound", [np.zeros(0), np.zeros(100), np.full(9, np.nan), np.zeros(480)])
def test_silence_and_sounds_too_short_to_measure_have_no_pitch(sound):
    assert features_of(sound.astype(np.float32)) == {"energy": 0, "spectral_centroid": 0, "pitch": 0}


def test_the_text_has_plain_marks(profile):
    assert profile["text"] == 'Hello, there "friend"...'
    assert plain_text("It’s\n\ta – b\x07") == "It's a - b"


def test_a_profile_travels_in_the_prompt(profile):
    prompt = RecordedPrompt(waveform=tone(220), transcript="Hello", profile=profile)
    assert recorded_prompt(prompt.to_bytes()).profile == profile


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda profile: profile.pop("text"), "`text`"),
        (lambda profile: profile["words"].clear(), "`words`"),
        (lambda profile: profile["words"][1].update(c1=[1, 2]), "word 2"),
        (lambda profile: profile["words"][0]["c2"].__setitem__(0, 1_025), "word 1"),
        (lambda profile: profile["words"][2].update(duration=True), "duration"),
        (lambda profile: profile["words"][2]["features"].update(pitch=101), "word 3"),
        (lambda profile: profile.pop("global_features"), "global_features"),
    ],
)
def test_a_profile_from_elsewhere_is_checked_part_by_part(profile, change, words):
    broken = copy.deepcopy(profile)
    change(broken)
    with pytest.raises(InvalidClonePrompt, match=words):
        checked_profile(broken)
    assert checked_profile({**profile, "more": 1}) == profile
