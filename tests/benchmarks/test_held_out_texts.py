"""Texts with which the ruler of spoken time is measured are not those to which it was fitted."""

from benchmarks.bench_spoken_time import PROSE, UNITS
from benchmarks.held_out_texts import HELD_OUT


def test_no_text_that_was_held_out_is_one_that_the_ruler_was_fitted_to():
    fitted = {text for texts in PROSE.values() for text in texts} | set(UNITS)
    assert len(HELD_OUT) == 10
    assert {len(texts) for texts in HELD_OUT.values()} == {12}
    assert fitted.isdisjoint(text for texts in HELD_OUT.values() for text in texts)
