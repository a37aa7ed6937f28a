"""What lies in the inbox and is no job, and why, as any process can ask."""

import os
import time

import pytest

from runner.inbox.waiting import waiting_in
from tests.runner.inbox.dropping import drop

LATER_S = 60.0  # when everything has settled


def told(instance):
    return {waiting.name: waiting for waiting in waiting_in(instance, now_s=time.time() + LATER_S)}


@pytest.mark.parametrize(
    "name", ["hello.toml.txt", "scene.yaml", "scene.YML", "job.json5", "a.toml_", "b.toml ", "c.jsn"]
)
def test_a_name_that_was_meant_for_a_job_is_told_with_a_remedy(instance, scanner, inbox, caplog, name):
    drop(inbox, name)
    for now_s in range(4):
        scanner.tick(float(now_s))
    waiting = told(instance)[name]
    assert waiting.is_ignored
    assert "Only .toml, .json and folders are jobs" in waiting.reason
    assert caplog.text.count("is left alone") == 1


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("elena.wav", "no job has named it"),
        ("hello.toml.part", "still being written"),
        ("hello.toml~", "editor"),
        ("pictures/cover.png", "no job file is at its top"),
    ],
)
def test_everything_that_is_left_alone_says_why(instance, inbox, name, said):
    drop(inbox, name)
    assert said in told(instance)[name.split("/")[0]].reason


def test_files_of_systems_and_hidden_ones_are_not_listed(instance, inbox):
    for name in (".DS_Store", "Thumbs.db", "desktop.ini"):
        drop(inbox, name)
    assert told(instance) == {}


def test_a_job_that_waits_says_for_what(instance, inbox):
    with drop(inbox, "a.toml").open("a"):
        drop(inbox, "b.toml")
        assert "open for writing" in told(instance)["a.toml"].reason
        assert "a runner will take it" in told(instance)["b.toml"].reason
        assert [each.is_ignored for each in told(instance).values()] == [False, False]
    os.utime(inbox / "b.toml", (2**32, 2**32))
    assert "just now" in told(instance)["b.toml"].reason
