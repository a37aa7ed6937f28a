"""The doctor: what it looks at, and what it finds."""

import contextlib
import dataclasses
import json
import re
import shutil
import sqlite3
import sys
import time
from pathlib import Path

import pytest

from models.errors import NotEnoughMemory
from models.hardware import blas, compute
from registry.registry import open_registry
from registry.storage.database import Database
from registry.voices.versions import add_version
from runner.cli.program import run_command
from runner.config.instance import Instance
from runner.config.settings import SETTINGS_FILE, Settings
from runner.doctor import checks as doctor
from runner.doctor import engine_checks, place_checks
from runner.doctor.engine_trial import SelftestAnswer, last_words, model_folder, speak_once
from tests.models.store.making import speech_model
from tests.registry.making import a_version
from tests.runner.worker.bench import MODEL

REPORT = {
    "device": "cuda", "backend": "mlx", "dtype": "bfloat16", "tf32": True, "gaps": {"hidden": 0.02},
    "tolerances": {"hidden": 1e-3}, "differing": {"codes": 3},
}  # fmt: skip


@pytest.fixture
def instance(tmp_path, monkeypatch) -> Instance:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACERVO_MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / SETTINGS_FILE).write_text("min_free_bytes = 1\n")
    made = Instance(tmp_path, Settings(min_free_bytes=1))
    made.prepare()
    made.inbox.chmod(0o755)
    return made


def found(instance: Instance, check: str) -> set[str]:
    return {finding.severity for finding in doctor.examine(instance) if finding.check == check}


def test_a_healthy_instance_gives_no_finding(instance, capsys):
    Database.open(instance.database_path).close()
    findings = doctor.examine(instance)
    assert [finding for finding in findings if finding.counts] == []
    assert {finding.check for finding in findings} == set(doctor.CHECKS) - set(doctor.ENGINE_CHECKS)
    assert run_command(["doctor"]) == 0
    assert "0 findings" in capsys.readouterr().out


def test_an_instance_that_never_ran_has_nothing_to_mend(tmp_path):
    checks = ("folders", "inbox-rights", "free-space", "database", "runner")
    assert [
        found for found in doctor.examine(Instance(tmp_path, Settings())) if found.check in checks and found.counts
    ] == []


def test_every_finding_names_a_remedy(instance):
    instance.inbox.chmod(0o777)
    short = Instance(instance.root, Settings(min_free_bytes=2**62, outbox="absent"))
    counted = [finding for finding in doctor.examine(short) if finding.counts]
    assert {finding.check for finding in counted} == {"folders", "inbox-rights", "free-space"}
    assert all(finding.remedy for finding in counted)


