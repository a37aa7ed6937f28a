"""Tables of lines, as spreadsheets and programs write them."""

from __future__ import annotations

import io

import pytest

from registry.errors import InvalidInput, NotFound
from runner.submission.line_table import job_from_table


def job_of(content, **given):
    content = content if isinstance(content, bytes) else content.encode()
    return job_from_table(
        "-", stdin=lambda: io.BytesIO(content), **{"voice": "ryan", "file_format": None, **given}
    ).spec


def lines_of(content):
    return [line.model_dump(exclude_defaults=True) for line in job_of(content).lines]


@pytest.mark.parametrize(
    "content",
    [
        'id,text,pause_after_s\na,Hello.,0.5\n\nb,"Good, night.",\n',
        "ID;Text;notes;Pause_after_s\r\na;Hello.;loud?;0,5\r\nb;Good, night.\r\n",
        "id\ttext\tpause_after_s\na\tHello.\t0.5\nb\tGood, night.\t\n",
        b'\xef\xbb\xbfid,text,pause_after_s\na,Hello.,0.5\nb,"Good, night.",\n',
        "id\ttext\tpause_after_s\r\na\tHello.\t0.5\r\nb\tGood, night.\t\r\n".encode("utf-16"),
        '{"id": "a", "text": "Hello.", "pause_after_s": 0.5, "notes": ""}\n\n{"id": "b", "text": "Good, night."}\n',
    ],
    ids=["commas", "semicolons", "tabs", "mark", "utf-16", "json"],
)
def test_a_table_becomes_the_lines_of_a_job(content):
    assert lines_of(content) == [
        {"id": "a", "text": "Hello.", "pause_after_s": 0.5},
        {"id": "b", "text": "Good, night."},
    ]


def test_a_line_may_span_rows_and_names_its_own_voice():
    (line,) = lines_of('text,voice,seed\n"One\ntwo",elena@2,7\n')
    assert line == {"text": "One\ntwo", "voice": "elena@2", "seed": 7}


def test_voice_and_format_are_those_of_the_whole_job():
    spec = job_of("text\nHello.\n", voice="elena", file_format="flac")
    assert (spec.voice, spec.format) == ("elena", "flac")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("txet\nHello.\n", "column 'txet'; did you mean 'text'?"),
        ("speaker,words\na,b\n", "no column 'text'"),
        ("text,text\na,b\n", "two columns 'text'"),
        ("text,seed\nHello.,x\n", "row 2: seed = 'x' is no number"),
        ("id,text\na,\n", "row 2 has no text"),
        ("text\n", "has no lines"),
        ('{"text": "a"}\n[1]\n', "row 2: expected an object"),
        ('{"text": "a"}\n{"text"\n', "row 2: no JSON"),
        ('{"txt": "a"}\n', "did you mean 'text'?"),
        (b"text\n\xff\xe9\n", "is not UTF-8"),
        ("text,voice\nHello.,a/b\n", "voice"),
    ],
)
def test_a_wrong_table_is_refused_with_its_row(content, said):
    with pytest.raises(InvalidInput) as caught:
        job_of(content)
    assert said in str(caught.value)


def test_a_file_names_its_job(tmp_path):
    table = tmp_path / "quest lines.csv"
    table.write_text("text\nHello.\n", encoding="utf-8")
    job = job_from_table(str(table), stdin=lambda: io.BytesIO(), voice="ryan", file_format=None)
    assert job.file_name == "quest lines.json"
    with pytest.raises(NotFound):
        job_from_table(str(tmp_path / "gone.csv"), stdin=lambda: io.BytesIO(), voice=None, file_format=None)
