"""Waiting for other processes and threads, on a machine that may be slow and busy: long, but no longer than needed."""

import time

import psutil

PATIENCE_S = 200.0


def wait_until(condition, *, what="the condition"):
    """Poll a fact about other processes or threads; they give no other sign."""
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s, f"{what} did not come true within {PATIENCE_S:g} s"
        time.sleep(0.005)


def has_ended(process):
    """Whether a process (psutil's, somebody's child) does nothing any more: it is gone, or waits to be reaped."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
