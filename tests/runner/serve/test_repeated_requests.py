"""Requests that are sent again: by `Idempotency-Key`, over a runner that dies, and after a model was replaced."""

import shutil
from pathlib import Path

import pytest

from runner.config.instance import open_instance
from runner.serve.context import open_serve_context
from runner.serve.openai.speech_job import _planned
from runner.serve.openai.speech_request import speech_request
from tests.patience import PATIENCE_S, wait_until
from tests.runner.serve.served import Served, synthesize

CHECKPOINT = Path(__file__).parents[2] / "data" / "reference" / "custom_voice"
KEY = {"Idempotency-Key": "4f1a-of-a-client"}


def named(served):
    return [job["job"] for job in served.get("/api/jobs?limit=500").json["jobs"] if job["job"].startswith("request-")]


@pytest.mark.parametrize(
    "job", [synthesize("Sent twice."), 'kind = "synthesize"\nvoice = "ryan"\ntext = "Sent twice, in TOML."\n'], ids=type
)
def test_a_job_without_an_id_that_is_sent_again_under_its_key_is_the_first(served, job):
    key = {"Idempotency-Key": f'"{type(job)}"'}
    first = served.post_job(job, headers=key)
    again = served.post_job(job, headers=key)
    assert (first.status, again.status) == (202, 200)
    assert again.json["job"] == first.json["job"]


def test_another_job_under_the_same_key_is_refused(served):
    key = {"Idempotency-Key": "one-for-two"}
    assert served.post_job(synthesize("The first."), headers=key).status == 202
    assert served.post_job(synthesize("The second."), headers=key).status == 409


def test_an_id_of_the_job_itself_goes_before_the_key(served):
    answer = served.post_job(synthesize("It has its own.", id="its-own"), headers={"Idempotency-Key": "a key"})
    assert answer.json["job"] == "its-own"


def test_a_key_that_is_empty_or_endless_is_refused(served):
    for key in ('""', "k" * 300):
        assert served.post_job(synthesize("Unkeyed."), headers={"Idempotency-Key": key}).status == 400


def test_a_job_whose_runner_dies_before_it_records_it_and_whose_server_dies_after_is_done_once(tmp_path):
    served = Served(tmp_path / "instance")
    served.start_runner(VOICEJOBS_CRASH_AT="intake.claim-synced").start()
    try:
        lost = served.post_job(synthesize("Once."), headers=KEY)
        assert (lost.status, lost.error["code"]) == (503, "no-runner-now")
        served.runner.wait(PATIENCE_S)
        served.start_runner()
        wait_until(lambda: served.get("/health").status == 200, what="the second runner")
        first = served.post_job(synthesize("Once."), headers=KEY)
        served.server.kill()
        served.server.wait(PATIENCE_S)
        served.start()
        wait_until(lambda: served.get("/health").status == 200, what="the runner, seen again")
        again = served.post_job(synthesize("Once."), headers=KEY)
        assert first.status in (200, 202) and again.status == 200
        assert served.ended(again.json["job"])["status"] == "done"
        assert named(served) == [first.json["job"]] == [again.json["job"]]
    finally:
        served.stop()


def test_a_repeated_text_is_another_job_once_its_model_was_replaced(tmp_path):
    model = shutil.copytree(CHECKPOINT, tmp_path / "model")
    (tmp_path / "voicejobs.toml").write_text(f'model = "{model}"\n')
    context = open_serve_context(open_instance(tmp_path, environment={}))
    request = speech_request(b'{"input": "Good evening.", "voice": "ryan"}', context.settings)

    def name():
        with context.database.read() as session:
            return _planned(session, context, request)[1]

    first = name()
    assert name() == first
    shutil.copy(model / "model.safetensors", tmp_path / "other")
    (tmp_path / "other").replace(model / "model.safetensors")
    assert name() != first
    context.database.close()
