"""The commands on a real instance, with an engine that makes tones."""

import json
import logging
import os
import re
import threading
import time
from pathlib import Path

import pytest

from registry.jobs.requests import open_requests
from registry.registry import open_registry
from registry.voices.versions import add_version
from runner.cli.player import NoPlayer, PlaybackFailed, find_player, play
from runner.cli.program import run_command
from runner.config.instance import open_instance
from runner.config.settings import SETTINGS_FILE
from runner.jobfile.parse import parse_job
from runner.worker.daemon import Runner
from tests.patience import PATIENCE_S, wait_until
from tests.registry.making import a_version
from tests.runner.worker.bench import MODEL, Bench, design, lock, speak

SETTINGS = f'model = "{MODEL}"\nsettle_s = 0\nmin_free_bytes = 0\nscan_interval_s = 0.05\n'


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("VOICEJOBS_TEST_ENGINES", "1")
    monkeypatch.chdir(tmp_path)
    (tmp_path / SETTINGS_FILE).write_text(SETTINGS)
    open_instance(tmp_path).prepare()
    handlers, level = logging.root.handlers[:], logging.root.level
    yield tmp_path
    for handler in logging.root.handlers:
        if handler not in handlers:
            handler.close()
    logging.root.handlers[:], logging.root.level = handlers, level


@pytest.fixture
def run(root, capsys):  # noqa: ARG001 (the commands run in it)
    def call(*arguments: str):
        code = run_command(arguments)
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


@pytest.fixture
def registry(root):
    with open_registry(root / ".voicejobs") as opened:
        yield opened


@pytest.fixture
def elena(registry) -> str:
    with registry.db.write() as session:
        for job in ("first", "second"):
            add_version(session, a_version(made_by_job=job), now_s=time.time())
    return "elena"


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


# ---- submit ------------------------------------------------------------------------------------------------------


def test_submit_drops_a_checked_file_under_its_own_name(root, run):
    job = write(root, "jobs/hello.toml", speak("Hello."))
    assert run("submit", str(job))[0] == 0
    assert run("submit", str(job))[0] == 0
    dropped = {path.name for path in (root / "inbox").glob("*")}
    assert dropped == {"hello.toml", "hello-2.toml"}
    assert (root / "inbox" / "hello.toml").read_text() == job.read_text()


def test_submit_warns_that_the_active_runner_does_not_hear_set(root, run):
    job = write(root, "jobs/hello.toml", speak("Hello."))
    assert "--set" not in run("--set", "format=flac", "submit", str(job))[2]
    lock = open_instance(root).own()
    assert "--set does not change them" in run("--set", "format=flac", "submit", str(job))[2]
    lock.release()


def test_submit_drops_nothing_that_is_wrong(root, run):
    code, _, said = run("submit", str(write(root, "jobs/hello.toml", "kind = 1")))
    assert code == 1
    assert "hello.toml, line 1" in said
    assert list((root / "inbox").glob("*")) == []


def test_submit_packs_the_files_that_a_job_names(root, run):
    write(root, "jobs/elena.wav", "RIFF")
    job = write(root, "jobs/mine.toml", 'kind = "lock"\nvoice = "e"\naudio = "elena.wav"\ntranscript = "Hi."\n')
    assert run("submit", str(job))[0] == 0
    assert (root / "inbox" / "mine" / "mine.toml").read_text() == job.read_text()
    assert (root / "inbox" / "mine" / "elena.wav").read_text() == "RIFF"


def test_submit_names_the_job_file_of_a_folder_so_that_it_is_found(root, run):
    write(root, "jobs/text.json", "not a job, but a text to read out")
    job = write(root, "jobs/read.toml", 'kind = "synthesize"\nvoice = "ryan"\ntext_file = "text.json"\n')
    assert run("submit", "--wait", str(job))[0] == 0


def test_submit_takes_a_folder_by_its_name(root, run):
    write(root, "chapter/text.txt", "It was a dark night.")
    write(root, "chapter/job.toml", 'kind = "synthesize"\nvoice = "ryan"\ntext_file = "text.txt"\n')
    assert run("submit", "chapter")[0] == 0
    assert (root / "inbox" / "chapter" / "text.txt").exists()


def test_submit_wait_runs_the_instance_and_prints_the_files(root, run):
    job = write(root, "jobs/hello.toml", speak("Hello.", "Bye."))
    code, printed, _ = run("submit", "--wait", str(job))
    assert code == 0
    assert {Path(line).name for line in printed.split()} >= {"result.json", "line-1.wav", "track.wav", "hello.toml"}


