"""What a job is to say becomes lines: files, markup, and what is warned of."""

import pytest

from registry.errors import InvalidInput
from runner.inbox import line_texts
from runner.inbox.line_texts import cut_text, job_texts
from runner.jobfile.specs import LineSpec, SynthesizeSpec


def texts_of(folder=None, **spec):
    return job_texts(SynthesizeSpec(kind="synthesize", voice="ryan", **spec), folder=folder)


def said(texts):
    return [(line.text, line.pause_after_s) for line in texts.lines]


def from_file(folder, content, *, name="book.txt", **spec):
    (folder / name).write_text(content, encoding="utf-8")
    return texts_of(folder, text_file=name, **spec)


def test_a_text_of_more_paragraphs_than_a_job_has_lines_is_refused(monkeypatch):
    monkeypatch.setattr(line_texts, "MAX_LINES", 2)
    with pytest.raises(InvalidInput, match="3 paragraphs"):
        texts_of(text="One.\r\rTwo.\n\nThree.")


def test_a_new_page_of_a_text_file_is_a_new_paragraph(tmp_path):
    assert said(from_file(tmp_path, "One.\fTwo.")) == [("One.", 0.6), ("Two.", 0.0)]


def test_paragraphs_of_one_line_each_are_lines_of_a_job(tmp_path):
    texts = from_file(tmp_path, "One is here.\nTwo is here.\nThree is here.")
    assert [text for text, _ in said(texts)] == ["One is here.", "Two is here.", "Three is here."]


def test_a_short_text_in_a_job_file_stays_one_line():
    assert said(texts_of(text="One is here.\nTwo is here.")) == [("One is here.\nTwo is here.", 0.0)]


def test_a_scene_break_is_a_line_whose_pause_is_still_to_be_said(tmp_path):
    texts = from_file(tmp_path, "Night fell.\n\n* * *\n\nMorning came.\n\n⁂\n")
    assert said(texts) == [("Night fell.", 0.6), ("* * *", None), ("Morning came.", 0.6), ("⁂", None)]


def test_a_file_is_read_by_the_markup_that_its_name_shows(tmp_path):
    texts = from_file(tmp_path, "# One\n\nIt was **dark**.", name="one.md")
    assert said(texts) == [("One", 0.6), ("It was dark.", 0.0)]
    assert texts.warnings() == ()


def test_breaks_of_ssml_are_pauses_between_lines():
    texts = texts_of(text='<speak>Wait.<break time="2s"/>Now.<break time="500ms"/></speak>')
    assert said(texts) == [("Wait.", 2.0), ("Now.", 0.5)]


def test_a_break_at_a_lines_end_is_its_pause_and_one_within_it_is_kept_with_its_place():
    lines = [
        LineSpec(text="Wait <break/> for it.<break time='2s'/>", pause_after_s=0.5),
        LineSpec(text="<break time='3s'/>"),
        LineSpec(text="Tom &amp; <prosody rate='slow'>Jerry</prosody>"),
    ]
    texts = texts_of(lines=lines, markup="ssml")
    assert said(texts) == [("Wait for it.", 2.5), ("…", 3.0), ("Tom & Jerry", None)]
    assert {position: words.pieces for position, words in texts.pieces.items()} == {
        1: [("Wait", 0.4), ("for it.", 0.0)]
    }
    assert texts.warnings() == ("Tags that mean nothing here were left out, and their contents are spoken: <prosody>.",)


def test_markup_that_nobody_wanted_read_is_warned_of_with_its_lines():
    lines = [LineSpec(text="Plain."), LineSpec(text="So **bold**."), LineSpec(text="[laughs] Well.")]
    texts = texts_of(lines=lines)
    assert [line.text for line in texts.lines] == ["Plain.", "So **bold**.", "[laughs] Well."]
    (warning,) = texts.warnings()
    assert warning.startswith("Lines 2, 3: markup is spoken literally: Markdown (**bold**); directions ([laughs]).")


def test_nothing_is_said_of_markup_that_is_meant_to_be_spoken():
    assert texts_of(text="So **bold**.", markup="plain").warnings() == ()


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ('Wait. <break time="2s"/> Now.', [("Wait.", 2.0), ("Now.", 0.0)]),
        ("[pause 1.5s] Late.", [("…", 1.5), ("Late.", 0.0)]),
        ("One [pause: 300 ms] two.[long pause]", [("One", 0.3), ("two.", 0.8)]),
        ("Einen Moment [pause 1,5 s], bitte.", [("Einen Moment,", 1.5), ("bitte.", 0.0)]),
    ],
)
def test_pauses_in_a_plain_text_are_pauses_between_its_lines(text, lines):
    texts = texts_of(text=text)
    assert said(texts) == lines
    assert texts.warnings() == ()


def test_pauses_in_a_plain_line_are_pauses_within_it():
    texts = texts_of(lines=[LineSpec(text="[pause 1s] One [pause 2s], two. [pause 3s]", pause_after_s=0.5)])
    assert said(texts) == [("One, two.", 3.5)]
    assert (texts.pieces[1].lead_s, texts.pieces[1].pieces) == (1.0, [("One,", 2.0), ("two.", 0.0)])


def test_pauses_that_are_meant_to_be_spoken_are_spoken():
    texts = texts_of(lines=[LineSpec(text="Say [pause 2s].")], markup="plain")
    assert (said(texts), texts.pieces) == ([("Say [pause 2s].", None)], {})


def test_a_line_that_is_silent_for_minutes_is_refused():
    with pytest.raises(InvalidInput, match=r"within line 2 are 1,200 s; at most 600 s"):
        texts_of(lines=[LineSpec(text="Yes."), LineSpec(text="One [pause 600s] two [pause 600s] three.")])


def test_a_break_whose_time_cannot_be_read_is_named():
    (warning,) = texts_of(text='Wait <break time="soon"/> now.').warnings()
    assert '<break time="soon">' in warning


def test_a_text_is_cut_into_paragraphs_and_overlong_ones_after_sentences():
    text = "One. Two.\nStill one.\n\nThree is long. Four."
    assert cut_text(text, longest=16) == [
        ("One. Two.", 0.6), ("Still one.", 0.6), ("Three is long.", 0.2), ("Four.", 0.0),
    ]  # fmt: skip


def test_no_word_is_lost_when_a_text_is_cut():
    text = "word " * 3000 + "end。" + "字" * 5000
    pieces = [piece for piece, _ in cut_text(text)]
    assert max(map(len, pieces)) <= 2000
    assert "".join("".join(pieces).split()) == "".join(text.split())


def test_a_paragraph_that_is_a_line_keeps_every_character():
    marked = "![A bridge](bridge.png) Look!(1) He said 'No.'[2] and left."
    assert [text for text, _ in cut_text(f"First.\n\n{marked}\n", is_file=True)] == ["First.", marked]
