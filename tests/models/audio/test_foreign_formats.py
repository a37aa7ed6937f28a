"""Recordings that libsndfile does not read are converted, or the message names what to install."""

import pytest

from models.audio.foreign_formats import converted, foreign_format
from models.errors import InvalidReferenceAudio

M4A = b"\0\0\0\x1cftypM4A " + bytes(40)
FAKE = """#!/bin/sh
for target; do :; done
printf RIFF > "$target"
"""


@pytest.mark.parametrize(
    ("content", "reader"),
    [(M4A, "mov"), (b"\x1aE\xdf\xa3rest", "matroska"), (b"#!AMR\n", "amr"), (b"RIFF....WAVE", None)],
)
def test_a_foreign_format_is_known_by_its_first_bytes(content, reader):
    found = foreign_format(content)
    assert (found and found.ffmpeg) == reader


def test_without_a_converter_the_message_says_what_to_install(tmp_path):
    with pytest.raises(InvalidReferenceAudio, match="neither afconvert nor ffmpeg") as caught:
        converted(tmp_path / "memo.m4a", foreign_format(M4A), name="memo.m4a", longest_s=60, which=lambda _: None)
    assert "Install ffmpeg" in caught.value.hint


@pytest.mark.parametrize(("script", "works"), [(FAKE, True), ("#!/bin/sh\necho no sound >&2; exit 1\n", False)])
def test_a_converter_is_asked_and_its_refusal_is_told(tmp_path, script, works):
    program = tmp_path / "ffmpeg"
    program.write_text(script)
    program.chmod(0o700)
    (tmp_path / "memo.m4a").write_bytes(M4A)

    def convert():
        which = {"ffmpeg": str(program)}.get
        return converted(tmp_path / "memo.m4a", foreign_format(M4A), name="memo.m4a", longest_s=60, which=which)

    if works:
        assert convert() == b"RIFF"
    else:
        with pytest.raises(InvalidReferenceAudio, match="ffmpeg: no sound"):
            convert()
