"""Captions of lines and of parts of lines, as files that a player reads."""

from __future__ import annotations

import io
import itertools
import json

import pytest
import webvtt

from models.listen.values import TimedWord
from models.listen.written_words import written_words
from models.protocol import SAMPLE_RATE_HZ
from runner.outbox.captions import cues, srt, timestamp, vtt, word_list
from runner.outbox.track import TrackLine, pause_samples

LINES = [
    TrackLine(number=1, text="Hello.", samples=24_000, pause_samples=pause_samples(0.4)),
    TrackLine(number=2, text="Two\n\nlines --> & <b>", samples=12_000, pause_samples=0),
]
LONG = (
    "It was the middle of the night when the old clock struck twelve, and the wind began to rise over the fields. "
    "Nobody in the house was awake; only the dog, who had heard it all before, lifted its head & sighed."
)
CHINESE = "那是半夜时分，古老的钟敲了十二下，风开始从田野上刮起来，屋子里没有人说一句话，只有那只狗抬起了头。"


def line(text, duration_s, *, number=1, pause_s=0.0):
    samples = round(duration_s * SAMPLE_RATE_HZ)
    return TrackLine(number=number, text=text, samples=samples, pause_samples=pause_samples(pause_s))


def timed(text, duration_s):
    """The words of a text, spoken evenly."""
    words = written_words(text)
    step_s = duration_s / len(words)
    return [
        TimedWord(text=word.text, place=word.start, start_s=at * step_s, end_s=(at + 0.9) * step_s)
        for at, word in enumerate(words)
    ]


def test_a_caption_stays_while_its_line_is_spoken():
    assert [(cue.start_s, cue.end_s) for cue in cues(LINES)] == [(0, 1), (1.4, 1.9)]


def test_srt_and_vtt_cannot_be_broken_by_the_text():
    assert srt(cues(LINES)) == (
        "1\n00:00:00,000 --> 00:00:01,000\nHello.\n\n2\n00:00:01,400 --> 00:00:01,900\nTwo\nlines → & <b>\n"
    )
    assert vtt(cues(LINES)).endswith("\n\n00:00:01.400 --> 00:00:01.900\nTwo\nlines → &amp; &lt;b&gt;\n")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "00:00:00,000"), (3_599.9996, "01:00:00,000"), (400_000, "111:06:40,000")]
)
def test_timestamps_carry_over(seconds, text):
    assert timestamp(seconds, mark=",") == text


@pytest.mark.parametrize(("text", "row"), [(LONG, 42), (CHINESE, 20)], ids=["english", "chinese"])
@pytest.mark.parametrize("duration_s", [14.0, 60.0], ids=["quick", "slow"])
def test_captions_with_words_have_two_short_rows_and_hold_every_word_in_order(text, row, duration_s):
    found = list(cues([line(text, duration_s)], [timed(text, duration_s)], wraps=True))
    rows = [cue.text.split("\n") for cue in found]
    assert all(len(each) <= 2 and max(map(len, each)) <= row for each in rows)
    assert "".join("".join(map("".join, rows)).split()) == "".join(text.split())
    assert all(0 < cue.end_s - cue.start_s <= 7 for cue in found)
    assert all(before.end_s <= after.start_s for before, after in itertools.pairwise(found))


def test_captions_are_cut_where_phrases_end():
    found = list(cues([line(LONG, 14.0)], [timed(LONG, 14.0)], wraps=True))
    assert all(cue.text[-1] in ".,;" for cue in found), [cue.text for cue in found]


def test_a_line_is_one_caption_unless_it_is_too_long():
    short = line("A short line.", 3.0, pause_s=1.0)
    found = list(cues([short, line(LONG, 14.0, number=2)], [(), timed(LONG, 14.0)]))
    assert found[0].text == "A short line."
    assert len(found) > 2
    assert all(len(cue.text) <= 84 and cue.end_s - cue.start_s <= 7 for cue in found)
    assert " ".join(cue.text for cue in found[1:]) == LONG
    assert (found[1].start_s, found[-1].end_s) == (4.0, 18.0)


def test_a_player_reads_the_captions_and_the_times_of_their_words():
    text = vtt(cues([line(LONG, 14.0)], [timed(LONG, 14.0)], wraps=True))
    captions = list(webvtt.from_buffer(io.StringIO(text)))
    assert " ".join(caption.text.replace("\n", " ") for caption in captions) == LONG.replace("&", "&amp;")
    first = captions[0]
    tags = [part.split(">")[0] for part in first.raw_text.split("<")[1:]]
    assert tags == sorted(tags)
    assert first.start < tags[0]
    assert tags[-1] < first.end
    assert len(tags) == len(first.text.split()) - 1


def test_a_word_that_is_longer_than_a_row_is_shown_whole():
    word = "Donaudampfschifffahrtsgesellschaftskapitänsmütze"
    (cue,) = cues([line(word, 3.0)], [timed(word, 3.0)], wraps=True)
    assert cue.text == word


def test_words_are_listed_by_their_line_and_the_time_of_the_track():
    lines = [
        line("Come here.", 2.0, number=1, pause_s=0.5),
        line("", 0.0, number=2, pause_s=1.0),
        line("Yes!", 1.0, number=4),
    ]
    words = json.loads(word_list(lines, [timed("Come here.", 2.0), (), timed("Yes!", 1.0)]))
    assert words == [
        {"line": 1, "word": "Come", "start_s": 0.0, "end_s": 0.9},
        {"line": 1, "word": "here.", "start_s": 1.0, "end_s": 1.9},
        {"line": 4, "word": "Yes!", "start_s": 3.5, "end_s": 4.4},
    ]
    assert json.loads(word_list([], [])) == []
