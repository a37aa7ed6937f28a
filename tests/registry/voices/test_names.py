"""How voices are named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import VoiceJobsError
from registry.voices.errors import InvalidVoiceName, InvalidVoiceReference
from registry.voices.names import VoiceReference, check_voice_name, name_key, parse_voice_reference


@pytest.mark.parametrize("name", ["elena", "Élena", "エレナ", "a", "a" * 64, "x.y_z-1", "2"])
def test_letters_digits_underscore_dot_and_dash_make_a_name(name):
    assert check_voice_name(name) == name


@pytest.mark.parametrize("name", ["", "a" * 65, "a b", "a/b", "a@b", "..", ".", "a\n", "a:b", "\ud800", "a\x00"])
def test_anything_else_is_refused(name):
    with pytest.raises(InvalidVoiceName, match="1 to 64 letters"):
        check_voice_name(name)


def test_a_name_is_kept_in_nfc():
    assert check_voice_name("Zoe\u0308") == "Zo\u00eb"


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("elena", VoiceReference(name="elena")),
        ("elena@2", VoiceReference(name="elena", number=2)),
        ("elena@soft-2", VoiceReference(name="elena", alias="soft-2")),
        ("elena@sha256:0123abcd", VoiceReference(name="elena", digest="0123abcd")),
        ("preset:ryan", VoiceReference(name="ryan", preset=True)),
        ("ryan@2", VoiceReference(name="ryan", number=2)),
    ],
    ids=str,
)
def test_a_reference_names_a_preset_or_a_voice_and_which_version(text, reference):
    assert parse_voice_reference(text) == reference


WRONG = ["", "@2", "elena@", "elena@0", "elena@-1", "elena@1@2", "elena@sha256:123", "elena@sha256:xyzxyzxy", "preset:"]


@pytest.mark.parametrize("text", [*WRONG, "preset: a", "preset:a\nb", "elena@a b", "elena@1" + "0" * 30])
def test_text_that_names_nothing_is_refused(text):
    with pytest.raises((InvalidVoiceReference, InvalidVoiceName)):
        parse_voice_reference(text)


@given(st.text(max_size=80))
def test_any_text_is_a_reference_or_refused_with_a_reason(text):
    try:
        reference = parse_voice_reference(text)
    except VoiceJobsError as error:
        assert error.message
    else:
        assert parse_voice_reference(str(reference)) == reference


@given(st.text(max_size=20))
def test_folding_a_folded_name_changes_nothing(name):
    assert name_key(name_key(name)) == name_key(name)
