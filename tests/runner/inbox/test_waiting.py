"""What lies in the inbox and is no job, and why, as any process can ask."""

import os
import time

import pytest

from runner.inbox.sightings import ANSWERED, AnsweredInPlace
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
    assert waiting.is_ignored and waiting.is_stuck
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
        assert not any(each.is_ignored or each.is_stuck for each in told(instance).values())
    os.utime(inbox / "b.toml", (2**32, 2**32))
    assert "just now" in told(instance)["b.toml"].reason


def test_what_is_written_for_too_long_is_stuck_and_comes_first(instance, inbox):
    drop(inbox, "b.toml")
    drop(inbox, "a.toml.part")
    (inbox / "story").mkdir()
    with drop(inbox, "story/job.toml").open("a"):
        waiting = waiting_in(instance, now_s=time.time() + 1_000)
    assert [(each.name, each.is_stuck) for each in waiting] == [
        ("a.toml.part", True), ("story", True), ("b.toml", False),
    ]  # fmt: skip
    assert waiting[1].reason.startswith("job.toml is still open")


def test_a_claim_that_is_no_job_yet_waits_too(instance, scanner, inbox):
    drop(inbox, "a.toml", 'kind = "synthesize"\nvoice = "preset:ryan"\ntext_file = "a.txt"')
    drop(inbox, "a.txt", "Hello.")
    with (inbox / "a.txt").open("a"):
        for now_s in range(4):
            assert scanner.tick(float(now_s)) == []
        waiting = waiting_in(instance, is_recorded=lambda _claim_id: False)
    assert {each.name: each.is_stuck for each in waiting} == {"a.toml": False, "a.txt": False}
    assert "claimed" in next(each.reason for each in waiting if each.name == "a.toml")
    assert {each.name for each in waiting_in(instance)} == {"a.txt"}


def test_what_was_refused_where_it_is_says_so(instance, inbox):
    path = drop(inbox, "a.toml")
    answered = AnsweredInPlace(instance.state_dir / ANSWERED)
    answered.remember("claim", path.name, [])
    answered.confirm("claim")
    assert told(instance)["a.toml"].is_stuck
    assert "permissions" in told(instance)["a.toml"].reason
