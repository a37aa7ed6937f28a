"""Receipts as text."""

from __future__ import annotations

import json

from runner.outbox.receipt import encoded, gates_warning


def test_a_receipt_is_json_with_one_line_an_entry():
    content = {"schema": 1, "warnings": [], "lines": [{"index": 1, "text": "„Ja“\n"}, {"index": 2}], "voice": None}
    text = encoded(content).decode()
    assert json.loads(text) == content
    assert len(text.splitlines()) == len(content) + 2 + 2 + 1


def test_a_warning_says_what_is_wrong_with_the_best_take():
    said = gates_warning("line-1.wav", attempts=3, failed=["clipped", "too-long"])
    assert said == "line-1.wav: the best of 3 takes is overdriven (clipped) and is too long for its text (too-long)."
    assert gates_warning("a.wav", attempts=1, failed=["too-short"]).startswith("a.wav: the only take is too short")
