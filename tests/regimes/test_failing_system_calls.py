"""The n-th write, fsync or rename of a runner fails: it goes on, or ends, and the next run finishes the work."""

import errno
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from runner.exit_codes import TRY_AGAIN
from tests.patience import wait_until
from tests.regimes.yard import Yard, a_seed, texts, undisturbed_hashes

CALLS = {"write": 40, "fsync": 20, "rename": 5}  # kind -> how many a run makes at least
ERRORS = {"EIO": errno.EIO, "ENOSPC": errno.ENOSPC}
JOBS = {"job-a": texts(3), "job-b": texts(2, start=3)}

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the calls are intercepted through LD_PRELOAD and /proc"),
    pytest.mark.skipif(shutil.which("gcc") is None, reason="the interceptor is compiled, and there is no gcc"),
]


@pytest.fixture(scope="session")
def interceptor(tmp_path_factory):
    library = tmp_path_factory.mktemp("interceptor") / "failing_calls.so"
    source = Path(__file__).with_name("failing_calls.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library


@pytest.fixture(scope="session")
def expected(tmp_path_factory):
    return undisturbed_hashes(tmp_path_factory.mktemp("undisturbed") / "yard", JOBS)


def fail(folder, interceptor, *, call, at, number, count=1):
    """Run once with that failure, then once without. Returns the yard and whether the failure happened."""
    yard = Yard(folder)
    for name, lines in JOBS.items():
        yard.drop(name, lines=lines)
    log = folder.parent / f"{folder.name}.failed"
    yard.drain(
        LD_PRELOAD=str(interceptor),
        FAIL_CALL=call,
        FAIL_AT=str(at),
        FAIL_COUNT=str(count),
        FAIL_ERRNO=str(number),
        FAIL_BELOW=str(folder),
        FAIL_LOG=str(log),
    )
    return yard, log.exists()


def assert_made_good(yard, expected):
    # A job whose folder could not be written is tried again a little later, which a quick next run does not wait for.
    wait_until(lambda: yard.drain() != TRY_AGAIN, what="the end of the work")
    yard.assert_sound()
    assert {name: receipt["status"] for name, receipt in yard.receipts().items()} == dict.fromkeys(JOBS, "done")
    assert yard.published() == expected


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("call", CALLS)
def test_a_call_that_fails_once_costs_no_line(tmp_path, interceptor, expected, call, error):
    at = random.Random(a_seed()).randint(1, CALLS[call])
    print(f"{call} number {at}")
    yard, failed = fail(tmp_path / "yard", interceptor, call=call, at=at, number=ERRORS[error])
    assert failed
    assert_made_good(yard, expected)


@pytest.mark.parametrize(("call", "at"), [("fsync", 5), ("rename", 3)])
def test_a_disk_that_refuses_everything_from_some_moment_on_costs_no_line(tmp_path, interceptor, expected, call, at):
    yard, failed = fail(tmp_path / "yard", interceptor, call=call, at=at, number=errno.ENOSPC, count=1_000_000)
    assert failed
    assert_made_good(yard, expected)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("call", CALLS)
def test_every_call_may_fail(tmp_path, interceptor, expected, call, error):
    at, failed = 0, True
    while failed:
        at += 1
        yard, failed = fail(tmp_path / f"yard{at}", interceptor, call=call, at=at, number=ERRORS[error])
        assert_made_good(yard, expected)
