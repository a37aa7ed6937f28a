"""How fast models are listed and judged, and that reading settings the quick way changes nothing."""

import os
import statistics
import subprocess
import sys
import time

import pytest

from benchmarks.bench_models_dir import write_model
from models.store.availability import Available, availability
from models.store.installed import list_models
from models.store.safetensors_check import CACHE_FILE
from runner.config.instance import open_instance
from runner.config.quick_settings import quick_settings
from runner.errors import InstanceNotFound, SettingsInvalid
from tests.models.store.making import BASE, ROOT, slug, speech_model


def seconds(run, *, rounds=5):
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def process_seconds(program, environment):
    """The best of several runs: what the work takes when nothing else wants the processor."""

    def run():
        subprocess.run([sys.executable, "-c", program], env=environment, cwd=ROOT, check=True, capture_output=True)

    run()
    return min(seconds(run, rounds=1) for _ in range(9))


@pytest.mark.bench
def test_listing_200_models_takes_less_than_300_ms_beyond_the_interpreters_start(directory):
    for index in range(200):
        write_model(directory / f"org_model-{index}")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "VOICEJOBS_MODELS_DIR": str(directory)}
    command = "from runner.cli.commands.models import models; models(['list'])"
    assert process_seconds(command, environment) - process_seconds("pass", environment) < 0.3


@pytest.mark.bench
def test_a_model_of_4_gb_is_judged_in_less_than_20_ms(tmp_path):
    folder = write_model(tmp_path / "org_large", data_bytes=4_000_000_000)
    assert seconds(lambda: availability(folder), rounds=21) < 0.02


def test_a_listing_remembers_weights_that_have_not_changed(directory):
    folder = speech_model(directory / slug(BASE))
    list_models(directory)
    assert (directory / CACHE_FILE).exists()
    weights = folder / "model.safetensors"
    status = weights.stat()
    os.truncate(weights, status.st_size - 1)
    os.utime(weights, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert list_models(directory)[0].state.missing == ("model.safetensors",)


@pytest.mark.parametrize(
    "damage", ["", "[]", '{"version": 9}', '{"version": 1, "files": []}', '{"version": 1, "files": {"x": 3}}']
)
def test_a_damaged_memory_of_checks_is_forgotten(damage, directory):
    speech_model(directory / slug(BASE))
    directory.joinpath(CACHE_FILE).write_text(damage)
    assert isinstance(list_models(directory)[0].state, Available)


FILES = {
    "empty": "",
    "models": 'models_dir = "m"\noffline = true\nmigrate = "off"\nstate_dir = "~/state"\n',
    "others": "settle_s = 2.5\n[sampling]\ntop_k = 5\n",
}


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("more", [{}, {"VOICEJOBS_OFFLINE": "true"}, {"VOICEJOBS_STATE_DIR": "elsewhere"}])
def test_quick_settings_say_the_same_as_the_thorough_ones(file, more, tmp_path):
    (tmp_path / "voicejobs.toml").write_text(FILES[file])
    quick = quick_settings(tmp_path, environ=more)
    thorough = open_instance(tmp_path, environment=more)
    assert (quick.root, quick.models_dir, quick.state_dir) == (tmp_path, thorough.models_dir, thorough.state_dir)
    assert (quick.offline, quick.migrate) == (thorough.settings.offline, thorough.settings.migrate)


@pytest.mark.parametrize(
    "content", ["modelsdir = 'm'", "offline = 1", "migrate = 'maybe'", "state_dir = ''", "= broken"]
)
def test_quick_settings_hide_no_mistake(content, tmp_path):
    (tmp_path / "voicejobs.toml").write_text(content)
    with pytest.raises(SettingsInvalid):
        quick_settings(tmp_path, environ={})


def test_a_root_that_is_none_is_an_error_and_no_instance_is_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert quick_settings(environ={}) is None
    with pytest.raises(InstanceNotFound):
        quick_settings(tmp_path, environ={})
