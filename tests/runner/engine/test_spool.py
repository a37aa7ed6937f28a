"""A spool file as the runner writes it and others read along."""

import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from models.protocol import SAMPLE_RATE_HZ
from runner.engine.spool import SpoolReader, SpoolState, SpoolWriter, clear_spool, spool_path
from runner.outbox.take_encoding import as_stored

LINE = {"job_id": 7, "position": 3}
PIECE = np.linspace(-0.5, 0.5, 2_400, dtype=np.float32)

WRITE_AND_HANG = """
import sys, numpy as np
from pathlib import Path
from runner.engine.spool import SpoolWriter
writer = SpoolWriter(Path(sys.argv[1]))
writer.append(np.ones(100, np.float32))
print("written", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def writer(folder: Path) -> SpoolWriter:
    return SpoolWriter(spool_path(folder, **LINE))


@pytest.fixture
def reader(folder: Path) -> SpoolReader:
    return SpoolReader(folder, **LINE)


def all_of(reader: SpoolReader) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.float32), *reader.pieces(threading.Event())])


def test_a_reader_waits_for_a_take_that_is_not_begun(folder: Path) -> None:
    reader = SpoolReader(folder, **LINE)
    assert reader.read().size == 0
    SpoolWriter(spool_path(folder, **LINE)).append(PIECE)
    assert reader.read().size == PIECE.size


def test_pieces_are_read_as_they_are_appended_and_as_the_take_will_keep_them(
    writer: SpoolWriter, reader: SpoolReader
) -> None:
    for number in range(3):
        writer.append(PIECE * number)
        assert np.array_equal(reader.read(), as_stored(PIECE * number))
        assert reader.read().size == 0
        assert reader.end is None
    writer.end(SpoolState.FINISHED)
    assert reader.read().size == 0
    assert reader.end is SpoolState.FINISHED


@pytest.mark.parametrize("state", [SpoolState.FINISHED, SpoolState.FAILED, SpoolState.RETRIED, SpoolState.DROPPED])
def test_a_reader_hears_everything_before_it_is_told_how_the_take_ended(
    state: SpoolState, writer: SpoolWriter, reader: SpoolReader
) -> None:
    writer.append(PIECE)
    reader.read()
    writer.append(PIECE)
    writer.end(state)
    writer.close()
    assert reader.read().size == PIECE.size
    assert reader.read().size == 0
    assert reader.end is state


def test_the_first_end_counts(writer: SpoolWriter, reader: SpoolReader) -> None:
    writer.append(PIECE)
    reader.read()
    writer.end(SpoolState.FAILED)
    writer.end(SpoolState.FINISHED)
    writer.close()
    assert all_of(reader).size == 0
    assert reader.end is SpoolState.FAILED


def test_a_take_that_nobody_has_heard_of_is_followed_by_the_next(folder: Path, reader: SpoolReader) -> None:
    first = SpoolWriter(spool_path(folder, **LINE))
    assert reader.read().size == 0
    first.end(SpoolState.RETRIED)
    first.close()
    assert reader.read().size == 0
    second = SpoolWriter(spool_path(folder, **LINE))
    second.append(PIECE)
    second.end(SpoolState.FINISHED)
    assert all_of(reader).size == PIECE.size
    assert reader.end is SpoolState.FINISHED


def test_a_take_that_was_heard_in_part_ends_when_it_is_tried_again(folder: Path, reader: SpoolReader) -> None:
    first = SpoolWriter(spool_path(folder, **LINE))
    first.append(PIECE)
    assert reader.read().size
    first.end(SpoolState.RETRIED)
    first.close()
    SpoolWriter(spool_path(folder, **LINE)).append(PIECE)
    assert reader.read().size == 0
    assert reader.end is SpoolState.RETRIED


def test_a_late_reader_of_a_long_take_gets_it_in_bounded_pieces(writer: SpoolWriter, reader: SpoolReader) -> None:
    for _ in range(10):
        writer.append(np.zeros(SAMPLE_RATE_HZ, np.float32))
    writer.end(SpoolState.FINISHED)
    sizes = [piece.size for piece in reader.pieces(threading.Event())]
    assert sum(sizes) == 10 * SAMPLE_RATE_HZ
    assert max(sizes) <= 2 * SAMPLE_RATE_HZ


def test_a_reader_learns_that_the_runner_was_killed(folder: Path, reader: SpoolReader) -> None:
    folder.mkdir()
    command = [sys.executable, "-c", WRITE_AND_HANG, str(reader.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as runner:
        assert runner.stdout is not None
        runner.stdout.readline()
        assert reader.read().size == 100
        assert reader.read().size == 0
        assert reader.end is None
        os.kill(runner.pid, signal.SIGKILL)
        runner.wait()
    assert all_of(reader).size == 0
    assert reader.end is SpoolState.DIED


def test_a_reader_that_is_stopped_knows_no_end(writer: SpoolWriter, reader: SpoolReader) -> None:
    stop = threading.Event()
    writer.append(PIECE)
    for piece in reader.pieces(stop):
        assert piece.size == PIECE.size
        stop.set()
    assert reader.end is None


def test_a_file_that_is_just_being_created_or_appended_to_is_read_in_whole_samples(
    folder: Path, reader: SpoolReader
) -> None:
    writer = SpoolWriter(spool_path(folder, **LINE))
    writer.append(PIECE)
    whole = reader.path.read_bytes()
    reader.path.unlink()
    reader.path.write_bytes(whole[:20])
    assert reader.read().size == 0
    reader.path.write_bytes(whole[: 32 + 4 * 100 + 3])
    assert reader.read().size == 100


def test_samples_that_are_no_numbers_are_heard_as_silence(writer: SpoolWriter, reader: SpoolReader) -> None:
    writer.append(np.array([0.5, np.nan], np.float32))
    assert reader.read()[1] == 0


def test_a_spool_file_is_private_and_goes_when_it_is_closed(folder: Path, writer: SpoolWriter) -> None:
    assert stat.S_IMODE(writer.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    writer.close()
    assert list(folder.iterdir()) == []


def test_what_a_dead_runner_left_is_removed(folder: Path, writer: SpoolWriter) -> None:
    assert list(folder.iterdir()) == [writer.path]
    clear_spool(folder)
    assert list(folder.iterdir()) == []


def test_the_runner_reads_any_part_of_what_it_has_written(writer: SpoolWriter) -> None:
    writer.append(PIECE)
    writer.append(PIECE)
    assert np.array_equal(writer.sound()[100:3_000], np.concatenate([PIECE, PIECE])[100:3_000])
    assert writer.sound()[4_700:9_999].size == 100
