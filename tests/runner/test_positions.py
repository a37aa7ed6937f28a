"""Line and column of keys in TOML and JSON."""

import pytest

from runner.positions import json_positions, nearest_position, repeated_json_keys, toml_positions

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
    assert repeated_json_keys('{"a": 1,\n "a": 2}') == [(("a",), (2, 2))]


def test_an_unknown_place_falls_back_to_what_is_around_it():
    found = toml_positions("[a]\nb = 1\n")
    assert nearest_position(found, ("a", "b", 0, "c")) == (2, 1)
    assert nearest_position(found, ("z",)) is None


@pytest.mark.parametrize("text", ["", "[", '{"a"', "a = ", "[[" * 5000, "a = " + "[" * 5000])
def test_text_that_is_not_well_formed_gives_what_was_seen_or_nothing(text):
    assert isinstance(toml_positions(text), dict)
    assert isinstance(json_positions(text), dict)