def test_submit_wait_ends_as_the_job_does(root, run):
    job = write(root, "jobs/hello.toml", speak("Hello.", voice="nobody"))
    code, printed, _ = run("submit", "--wait", "--json", str(job))
    assert code == 1
    assert json.loads(printed)["status"] == "rejected"


def test_submit_reads_standard_input(run, monkeypatch):
    import io
    import sys

    text = json.dumps({"kind": "synthesize", "voice": "ryan", "text": "Hi."})
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    code, printed, _ = run("submit", "--wait", "--name", "from-a-pipe", "-")
    assert code == 0
    assert "outbox/from-a-pipe/result.json" in printed


# ---- run and jobs ------------------------------------------------------------------------------------------------


def test_run_once_drains_the_inbox(root, run):
    write(root, "inbox/a.toml", design())
    write(root, "inbox/b.toml", lock(job="a"))
    assert run("run", "--once", "--quiet")[0] == 0
    code, printed, _ = run("jobs", "list", "--json")
    assert code == 0
    assert {(job["job"], job["status"]) for job in json.loads(printed)} == {("a", "done"), ("b", "done")}


def test_a_second_runner_exits_with_4_and_says_who_holds_the_instance(root, run):
    lock = open_instance(root).own()
    code, _, said = run("run", "--once")
    lock.release()
    assert code == 4
    assert f"process {os.getpid()}" in said


def test_jobs_are_shown_with_their_errors_and_hints(root, run):
    write(root, "inbox/a.toml", speak("Hello.", voice="nobody"))
    assert run("run", "--once", "--quiet")[0] == 1
    _, listed, _ = run("jobs", "list")
    assert "rejected" in listed
    code, shown, _ = run("jobs", "show", "A")
    assert code == 0
    assert "nobody" in shown
    assert json.loads(run("jobs", "show", "a", "--json")[1])["error"]["code"]


def test_a_job_that_is_not_there_names_the_nearest(root, run):
    write(root, "inbox/scene-1.toml", speak("Hello."))
    run("run", "--once", "--quiet")
    code, _, said = run("jobs", "show", "scene1")
    assert code == 3
    assert "scene-1" in said


def test_cancel_and_retry_are_asked_of_the_next_runner(root, run):
    write(root, "inbox/a.toml", speak("Hello.", voice="elena"))
    write(root, "inbox/b.toml", lock(job="nothing"))
    run("run", "--once", "--quiet")
    assert run("jobs", "cancel", "a")[0] == 3
    assert run("jobs", "retry", "nobody")[0] == 3


def test_cancel_says_what_an_active_runner_made_of_it(root, run, monkeypatch):
    monkeypatch.setattr("runner.cli.run.ANSWERED_WITHIN_S", PATIENCE_S)
    bench = Bench(root)
    bench.drop("a.toml", speak("Hello."))
    bench.tick()

    def is_asked():
        with bench.context.database.read() as session:
            return open_requests(session)

    def obey():
        wait_until(is_asked, what="the request")
        bench.tick()

    owner, obeying = bench.instance.own(), threading.Thread(target=obey)
    obeying.start()
    assert "a: cancelled" in run("jobs", "cancel", "a")[2]
    obeying.join()
    owner.release()
    bench.context.database.close()


def test_prune_forgets_old_jobs(root, run):
    write(root, "inbox/a.toml", speak("Hello."))
    run("run", "--once", "--quiet")
    assert "0 jobs" in run("jobs", "prune", "--older-than", "1d")[1]
    assert "1 job would be" in run("jobs", "prune", "--older-than", "0s", "--dry-run")[1]
    assert json.loads(run("jobs", "prune", "--older-than", "0s", "--json")[1])["jobs"] == ["a"]
    assert list((root / "outbox").glob("*")) == []
    assert run("jobs", "prune", "--older-than", "soon")[0] == 2


# ---- voices ------------------------------------------------------------------------------------------------------


def test_what_is_in_the_inbox_and_no_job_is_listed_below_the_jobs(root, run):
    (root / "inbox" / "hello.toml.txt").touch()
    code, out, _ = run("jobs", "list")
    assert code == 0
    assert re.search(r"IN THE INBOX.*\nhello.toml.txt .*is that of no job", out)
    assert json.loads(run("jobs", "list", "--json")[1]) == []
    code, out, _ = run("doctor", "--json")
    finding = next(each for each in json.loads(out)["findings"] if each["check"] == "waiting")
    assert (code, finding["severity"]) == (1, "warning")
    assert finding["message"].startswith("hello.toml.txt: ")


