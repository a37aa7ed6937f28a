"""Canonical JSON: equal values have one text, in every process and release."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.errors import InvalidInput
from registry.storage.digests import as_floats, canonical_json, sha256_of_json

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


@settings(max_examples=50)
@given(VALUES)
def test_what_is_written_reads_back(value):
    assert json.loads(canonical_json(value)) == value


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.integers()))
def test_the_order_of_keys_does_not_matter(value):
    assert sha256_of_json(value) == sha256_of_json(dict(reversed(value.items())))


@given(st.dictionaries(st.sampled_from(["temperature", "top_k"]), st.integers(-(2**53), 2**53)))
def test_a_whole_number_is_the_same_setting_as_its_float(sampling):
    same = {name: float(value) for name, value in sampling.items()}
    assert canonical_json(as_floats(sampling)) == canonical_json(as_floats(same))


NESTED: list[object] = []
for _ in range(100_000):
    NESTED = [NESTED]


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), b"bytes", {1: "a", "b": 2}, "\ud800", {"\udfff": 1}, NESTED], ids=lambda _: ""
)
def test_what_json_cannot_hold_is_refused(value):
    with pytest.raises(InvalidInput, match="cannot be stored as JSON"):
        canonical_json(value)
