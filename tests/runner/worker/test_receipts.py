"""Receipts against their published schema."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import get_args

import jsonschema
import pytest

from registry.jobs import jobs
from registry.jobs.requests import add_request
from registry.jobs.values import CANCEL
from runner.jobfile.specs import JobSpec
from runner.outbox.receipt import timings
from tests.runner.worker.bench import design, lock, speak

SCHEMA = json.loads((Path(__file__).parents[3] / "docs" / "receipt.schema.json").read_text())


def check(receipt):
    jsonschema.Draft202012Validator(SCHEMA).validate(receipt)


def every_receipt(bench):
    return {path.parent.name: json.loads(path.read_text()) for path in bench.instance.outbox.glob("*/result*.json")}


def test_receipts_of_every_kind_and_outcome_keep_to_the_schema(bench):
    bench.engine.lose = lambda work: getattr(work, "text", "") == "Boom."
    bench.drop("d.toml", design(metadata={}), age_s=9)
    bench.drop("l.toml", lock(job="d"), age_s=8)
    bench.drop("s.toml", speak("One.", "Boom.", voice="elena", id="ep1"), age_s=7)
    bench.drop("broken.toml", "kind =")
    bench.drop("wrong.toml", speak("One.", voice="nobody"))
    bench.drop("late.toml", lock(job="d", candidate=9), age_s=1)
    bench.run()
    bench.drop("again.toml", speak("One.", id="ep2"))
    bench.run()
    bench.drop("again.toml", speak("One.", id="ep2"))
    bench.drop("stop.toml", speak("One more."))
    bench.tick()
    with bench.context.database.write() as session:
        add_request(session, "stop", CANCEL, now_s=1)
    bench.run()
    receipts = every_receipt(bench)
    for receipt in receipts.values():
        check(receipt)
    statuses = {receipt["status"] for receipt in receipts.values()}
    assert statuses == {"done", "partial", "rejected", "duplicate", "cancelled"}


def test_the_schema_knows_every_kind_of_job():
    kinds = {get_args(spec.model_fields["kind"].annotation)[0] for spec in get_args(JobSpec)}
    assert set(SCHEMA["properties"]["kind"]["enum"]) == kinds | {"unknown"}


def test_the_fixed_keys_are_always_there(bench):
    bench.drop("broken.json", "{")
    bench.run()
    fixed = {"schema", "job", "kind", "status", "error", "warnings", "lines", "candidates", "voice"}
    assert fixed <= bench.receipt("broken").keys()
    assert bench.receipt("broken")["schema"] == 1


def test_the_metadata_of_a_job_comes_back(bench):
    bench.drop(
        "a.json", json.dumps({"kind": "synthesize", "voice": "ryan", "text": "Hi.", "metadata": {"x": [1, None]}})
    )
    bench.run()
    assert bench.receipt("a")["metadata"] == {"x": [1, None]}


@pytest.mark.parametrize("key", ["digest", "name", "version"])
def test_a_lock_names_the_version_it_made(bench, key):
    bench.drop("d.toml", design(), age_s=9)
    bench.drop("l.toml", lock(job="d"))
    bench.run()
    assert bench.receipt("l")["voice"][key]


def test_no_job_ran_for_less_than_no_time_although_the_clock_was_set_back(bench):
    bench.drop("hello.toml", speak("One."))
    bench.run()
    with bench.context.database.read() as session:
        job = jobs.by_name(session, "hello")
    earlier = dataclasses.replace(job, finished_s=job.claimed_s - 3600)
    found = timings(earlier, audio_s=0.0, render_s=0.0)
    assert (found["waited_s"], found["ran_s"]) == (0, 0)