def test_a_long_inbox_is_listed_shortly(root, run):
    for number in range(15):
        (root / "inbox" / f"{number}.wav").touch()
    assert "and 5 more" in run("jobs", "list")[1]


def test_voices_are_listed_and_shown(run, elena):
    assert "elena" in run("voices", "list")[1]
    [listed] = json.loads(run("voices", "list", "--json")[1])
    assert (listed["name"], listed["current"], listed["versions"]) == (elena, 2, 2)
    shown = json.loads(run("voices", "show", "elena@1", "--json")[1])
    assert (shown["name"], shown["aliases"], shown["speaker_embedding_size"]) == ("elena@1", [], 3)
    assert shown["digest"].startswith("sha256:")  # as receipts write it
    assert "elena@2 (current)" in run("voices", "show", "ELENA")[1]


def test_an_unknown_voice_names_the_nearest(run, elena):
    code, _, said = run("voices", "show", "elen")
    assert code == 3
    assert elena in said


@pytest.mark.usefixtures("elena")
def test_the_history_and_the_difference_of_versions_are_told(run):
    history = json.loads(run("voices", "history", "elena", "--json")[1])
    assert [version["name"] for version in history["versions"]] == ["elena@2", "elena@1"]
    assert "current" in run("voices", "history", "elena")[1]
    found = json.loads(run("voices", "diff", "elena@1", "elena@2", "--json")[1])
    assert found["speaker_cosine"] == pytest.approx(1)
    assert "made_by_job: first → second" in run("voices", "diff", "elena@1", "elena@2")[1]


@pytest.mark.usefixtures("elena")
def test_aliases_are_set_shown_and_removed(run):
    assert run("voices", "alias", "elena@1", "warm")[0] == 0
    assert "warm" in run("voices", "alias", "elena")[1]
    assert run("voices", "alias", "elena", "warm", "--remove")[0] == 0
    assert {alias["name"] for alias in json.loads(run("voices", "alias", "elena", "--json")[1])} == {"current"}
    assert run("voices", "alias", "elena@1", "7")[0] == 2


@pytest.mark.usefixtures("elena")
def test_a_version_is_removed_and_brought_back(run):
    assert run("voices", "rm", "elena")[0] == 2
    assert run("voices", "rm", "elena@2")[0] == 3
    assert run("voices", "rm", "elena@1", "--why", "too old")[0] == 0
    assert "too old" in run("voices", "show", "elena@1")[1]
    assert run("voices", "restore", "elena@1")[0] == 0


@pytest.mark.usefixtures("elena")
def test_fsck_tells_what_is_lost(run):
    code, found, said = run("voices", "fsck")
    assert code == 1
    assert "elena@1" in found
    assert "lost" in said
    assert run("voices", "gc", "--dry-run")[0] == 0


def test_relock_is_a_job(root, run):
    write(root, "inbox/a.toml", design())
    write(root, "inbox/b.toml", lock(job="a"))
    run("run", "--once", "--quiet")
    code, _, said = run("voices", "relock", "elena", "--model", MODEL, "--wait")
    assert (code, said.strip()) == (0, "elena@2")
    assert json.loads(run("voices", "list", "--json")[1])[0]["current"] == 1


def test_play_writes_the_recording_of_a_version(root, run):
    write(root, "inbox/a.toml", design())
    write(root, "inbox/b.toml", lock(job="a"))
    run("run", "--once", "--quiet")
    assert run("voices", "play", "elena", "-o", "elena.wav")[0] == 0
    assert (root / "elena.wav").read_bytes()[:4] == b"RIFF"


def test_the_player_is_whatever_the_system_has(tmp_path):
    assert find_player(lambda name: f"/bin/{name}" if name == "aplay" else None) == ["/bin/aplay", "--quiet"]
    with pytest.raises(NoPlayer, match="afplay"):
        find_player(lambda _: None)
    play(tmp_path, player=["true"])
    with pytest.raises(PlaybackFailed, match="ls failed"):
        play(tmp_path / "absent", player=["ls"])


# ---- backup and restore ------------------------------------------------------------------------------------------


