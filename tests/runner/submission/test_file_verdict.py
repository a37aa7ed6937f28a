"""`check` judges the files of a job as its run does."""

import pytest

from runner.config.instance import Instance
from runner.config.settings import Settings
from runner.submission.checked_job import check_file

CUT_COVER = b"\x89PNG\r\n\x1a\n" + bytes(10)
JOBS = {
    "a voice file": ('kind = "import"\nfile = "a.vox"\n', "a.vox", b"PK\x03\x04 and no more", ""),
    "a cover": (
        'kind = "master"\nfrom = ["x"]\nformats = ["wav"]\ncover = "a.png"\n',
        "a.png",
        CUT_COVER,
        "is no JPEG",
    ),
    "a sound": ('kind = "master"\nfiles = ["a.wav"]\nformats = ["wav"]\n', "a.wav", b"<!doctype html>", "an HTML page"),
    "a source": ('kind = "script"\nsource = "a.fdx"\n', "a.fdx", b"<FinalDraft><Content>", "no well-formed XML"),
    "no text": ('kind = "script"\nsource = "a.md"\n', "a.md", b"\n", "holds no text to speak"),
    "a cast": ('kind = "script"\nsource = "a.md"\ncast = "c.toml"\n', "c.toml", b'kind = "lock"\nvoice = "x"\n', ""),
}


@pytest.mark.parametrize("case", JOBS)
def test_a_file_that_the_run_would_refuse_is_refused_by_check(tmp_path, case):
    job, name, content, said = JOBS[case]
    (tmp_path / "a.md").write_text("Hello there.\n")
    (tmp_path / name).write_bytes(content)
    (tmp_path / "job.toml").write_text(job)
    (problem, *_) = check_file(str(tmp_path / "job.toml"), instance=Instance(tmp_path, Settings())).problems
    assert said in problem