def test_findings_make_the_exit_code_1(instance, capsys):
    instance.inbox.chmod(0o777)
    assert run_command(["doctor", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert not report["ok"]
    assert "chmod o-w" in next(item["remedy"] for item in report["findings"] if item["check"] == "inbox-rights")


@pytest.mark.usefixtures("instance")
def test_the_checks_are_listed(capsys):
    assert run_command(["doctor", "--list-checks"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in doctor.CHECKS)


def test_a_damaged_database_is_found(instance):
    Database.open(instance.database_path).close()
    content = bytearray(instance.database_path.read_bytes())
    content[5_000:9_000] = b"\xff" * 4_000
    instance.database_path.write_bytes(content)
    assert found(instance, "database") == {"problem"}


def test_a_clock_that_was_set_back_is_found(instance):
    Database.open(instance.database_path).close()
    with contextlib.closing(sqlite3.connect(instance.database_path)) as connection, connection:
        connection.execute(
            "INSERT INTO job (name, folded, stem, suffix, kind, status, content_sha256, spec_json, dropped_name, "
            "claimed_s) VALUES ('a', 'a', 'a', 1, 'design', 'done', '', '{}', 'a', ?)",
            (time.time() + 86_400,),
        )
    assert found(instance, "clock") == {"warning"}


def test_a_database_on_a_network_disk_is_found(instance, monkeypatch):
    monkeypatch.setattr(place_checks, "file_system_of", lambda _: "nfs4")
    assert found(instance, "local-disk") == {"problem", "note"}


def test_the_file_system_of_a_folder_is_known(tmp_path):
    assert place_checks.file_system_of(tmp_path) != ""


@pytest.mark.parametrize(
    ("folder", "guard"),
    [("Documents/voices", "Documents"), ("Library/Mobile Documents/x", "Library/Mobile Documents"), ("voices", None)],
)
def test_the_folders_that_macos_guards_are_known(tmp_path, folder, guard):
    assert place_checks.guarded_by(tmp_path / folder, tmp_path) == guard


def test_what_the_inbox_left_over_is_told(instance):
    instance.rejected_dir.mkdir()
    (instance.rejected_dir / "bad.toml").touch()
    assert "note" in found(instance, "left-over")


def test_an_active_runner_is_named(instance):
    lock = instance.own()
    assert found(instance, "runner") == {"ok"}
    lock.release()
    assert found(instance, "runner") == {"note"}


def test_a_trial_speaks_a_sentence_in_a_process_of_its_own(instance, monkeypatch):
    monkeypatch.setenv("VOICEJOBS_TEST_ENGINES", "1")
    trial = speak_once(instance, MODEL)
    assert (trial.problem, trial.duration_s > 1) == ("", True)


@pytest.mark.parametrize("opener", ["open_engine", "open_at_once"])
def test_an_engine_that_dies_in_a_trial_is_a_problem_with_a_remedy(instance, monkeypatch, opener):
    monkeypatch.setenv("VOICEJOBS_TEST_ENGINES", "1")
    dying = Instance(instance.root, Settings(model=f"tests.engines.dying:{opener}", min_free_bytes=1))
    ((severity, message, remedy),) = engine_checks.ENGINE_CHECKS["model-speaks"][1](dying)
    assert severity == "problem" and "does not speak: The engine" in message and "SIGABRT" in message
    assert remedy


def test_a_trial_of_a_model_that_is_not_here_downloads_nothing(instance):
    trial = speak_once(instance, "qwen3-tts-0.6b-base")
    assert trial.not_here
    assert not Path(instance.root / "models").exists() or not any(Path(instance.root / "models").iterdir())


def test_no_second_engine_is_started_beside_a_runner_where_memory_does_not_hold_it(instance, monkeypatch):
    folder = speech_model(instance.root / "model")
    monkeypatch.setattr("models.store.memory.available_bytes", lambda: (0, "meminfo"))
    assert model_folder(instance, str(folder)) == folder
    lock = instance.own()
    with pytest.raises(NotEnoughMemory, match="A runner is active"):
        model_folder(instance, str(folder))
    lock.release()


def test_every_choice_of_how_to_compute_is_told_with_who_made_it(instance):
    asked = Instance(instance.root, Settings(min_free_bytes=1, formulation="mlx", batch=3, blas="wheel"))
    by_rule, by_wish = (next(f for f in doctor.examine(each) if f.check == "computing") for each in (instance, asked))
    assert "all by rule" in by_rule.message
    assert "network by mlx, convolutions by mlx" in by_wish.message
    assert "3 lines together; set: formulation, batch, blas." in by_wish.message


def test_the_self_test_says_how_far_every_stage_is_off(instance):
    findings = list(engine_checks.ENGINE_CHECKS["self-test"][1](instance))
    assert {severity for severity, _, _ in findings} == {"ok"}
    assert all("without TF32" in message and "codes 0 differ" in message for _, message, _ in findings)
    assert all(re.search(r"waveform \d\.\de-\d+ of 1e-03", message) for _, message, _ in findings)


@pytest.mark.parametrize(("sane", "severity"), [(True, "note"), (False, "problem")])
def test_lost_precision_is_a_note_and_nonsense_a_problem(sane, severity):
    choices = dataclasses.asdict(compute.choose("cuda"))
    answer = SelftestAnswer(choices=choices, reports=({**REPORT, "passed": False, "sane": sane},))
    ((found_severity, message, _),) = engine_checks.judged_production(answer)
    assert found_severity == severity
    assert "hidden 2.0e-02 of 1e-03, codes 3 differ" in message


def test_a_process_that_hung_says_where():
    dump = 'Timeout (0:01:30)!\nThread 0x1 (most recent call first):\n  File "a.py", line 3 in eval\n'
    assert last_words(dump) == 'it hung: File "a.py", line 3 in eval'
    assert last_words("Traceback\nImportError: no mlx\n") == "ImportError: no mlx"
    assert last_words("") == ""


def test_settings_that_cannot_go_together_are_a_problem_and_no_crash(instance):
    wrong = Instance(instance.root, Settings(dtype="float16", formulation="numpy", min_free_bytes=1))
    (finding,) = [each for each in doctor.examine(wrong) if each.check == "computing"]
    assert finding.severity == "problem"
    assert "float16" in finding.message
    assert "dtype" in finding.remedy


@pytest.mark.skipif(sys.platform != "linux", reason="MLX brings a fast library elsewhere")
def test_what_was_measured_is_shown_also_where_it_cannot_be_kept(instance, monkeypatch):
    blocked = instance.root / "voicejobs.toml" / "cache"
    monkeypatch.setenv("VOICEJOBS_CACHE_DIR", str(blocked))
    monkeypatch.setattr(compute, "likely_device", lambda: compute.CPU)
    monkeypatch.setattr(blas, "_measured_apart", lambda _: {"1": 7.25})
    monkeypatch.setattr(blas, "MEASURED_FOR_S", 0.0)
    findings = list(engine_checks.ENGINE_CHECKS["blas-speed"][1](instance))
    assert "7.25 at 1 row " in findings[0][1]
    ((severity, message, remedy),) = [finding for finding in findings if finding[0] != "ok"]
    assert (severity, str(blocked) in message) == ("warning", True)
    assert "VOICEJOBS_CACHE_DIR" in remedy


@pytest.mark.slow
def test_every_engine_check_passes_here(instance):
    findings = [each for each in doctor.examine(instance, engine=True) if each.check in doctor.ENGINE_CHECKS]
    assert {finding.check for finding in findings} == set(doctor.ENGINE_CHECKS)
    assert [finding for finding in findings if finding.counts] == []


def remove(path: Path):
    path.unlink()


def empty(path: Path):
    path.write_bytes(b"")


def make_noise(path: Path):
    path.write_bytes(b"noise" * 9_999)


def make_folder(path: Path):
    path.unlink()
    path.mkdir()


def remove_state_folder(path: Path):
    shutil.rmtree(path.parent)


@pytest.mark.parametrize("break_it", [remove, empty, make_noise, make_folder, remove_state_folder])
def test_a_broken_registry_is_a_problem_with_a_remedy_and_no_traceback(instance, break_it, capsys):
    Database.open(instance.database_path, root=instance.root).close()
    break_it(instance.database_path)
    told = [finding for finding in doctor.examine(instance) if finding.check == "database"]
    assert [finding.severity for finding in told] == ["problem"]
    assert "voicejobs restore" in told[0].remedy
    assert run_command(["doctor"]) == 1
    assert "Traceback" not in "".join(capsys.readouterr())


def test_lost_recordings_are_found(instance):
    with open_registry(instance.state_dir, root=instance.root) as registry, registry.db.write() as session:
        add_version(session, a_version(), now_s=1.0)
    (finding,) = [one for one in doctor.examine(instance) if one.check == "objects"]
    assert finding.severity == "problem"
    assert "elena@1" in finding.message


def test_accepting_a_loss_lets_the_instance_begin_anew(instance, capsys):
    Database.open(instance.database_path, root=instance.root).close()
    instance.objects_dir.joinpath("ab").mkdir()
    instance.objects_dir.joinpath("ab", "c" * 62).touch()
    instance.database_path.unlink()
    assert run_command(["voices", "list"]) == 3
    assert "init --accept-state" in capsys.readouterr().err
    assert run_command(["init", "--accept-state"]) == 0
    assert run_command(["voices", "list"]) == 0
