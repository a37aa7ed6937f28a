"""Signs of life while other code computes, and the end of it."""

import signal
import time

import pytest

from models.mlx_audio.pulse import Stopped, pulse
from tests.patience import PATIENCE_S


def compute_until(is_over):
    end_s = time.monotonic() + PATIENCE_S
    while not is_over() and time.monotonic() < end_s:
        pass


def test_the_function_is_called_while_other_code_computes():
    calls = []
    with pulse(lambda: calls.append(1) is None):
        compute_until(lambda: len(calls) == 2)
    assert len(calls) == 2


def test_code_that_nobody_wants_any_more_is_stopped_though_it_catches_exceptions():
    def stubborn():
        while True:
            try:
                compute_until(lambda: False)
            except Exception as error:
                raise AssertionError("it was caught") from error

    with pytest.raises(Stopped), pulse(lambda: False):
        stubborn()


def test_a_timer_and_a_handler_from_before_are_there_again_afterwards():
    before = signal.getsignal(signal.SIGALRM)
    left_s, _ = signal.getitimer(signal.ITIMER_REAL)
    with pulse(lambda: True):
        assert signal.getsignal(signal.SIGALRM) is not before
    assert signal.getsignal(signal.SIGALRM) is before
    assert (signal.getitimer(signal.ITIMER_REAL)[0] > 0) == (left_s > 0)
