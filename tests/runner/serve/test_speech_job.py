"""Who listens to a job of the server's, and when one is cancelled; in an instance without a runner."""

import anyio
import pytest

from registry.jobs import jobs, lines
from registry.jobs.requests import open_requests
from registry.jobs.values import JobStatus, NewJob, NewLine
from runner.config.instance import open_instance
from runner.serve.context import open_serve_context
from runner.serve.openai.speech_job import SpeechJobs
from tests.registry.making import REQUEST_JSON

NEW = NewJob(
    stem="speech", dropped_name="speech.json", kind="synthesize", content_sha256="0" * 64, spec_json="{}", claimed_s=1
)
LINES = [NewLine(position=n, file=f"line-{n}.wav", model="draft", request_json=REQUEST_JSON, seed=n) for n in (1, 2)]


@pytest.fixture
def context(tmp_path):
    (tmp_path / "voicejobs.toml").touch()
    context = open_serve_context(open_instance(tmp_path, environment={}))
    yield context
    context.database.close()


@pytest.fixture
def job(context):
    with context.database.write() as session:
        return jobs.add(session, NEW)


def speak(context, job, *, spoken):
    """Plan the job, and have the first of its lines spoken."""
    with context.database.write() as session:
        jobs.start(session, job, plan={}, model="draft", lines=LINES, now_s=2)
        made = [line.id for line in lines.of_job(session, job.id)][:spoken]
        lines.set_taken(session, [lines.TakenLine(line_id=each, take_key="k", result={}) for each in made])


def listen(context, job, *, how_many=1):
    """As many clients listen to the job as asked for, and go; returns whether it is to be cancelled."""

    async def come_and_go():
        listeners = SpeechJobs(context)
        async with anyio.create_task_group() as group:

            async def one():
                async with listeners.listening(job):
                    await anyio.lowlevel.checkpoint()

            for _ in range(how_many):
                group.start_soon(one)

    anyio.run(come_and_go)
    with context.database.read() as session:
        return [request.job_id for request in open_requests(session)] == [job.id]


def test_a_job_that_has_not_begun_is_cancelled_when_its_last_listener_goes(context, job):
    assert listen(context, job, how_many=3)


def test_a_job_with_a_line_left_to_speak_is_cancelled_when_its_last_listener_goes(context, job):
    speak(context, job, spoken=1)
    assert listen(context, job)


def test_a_job_of_which_only_the_receipt_is_missing_is_not_cancelled(context, job):
    speak(context, job, spoken=2)
    assert not listen(context, job)


def test_a_job_that_has_ended_is_not_cancelled(context, job):
    with context.database.write() as session:
        jobs.set_outcome(session, job.id, JobStatus.FAILED, now_s=2)
    assert not listen(context, job)
