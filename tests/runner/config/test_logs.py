"""The log of a runner that lives for months."""

import logging
import shutil

import pytest

from runner.config.logs import ReopeningFile


@pytest.fixture
def log(tmp_path):
    (tmp_path / "logs").mkdir()
    handler = ReopeningFile(tmp_path / "logs" / "runner.log", maxBytes=10_000, backupCount=1, encoding="utf-8")
    yield handler
    handler.close()


def write(handler, text):
    handler.emit(logging.LogRecord("runner", logging.INFO, __file__, 1, text, (), None))


@pytest.mark.parametrize("taken_away", ["the file", "its folder", "renamed"])
def test_a_log_that_lost_its_name_is_opened_again(log, tmp_path, taken_away):
    path = tmp_path / "logs" / "runner.log"
    write(log, "before")
    if taken_away == "the file":
        path.unlink()
    elif taken_away == "its folder":
        shutil.rmtree(path.parent)
    else:
        path.rename(tmp_path / "logs" / "rotated-by-others.log")
    write(log, "after")
    assert path.read_text() == "after\n"


def test_a_log_is_private(log, tmp_path):
    write(log, "a text that somebody dropped")
    assert (tmp_path / "logs" / "runner.log").stat().st_mode & 0o777 == 0o600
