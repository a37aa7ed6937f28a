"""The ruler: how long a text lasts when it is read aloud, with a range."""

import pytest

from models.text.spoken_time import spoken_time


@pytest.mark.parametrize(
    ("text", "language", "seconds"),
    [
        ("I won't let you down, whatever happens tomorrow.", "english", 2.6),
        ("Die Tür schloss sich leise hinter ihr, und niemand sagte ein Wort.", "german", 3.4),
        ("今天天气很好，我们去公园吧。", "chinese", 3.0),
        ("かぎをどこにおいたの？", "japanese", 1.5),
        ("오늘 날씨가 정말 좋네요.", "korean", 1.9),
        ("Дверь тихо закрылась за ней.", "russian", 1.6),
        ("صباح الخير، سيداتي سادتي.", "arabic", 2.3),
        ("दरवाज़ा धीरे से उसके पीछे बंद हो गया।", "hindi", 2.9),
        ("In 2024, 1536 people came.", "english", 3.3),
        ("Hello there.", "auto", 0.9),
    ],
)
def test_the_estimate_is_that_of_a_calm_reader_within_a_third(text, language, seconds):
    assert spoken_time(text, language).expected_s == pytest.approx(seconds, rel=0.34)


@pytest.mark.parametrize(
    ("text", "quick_s", "slow_s"),
    [
        ("1,000,000,000,000 and 2,000,000,000,000.", 1.1, 11.3),  # read in a breath, or digit by digit
        ("000000000000000000", 1.0, 8.4),
        ("1-800-000-0000", 2.2, 4.0),
        ("31.12.2024", 1.9, 5.2),
        ("3.14159", 1.5, 3.6),
        ("BBC", 0.4, 1.4),
        ("www.example.com", 1.0, 4.0),
        ("Noooooooooooooooooooo", 0.5, 2.0),
        ("½", 0.3, 1.2),
        ("Yes.", 0.3, 1.2),
    ],
)
def test_whatever_may_be_read_in_several_ways_has_room_for_all_of_them(text, quick_s, slow_s):
    time = spoken_time(text, "english")
    assert time.low_s <= quick_s <= slow_s <= time.high_s


@pytest.mark.parametrize("marks", ["", "." * 80, "!" * 80, "=" * 80, "… " * 40, "😂" * 40, "-" * 80, "?!" * 40])
def test_runs_of_marks_cost_no_time(marks):
    assert spoken_time(f"Chapter one {marks}", "english").low_s == spoken_time("Chapter one", "english").low_s
    longer_s = spoken_time(f"Chapter one {marks}", "english").expected_s - spoken_time("Chapter one").expected_s
    assert longer_s < 0.5


def test_even_nothing_takes_a_moment():
    assert spoken_time("…").expected_s > 0
    assert spoken_time("…").shortest_s == 0


def test_bounds_lie_outside_the_range():
    time = spoken_time("It was the middle of the night when the old clock struck twelve.", "english")
    assert time.shortest_s < time.low_s < time.expected_s < time.high_s < time.longest_s
