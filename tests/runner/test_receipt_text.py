"""Receipts as text."""

from __future__ import annotations

import json

from runner.receipt import encoded


def test_a_receipt_is_json_with_one_line_an_entry():
    content = {"schema": 1, "warnings": [], "lines": [{"index": 1, "text": "„Ja“\n"}, {"index": 2}], "voice": None}
    text = encoded(content).decode()
    assert json.loads(text) == content
    assert len(text.splitlines()) == len(content) + 2 + 2 + 1
