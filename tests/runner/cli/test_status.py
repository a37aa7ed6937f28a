"""`voicejobs status` and `logs`."""

from __future__ import annotations

import json
import os

import pytest

from runner.cli.program import run_command
from runner.exit_codes import NEEDS_ACTION, OK, USAGE
from tests.runner.worker.bench import Bench, speak


def run(capsys, root, *arguments):
    code = run_command(["--root", str(root), *arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def instance_with_a_job(tmp_path, monkeypatch):
    monkeypatch.setenv("VOICEJOBS_TEST_ENGINES", "1")
    tmp_path.mkdir(exist_ok=True)
    (tmp_path / "voicejobs.toml").write_text("", encoding="utf-8")
    bench = Bench(tmp_path)
    bench.drop("hello.toml", speak("One.", "Two."))
    bench.tick()
    return bench


def test_without_a_runner_it_says_so_and_how_to_start_one(tmp_path, monkeypatch, capsys):
    instance_with_a_job(tmp_path, monkeypatch)
    code, out, err = run(capsys, tmp_path, "status")
    assert code == NEEDS_ACTION
    assert "no runner" in out
    assert "voicejobs" in err and "run" in err


def test_with_a_runner_it_shows_what_is_being_spoken(tmp_path, monkeypatch, capsys):
    bench = instance_with_a_job(tmp_path, monkeypatch)
    with bench.instance.own():
        code, out, _ = run(capsys, tmp_path, "status", "--json")
    found = json.loads(out)
    assert code == OK
    assert (found["runner"], found["running"][0]["job"], found["running"][0]["lines"]["total"]) == (True, "hello", 2)


def test_a_new_instance_has_nothing_to_do(tmp_path, capsys):
    (tmp_path / "voicejobs.toml").write_text("", encoding="utf-8")
    code, out, _ = run(capsys, tmp_path, "status")
    assert (code, "nothing to do" in out) == (NEEDS_ACTION, True)
    assert not (tmp_path / ".voicejobs").exists()


def test_the_end_of_a_log(tmp_path, capsys):
    (tmp_path / "voicejobs.toml").write_text("", encoding="utf-8")
    code, out, err = run(capsys, tmp_path, "logs")
    assert (code, out, "no log yet" in err) == (OK, "", True)
    folder = tmp_path / ".voicejobs" / "logs"
    folder.mkdir(parents=True)
    (folder / "runner.log").write_text("".join(f"line {number}\n" for number in range(100)), encoding="utf-8")
    assert run(capsys, tmp_path, "logs", "-n", "2")[1] == "line 98\nline 99\n"
    assert run(capsys, tmp_path, "logs", "--engine", "--server")[0] == USAGE


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
@pytest.mark.parametrize("command", [("logs",), ("logs", "-f"), ("run", "--once")])
def test_something_else_in_the_place_of_a_log_is_said_and_holds_nothing_up(tmp_path, capsys, make, command):
    (tmp_path / "voicejobs.toml").write_text("", encoding="utf-8")
    log = tmp_path / ".voicejobs" / "logs" / "runner.log"
    log.parent.mkdir(parents=True)
    make(log)
    code, _, err = run(capsys, tmp_path, *command)
    assert code == NEEDS_ACTION
    assert str(log) in err and "move it away" in err
