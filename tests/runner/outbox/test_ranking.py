"""Candidates in the order of what was measured of them."""

import pytest

from runner.outbox.ranking import ranks

CLEAR, MUMBLED = {"heard": {"distance": 0.1}}, {"heard": {"distance": 0.6}}
CLEAN, NOISY = {"noise": {"overall": 3.4}}, {"noise": {"overall": 2.1}}
FAILED = {"failed_gates": ["clipped"]}


@pytest.mark.parametrize(
    ("qualities", "expected"),
    [
        ([{}, {}, {}], [1, 2, 3]),
        ([{**FAILED, **CLEAR}, MUMBLED], [2, 1]),
        ([MUMBLED, CLEAR], [2, 1]),
        ([NOISY, CLEAN], [2, 1]),
        ([{**CLEAR, **NOISY}, {**MUMBLED, **CLEAN}, {**CLEAR, **CLEAN}], [2, 3, 1]),
        ([{"heard": None, "noise": None, "failed_gates": []} | {"noise": {"overall": 5.0}}, CLEAR], [1, 2]),
    ],
    ids=["nothing known", "gates first", "words", "noise", "both", "unknown"],
)
def test_gates_come_first_then_words_and_noise_and_then_the_order(qualities, expected):
    assert ranks(qualities) == expected
