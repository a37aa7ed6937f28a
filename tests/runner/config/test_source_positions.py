"""Line and column of keys in TOML and JSON."""

import sys

import pytest

from runner.config.source_positions import (
    json_positions,
    nearest_position,
    repeated_json_keys,
    repeated_toml_key,
    toml_positions,
)

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TOML = '''kind = "design" # a = 1
text = """
kind = 2
\\""" ]
"""
"quoted key".inner = 'x'
from = { job = "a", "two words" = [1, { deep = 2 }] }
[sampling]
  top_k = 5
[[lines]]
text = "a"
[lines.extra]
x = 1
[[lines]]
voices = [
  "a", # one
  "b",
]
'''


@pytest.mark.parametrize(
    ("path", "position"),
    [
        (("kind",), (1, 1)),
        (("text",), (2, 1)),
        (("quoted key", "inner"), (6, 1)),
        (("from", "two words"), (7, 21)),
        (("from", "two words", 1, "deep"), (7, 41)),
        (("sampling",), (8, 1)),
        (("sampling", "top_k"), (9, 3)),
        (("lines", 0, "text"), (11, 1)),
        (("lines", 0, "extra", "x"), (13, 1)),
        (("lines", 1), (14, 1)),
        (("lines", 1, "voices", 1), (17, 3)),
    ],
)
def test_keys_of_toml_are_found(path, position):
    assert toml_positions(TOML)[path] == position


def test_keys_of_json_are_found():
    found = json_positions('{"a": [1,\n {"b\\u0041": "}"}],\n "c": null}')
    assert found == {("a",): (1, 2), ("a", 0): (1, 8), ("a", 1): (2, 2), ("a", 1, "bA"): (2, 3), ("c",): (3, 2)}


def test_repeated_keys_of_json_are_found():
    assert repeated_json_keys('{"a": 1,\n "a": 2}', most=5) == [(("a",), (2, 2))]
    assert len(repeated_json_keys('{"a": 1' + ', "a": 2' * 9 + "}", most=5)) == 5


def test_positions_are_looked_for_no_further_than_asked():
    assert json_positions('{"a": {"b": 1}, !', wanted=[("a", "b")]) == {("a",): (1, 2), ("a", "b"): (1, 8)}
    assert toml_positions("[a]\nb = 1\n!", wanted=[("a", "b")]) == {("a",): (1, 1), ("a", "b"): (2, 1)}


TWICE = {
    "a = 1\nb = 2\na = 3\n": (("a",), (3, 1)),
    "[x]\na = 1\n[x]\n": (("x",), (3, 1)),
    '[[l]]\na = 1\n"a" = 2\n': (("l", 0, "a"), (3, 1)),
    "x = {a = 1, a = 2}\n": (("x", "a"), (1, 13)),
    "a = 1\n[a]\n": (("a",), (2, 1)),
    "a.b = 1\na = 2\n": (("a",), (2, 1)),
    "a = 1\na.b = 2\n": (("a", "b"), (2, 1)),
    'a = 1\na = """\nb = 3\n"""\nc = ': (("a",), (2, 1)),
}


@pytest.mark.parametrize("text", TWICE)
def test_the_repeated_key_that_stops_a_toml_parser_is_found(text):
    with pytest.raises(tomllib.TOMLDecodeError) as stopped:
        tomllib.loads(text)
    assert repeated_toml_key(text, str(stopped.value)) == TWICE[text]


def test_another_complaint_names_no_repeated_key():
    assert repeated_toml_key("a = 1\na = 2", "Invalid value (at line 1, column 3)") is None


def test_an_unknown_place_falls_back_to_what_is_around_it():
    found = toml_positions("[a]\nb = 1\n")
    assert nearest_position(found, ("a", "b", 0, "c")) == (2, 1)
    assert nearest_position(found, ("z",)) is None


@pytest.mark.parametrize("text", ["", "[", '{"a"', "a = ", "[[" * 5000, "a = " + "[" * 5000])
def test_text_that_is_not_well_formed_gives_what_was_seen_or_nothing(text):
    assert isinstance(toml_positions(text), dict)
    assert isinstance(json_positions(text), dict)


@pytest.mark.parametrize("rest", ["x = [1 2 3\n", "x = [!}", "x = [[[[", "x = {a = [", "!!!"])
def test_a_repeated_key_is_found_whatever_follows_it(rest):
    complaint = "Cannot overwrite a value (at line 2, column 6)"
    assert repeated_toml_key(f"a = 1\na = 2\n{rest}", complaint) == (("a",), (2, 1))
