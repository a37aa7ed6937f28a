"""An engine in an environment of its own: which Pythons can run it, and that our code alone comes along."""

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import psutil
import pytest

from models.engine_kinds import MLX_AUDIO
from models.protocol import ModelChoice, SpeechDone
from runner.cli.program import run_command
from runner.config.instance import Instance
from runner.config.settings import Settings
from runner.doctor.checks import CHECKS
from runner.engine.client import EngineClient, EngineReady
from runner.engine.engine_python import NEEDED, check_python, examined
from runner.errors import SettingsInvalid
from runner.exit_codes import FAILED, NEEDS_ACTION
from runner.listen.weights import check_can_listen
from tests.runner.engine.engine_bench import NOOP, Bench

ENGINE = "mlx-audio"
ROOT = Path(__file__).parents[3]
FURTHER = {"cffi", "pycparser", "rapidfuzz", "setuptools", "typing_extensions"}  # come with others, or an extra
EVERYTHING = {**dict.fromkeys(NEEDED, "1"), "mlx-audio": "0.6.2"}


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """An environment that holds what ours does, as one that was made for an engine."""
    place = tmp_path_factory.mktemp("environment")
    venv.create(place, symlinks=True)
    (site,) = place.glob("lib/python*/site-packages")
    (site / "ours.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    return place / "bin" / "python"


def told(tmp_path, version, packages):
    """A Python that says so of itself."""
    path = tmp_path / "python"
    names = ", ".join(f'\\"{name}\\": \\"{found}\\"' for name, found in packages.items())
    path.write_text(f'#!/bin/sh\necho "[{version}, {{{names}}}]"\n', encoding="utf-8")
    path.chmod(0o755)
    return path


def test_a_python_that_has_everything_can_run_the_engine(tmp_path):
    found = examined(told(tmp_path, [3, 12, 1], EVERYTHING), ENGINE)
    assert (found.version, found.package_version) == ("3.12.1", "0.6.2")


@pytest.mark.parametrize(
    ("version", "packages", "said"),
    [
        ([3, 9, 18], EVERYTHING, "is Python 3.9.18; voicejobs needs 3.10 or newer"),
        ([3, 11, 0], dict.fromkeys(NEEDED, "1"), "lacks mlx-audio."),
        ([3, 11, 0], {"mlx-audio": "0.6.2"}, "lacks numpy, packaging"),
        ([3, 11, 0], {**EVERYTHING, "mlx-audio": "0.5.0"}, "has mlx-audio 0.5.0, and not <0.7,>=0.6.2"),
    ],
)
def test_a_python_that_is_too_old_or_lacks_something_is_refused_by_name(tmp_path, version, packages, said):
    with pytest.raises(SettingsInvalid) as caught:
        examined(told(tmp_path, version, packages), ENGINE)
    assert said in caught.value.message and "models env mlx-audio" in caught.value.hint


@pytest.mark.parametrize(
    ("place", "said"), [("nowhere", "No such file"), ("/bin/echo", "is no Python"), (".", "Permission denied")]
)
def test_what_is_no_python_is_refused(tmp_path, place, said):
    with pytest.raises(SettingsInvalid) as caught:
        examined(tmp_path / place, ENGINE)
    assert f"engines.{ENGINE}.python" in caught.value.message and said in caught.value.message


def instance_with(root, python):
    settings = Settings.model_validate({"engines": {ENGINE: {"python": str(python)}}, "min_free_bytes": 1})
    return Instance(root, settings)


def test_a_wrong_python_refuses_its_models_and_recognisers_and_no_others(tmp_path):
    instance = instance_with(tmp_path, "no/python")
    for check in (lambda: check_python("kokoro", instance), lambda: check_can_listen("mlx-audio:a/b", instance)):
        with pytest.raises(SettingsInvalid, match=str(tmp_path / "no/python")):
            check()
    check_python("qwen3-tts-0.6b-base", instance)
    check_python("draft", instance)


def test_the_doctor_names_the_python_and_the_version_of_the_engine(tmp_path):
    good = instance_with(tmp_path, told(tmp_path, [3, 12, 1], EVERYTHING))
    (found,) = (one for one in CHECKS["engines"][1](good) if one[1].startswith("mlx-audio:"))
    assert found[0] == "ok" and "mlx-audio 0.6.2 in an environment of its own: Python 3.12.1" in found[1]
    problems = [one for one in CHECKS["engines"][1](instance_with(tmp_path, "nowhere")) if one[0] == "problem"]
    assert len(problems) == 1 and "cannot be run: No such file" in problems[0][1]


@pytest.mark.skipif(MLX_AUDIO.is_installed, reason="mlx-audio is installed")
def test_an_engine_that_is_not_installed_is_a_problem_where_it_is_wanted_and_else_no_finding(tmp_path):
    for model, severity in (("draft", "ok"), ("mlx-audio:acme/voice", "problem")):
        instance = Instance(tmp_path, Settings(model=model))
        (found,) = (one for one in CHECKS["engines"][1](instance) if "engine mlx-audio" in one[1])
        assert found[0] == severity, found


def test_an_engine_runs_in_the_environment_that_its_choice_names(environment, tmp_path, monkeypatch):
    monkeypatch.setenv("VOICEJOBS_TEST_ENGINES", "1")
    bench = Bench(EngineClient(log_path=tmp_path / "engine.log"))
    try:
        ours = bench.loaded(NOOP).client.pid
        bench.client.load(ModelChoice(engine="draft", python=str(environment)))
        bench.wait_for(EngineReady, count=2)
        assert psutil.Process(bench.client.pid).cmdline()[0] == str(environment)
        assert not psutil.pid_exists(ours)
        bench.say("hello")
        assert bench.wait_for(SpeechDone).waveform.size
    finally:
        bench.client.stop(0)


def test_of_our_own_place_another_python_finds_the_packages_of_engines_alone(environment):
    command = [environment, "-I", ROOT / "models" / "processes" / "run_module.py", "runner.version"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "No module named" in done.stderr and "runner" in done.stderr


def test_what_processes_that_speak_and_listen_import_is_what_an_environment_must_have():
    program = (
        "import sys, importlib.metadata as m; import models.processes.engine, models.processes.listen, "
        "models.mlx_audio.engine, models.mlx_audio.recogniser, models.mlx_audio.outetts; "
        "owners = m.packages_distributions(); "
        "print(*{d.lower() for n in sys.modules if '.' not in n for d in owners.get(n, ())})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) - {"voicejobs"} <= {*NEEDED, *FURTHER}


def test_an_environment_is_made_for_an_instance_alone_and_not_offline(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run_command(["models", "env", ENGINE]) == NEEDS_ACTION
    (tmp_path / "voicejobs.toml").write_text("offline = true\n", encoding="utf-8")
    assert run_command(["models", "env", ENGINE]) == FAILED
    said = capsys.readouterr().err
    assert "belongs to an instance" in said and "switched off" in said
    assert [path.name for path in tmp_path.iterdir()] == ["voicejobs.toml"]
