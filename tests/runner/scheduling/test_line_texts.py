"""What a job is to say becomes lines: files, markup, and what is warned of."""

import pytest

from registry.errors import InvalidInput
from runner.jobfile.specs import LineSpec, SynthesizeSpec
from runner.scheduling import line_texts
from runner.scheduling.line_texts import job_texts


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


def test_a_break_at_a_lines_end_is_its_pause_and_one_within_it_an_ellipsis():
    lines = [
        LineSpec(text="Wait <break/> for it.<break time='2s'/>", pause_after_s=0.5),
        LineSpec(text="<break time='3s'/>"),
        LineSpec(text="Tom &amp; <prosody rate='slow'>Jerry</prosody>"),
    ]
    texts = texts_of(lines=lines, markup="ssml")
    assert said(texts) == [("Wait … for it.", 2.5), ("…", 3.0), ("Tom & Jerry", None)]
    assert texts.warnings() == ("Tags that mean nothing here were left out, and their contents are spoken: <prosody>.",)


def test_markup_that_nobody_wanted_read_is_warned_of_with_its_lines():
    lines = [LineSpec(text="Plain."), LineSpec(text="So **bold**."), LineSpec(text="[laughs] Well.")]
    texts = texts_of(lines=lines)
    assert [line.text for line in texts.lines] == ["Plain.", "So **bold**.", "[laughs] Well."]
    (warning,) = texts.warnings()
    assert warning.startswith("Lines 2, 3: markup is spoken literally: Markdown (**bold**); directions ([laughs]).")


def test_nothing_is_said_of_markup_that_is_meant_to_be_spoken():
    assert texts_of(text="So **bold**.", markup="plain").warnings() == ()
