"""Names of voices, jobs and files."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.voices.names import name_key
from runner.names import PRESET_NAMES, job_name_from, may_be_preset, parse_voice_reference, printable_name


@pytest.mark.parametrize(
    ("dropped", "job"),
    [
        ("hello.toml", "hello"),
        ("hello.JSON", "hello"),
        ("scene 4, take 2.toml", "scene 4, take 2"),
        ("folder", "folder"),
        ("elena.v2.vox", "elena.v2"),
        ("e\u0301.toml", "é"),
        (".toml", "job"),
        ("....toml", "job"),
        ("a:b?.toml", "a_b_"),
        (b"bad\xff.toml".decode("utf-8", "surrogateescape"), "bad_"),
        ("x" * 250 + ".toml", "x" * 150),
    ],
)
def test_a_job_is_named_after_what_was_dropped(dropped, job):
    assert job_name_from(dropped) == job


@given(st.text(st.characters(exclude_characters="/\0", exclude_categories=()), min_size=1, max_size=255))
def test_a_job_name_is_always_a_plain_file_name(dropped):
    name = job_name_from(dropped)
    assert name and not name.startswith(".") and "/" not in name and name == name.strip()
    assert name.isprintable() and len(name.encode()) <= 150


@given(st.text(max_size=20))
def test_equal_names_stay_equal_when_folded_again(text):
    assert name_key(name_key(text)) == name_key(text)


def test_a_reference_is_printed_as_it_was_written():
    for text in ("elena", "elena@2", "elena@warm", "elena@sha256:" + "a" * 64, "preset:ryan"):
        assert str(parse_voice_reference(text)) == text


@pytest.mark.parametrize("reference", ["elena@-1", "elena@1.5", "elena@-2.0", "elena@01", "elena@²"])
def test_a_number_that_names_no_version_is_no_alias_either(reference):
    with pytest.raises(ValueError, match="number"):
        parse_voice_reference(reference)


def test_a_preset_is_named_as_its_model_names_it():
    assert parse_voice_reference("preset:Maria Lopez").name == "Maria Lopez"
    for text in ("preset:", "preset: x", "preset:x ", "preset:a\tb", "preset:" + "x" * 65):
        with pytest.raises(ValueError, match="as its model names it"):
            parse_voice_reference(text)


def test_a_bare_preset_name_may_be_a_preset_and_a_version_may_not():
    assert all(may_be_preset(parse_voice_reference(name)) for name in PRESET_NAMES)
    assert may_be_preset(parse_voice_reference("preset:elena"))
    assert not may_be_preset(parse_voice_reference("ryan@1"))


def test_a_name_that_is_no_utf8_can_still_be_printed():
    assert printable_name(b"a\xff\n".decode("utf-8", "surrogateescape")).isprintable()
