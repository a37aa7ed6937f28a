"""Every command that a message prints is run in the state that printed it, and helps; no message is left out."""

import os
from collections.abc import Iterator

import pytest

from tests.printed_commands import messages
from tests.runner.cli.remedies import of_jobs, of_models, of_registry, of_scripts, of_serving, of_voices
from tests.runner.cli.remedies.place import Place, Remedy

REMEDIES = [*of_jobs.REMEDIES, *of_voices.REMEDIES, *of_models.REMEDIES, *of_registry.REMEDIES]
REMEDIES += [*of_scripts.REMEDIES, *of_serving.REMEDIES]
SLOW = [*of_scripts.SLOW, *of_serving.SLOW, *of_models.SLOW, *of_voices.SLOW]

NO_REMEDY = {
    ("runner/cli/commands/serve.py", "run"),  # help of an option
    ("runner/cli/commands/service.py", "serve"),  # help of an option
    ("runner/config/settings.py", "serve"),  # a comment in voicejobs.toml
    ("runner/doctor/checks.py", "doctor"),  # compared with, so that it does not lead in a circle
}
NEEDS_MORE = {  # states that need packages which a new machine lacks, or a death within a millisecond
    ("runner/doctor/engine_checks.py", "models verify"),  # an engine that fails without saying why
    ("models/mlx_audio/load.py", "models pull {name}"),
    ("models/mlx_audio/load.py", "models verify"),
    ("models/mlx_audio/request.py", "voices relock NAME --model outetts"),
    ("models/voices/recorded_prompt.py", "voices relock NAME --model MODEL"),
    ("runner/config/engine_settings.py", "models env mlx-audio"),
    ("runner/engine/engine_python.py", "models env {engine}"),
    ("runner/exchange/exporter.py", "voices relock {version.name} --model outetts"),
    ("runner/doctor/checks.py", "models pull {shlex.quote(model)}"),  # faster-whisper
    ("runner/serve/jobs/dropping.py", "run"),  # tests/runner/serve/test_repeated_requests.py
}


@pytest.fixture
def place(worked, hub, tmp_path, monkeypatch) -> Iterator[Place]:
    """An instance that has worked, commands typed in a folder elsewhere, and programs that do nothing."""
    elsewhere, programs = tmp_path / "elsewhere", tmp_path / "programs"
    elsewhere.mkdir()
    programs.mkdir()
    for name in ("aplay", "systemctl"):
        (programs / name).write_text("#!/bin/sh\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    monkeypatch.setenv("HF_ENDPOINT", hub.address)
    monkeypatch.setenv("VOICEJOBS_TEST_ENGINES", "1")
    monkeypatch.chdir(elsewhere)
    made = Place(worked, elsewhere, hub, monkeypatch)
    with made.at_the_end:
        yield made


@pytest.mark.parametrize("remedy", REMEDIES, ids=str)
def test_a_remedy_helps_in_the_state_that_prints_it(remedy: Remedy, place: Place):
    remedy.try_it(place)


@pytest.mark.slow
@pytest.mark.parametrize("remedy", SLOW, ids=str)
def test_a_slow_remedy_helps_in_the_state_that_prints_it(remedy: Remedy, place: Place):
    remedy.try_it(place)


def test_no_printed_command_is_without_a_state():
    """A new one belongs into a table of this folder; here are those that are no remedy."""
    written = {(one.place.rpartition(":")[0], one.text) for one in messages()}
    tried = {(one.module, one.command) for one in (*REMEDIES, *SLOW)}
    assert sorted(written - tried - NO_REMEDY - NEEDS_MORE) == []
    assert sorted((tried | NO_REMEDY | NEEDS_MORE) - written) == []