def test_what_was_backed_up_is_restored_elsewhere(root, run, tmp_path_factory):
    write(root, "inbox/a.toml", design())
    write(root, "inbox/b.toml", lock(job="a"))
    run("run", "--once", "--quiet")
    assert run("backup", "voices.backup")[0] == 0
    other = tmp_path_factory.mktemp("other")
    (other / SETTINGS_FILE).write_text(SETTINGS)
    assert run("--root", str(other), "restore", str(root / "voices.backup"))[0] == 0
    assert run("--root", str(other), "restore", str(root / "voices.backup"))[0] == 3
    assert run("--root", str(other), "restore", "--replace", str(root / "voices.backup"))[0] == 0
    write(other, "inbox/c.toml", speak("Hello.", voice="elena@1"))
    assert run("--root", str(other), "run", "--once", "--quiet")[0] == 0


def test_a_job_that_a_backup_knows_as_open_is_not_answered_any_more(root, run):
    bench = Bench(root)
    bench.drop("hello.toml", speak("One."))
    bench.worker.drops.tick(bench.now_s)
    assert run("backup", "voices.backup")[0] == 0
    bench.run()
    bench.context.database.close()
    assert run("restore", "--replace", "voices.backup")[0] == 0
    assert "result.1.json" in bench.files("hello")
    assert "result.json" not in bench.files("hello")


def test_the_jobs_that_commands_make_are_job_files_like_any_other():
    content = json.dumps({"kind": "relock", "voice": "elena@1", "set_current": False}).encode()
    assert parse_job(content, file_name="relock-elena.json").kind == "relock"


def test_a_credential_in_a_job_file_is_not_shown(root, run):
    secret = "hf_abcdefghijklmnopqrstuv"
    job = write(root, "jobs/hello.toml", speak("Hello.") + f'[metadata]\nnote = "{secret}"\n')
    assert run("submit", str(job))[0] == 0
    run("run", "--once", "--quiet")
    code, out, _ = run("jobs", "show", "hello", "--json")
    assert (code, secret in out) == (0, False)


# ---- a person's first minutes ------------------------------------------------------------------------------------


def test_whoever_looks_at_open_jobs_learns_that_nobody_works_on_them(root, run):
    job = write(root, "jobs/hello.toml", speak("Hello."))
    assert "No runner is active" in run("submit", str(job))[2]
    with Runner(open_instance(root)) as runner:
        runner.worker.recover(0.0)
        for now_s in (0.0, 1.0):
            runner.worker.tick(now_s)
        assert "No runner" not in run("submit", str(job))[2]
        assert "No runner" not in run("jobs", "list")[2]
        assert "wait" in json.loads(run("jobs", "list", "--json")[1])[0]
    assert json.loads(run("jobs", "list", "--json")[1])[0]["wait"] == {"for": "runner", "why": "no runner is active"}
    assert "waits (runner): no runner is active" in run("jobs", "show", "hello")[1]
    for command in (["list"], ["list", "--json"], ["show", "hello"]):
        code, out, err = run("jobs", *command)
        assert (code, "hello" in out, "No runner is active" in err) == (0, True, True)


def test_the_folder_that_one_stands_in_is_called_by_its_name(root, run, monkeypatch):
    write(root, "scene/a.toml", speak("Hello."))
    write(root, "scene/b.toml", speak("Hello."))
    monkeypatch.chdir(root / "scene")
    assert "The folder scene has several job files: a.toml, b.toml." in run("submit", ".")[2]


@pytest.mark.parametrize("name", ["../elsewhere", "a/b", ".hidden"])
def test_a_drop_is_never_given_a_name_that_hides_it_or_leads_elsewhere(root, run, name):
    job = write(root, "jobs/hello.toml", speak("Hello."))
    before = sorted(root.iterdir())
    code, _, err = run("submit", "--name", name, str(job))
    assert (code, "cannot be the name of a drop" in err) == (2, True)
    assert sorted(root.iterdir()) == before
    assert not [path for path in (root / "inbox").iterdir() if path.is_file()]


def test_a_job_that_is_done_is_retried_only_when_files_of_it_are_gone(root, run):
    job = write(root, "jobs/hello.toml", speak("Hello.", "World."))
    assert run("submit", "--wait", str(job))[0] == 0
    code, _, err = run("jobs", "retry", "hello")
    assert code != 0
    assert "only partial, failed and cancelled jobs can be retried, and done ones whose files are gone" in err
    (root / "outbox" / "hello" / "line-1.wav").unlink()
    assert run("jobs", "retry", "hello")[0] == 0
    assert run("run", "--once")[0] == 0
    assert (root / "outbox" / "hello" / "line-1.wav").exists()
