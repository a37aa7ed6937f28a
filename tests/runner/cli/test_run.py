"""Running an instance with a real engine process, and waiting for one of its jobs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from registry.jobs.values import JobStatus
from runner.cli.run import JobWaiter, run_daemon, run_once
from runner.config.instance import Instance
from runner.config.settings import Settings
from runner.errors import RunnerActive
from runner.submission.checked_job import checked_content
from runner.submission.drop_writer import submit_job
from runner.worker.daemon import Runner
from tests.patience import PATIENCE_S, wait_until
from tests.runner.worker.bench import MODEL, design, lock, speak


@pytest.fixture
def instance(tmp_path, monkeypatch):
    monkeypatch.setenv("VOICEJOBS_TEST_ENGINES", "1")
    made = Instance(tmp_path, Settings(model=MODEL, settle_s=0.0, min_free_bytes=0, scan_interval_s=0.05))
    made.prepare()
    return made


def drop(instance, name, text):
    (instance.inbox / name).write_text(text)


def status(instance, job):
    return json.loads((instance.outbox / job / "result.json").read_text())["status"]


def test_run_once_does_everything_and_its_exit_code_tells_how_it_went(instance):
    drop(instance, "a.toml", design())
    drop(instance, "b.toml", lock(job="a"))
    drop(instance, "c.toml", speak("Hello.", voice="elena"))
    assert run_once(instance) == 0
    drop(instance, "d.toml", speak("Hello.", voice="nobody"))
    assert run_once(instance) == 1
    assert status(instance, "c") == "done"


def test_waiting_does_the_work_itself_when_no_runner_is_there(instance):
    submitted = submit_job(
        instance, checked_content(speak("Hello.").encode(), file_name="hello.toml", folder=instance.root)
    )
    seen = []
    waiting = JobWaiter(instance, submitted)
    job = waiting.wait(on_progress=lambda listed, *_: seen.append(listed.job.status))
    assert job is not None
    assert job.status == JobStatus.DONE
    assert seen[-1] == "done"


def test_a_second_runner_is_refused_and_a_signal_stops_the_first(instance, monkeypatch):
    monkeypatch.setattr(
        "runner.worker.daemon.STOP_WITHIN_S", PATIENCE_S
    )  # else a slow machine ends the process of the tests
    handler = signal.getsignal(signal.SIGTERM)
    refused = []

    def second():
        wait_until(lambda: signal.getsignal(signal.SIGTERM) != handler, what="a runner that heeds signals")
        try:
            run_once(instance)
        except RunnerActive as error:
            refused.append(str(error))
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=second)
    thread.start()
    assert run_daemon(instance) == 0
    thread.join()
    assert str(os.getpid()) in refused[0]


def test_a_step_that_takes_too_long_is_abandoned_when_the_runner_is_told_to_stop(tmp_path):
    (tmp_path / "voicejobs.toml").write_text('model = "draft"\n')
    script = """
        import pathlib, time, runner.config.instance, runner.worker.daemon
        runner.worker.daemon.STOP_WITHIN_S = 0.2
        with runner.worker.daemon.Runner(runner.config.instance.open_instance(pathlib.Path.cwd())) as owner:
            owner.worker.tick = lambda now_s: (print("busy", flush=True), time.sleep(60))
            owner.run()
    """
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, "-c", textwrap.dedent(script)]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"busy\n"
        process.terminate()
        assert process.wait(PATIENCE_S) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("moment", ["first imports", "imports", "loop"])
def test_a_signal_ends_a_runner_with_exit_code_0_at_any_moment(tmp_path, number, moment):
    (tmp_path / "voicejobs.toml").write_text('model = "draft"\n')
    script = f"""
        import signal, sys, time, runner.cli
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests themselves may run under nohup
        def busy(*_, **__):
            print("busy", flush=True)
            time.sleep(0.2 if "{moment}" == "loop" else 60)
        if "{moment}" == "first imports":
            sys.meta_path.insert(0, type("Slow", (), dict(find_spec=busy)))
        elif "{moment}" == "imports":
            import runner.cli.commands.run
            runner.cli.commands.run._run = busy
        else:
            from runner.worker.worker import Worker
            Worker.tick = busy
        sys.argv = ["voicejobs", "run", "--quiet"]
        runner.cli.main()
    """
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, "-c", textwrap.dedent(script)]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"busy\n"
        process.send_signal(number)
        assert process.wait(PATIENCE_S) == 0


def test_a_runner_whose_parent_has_hangups_ignored_ignores_them(instance):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Runner(instance) as runner, runner._handled_signals():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
