"""A kill -9 at every step of a migration, of its undoing, and of a download: nothing is lost, and it goes on."""

import subprocess
import sys
import threading

import psutil
import pytest

from models.fetch.prepare import ensure_model, pull_model
from models.migrate.journal import Journal
from models.migrate.migration import plan_migration, recover, run_plan, undo_last
from models.store.availability import Available, availability
from tests.models.store.making import (
    BASE,
    CRASHED,
    ROOT,
    contents,
    home_environment,
    model_contents,
    run_python,
    slug,
    speech_model,
)
from tests.patience import PATIENCE_S, has_ended, wait_until

LEGACY = "Library/Caches/intrusive-memory/Models/TTS"
MIGRATE = """
import os
from pathlib import Path
from models.migrate.migration import plan_migration, run_plan
run_plan(plan_migration(Path({directory!r}), environ=os.environ))
"""
UNDO = """
from pathlib import Path
from models.migrate.migration import undo_last
undo_last(Path({directory!r}))
"""
ENSURE = """
import os
from pathlib import Path
from models.fetch.prepare import ensure_model
print(ensure_model({model!r}, directory=Path({directory!r}), environ=os.environ).folder)
"""
PULL = ENSURE.replace("ensure_model", "pull_model")  # downloads in the process itself


@pytest.fixture
def directory(request, tmp_path):
    is_same_disk = getattr(request, "param", "same disk") == "same disk"
    return (tmp_path if is_same_disk else request.getfixturevalue("other_disk")) / "shared"


def migrate_again(directory, home):
    recover(directory)
    run_plan(plan_migration(directory, environ=home_environment(home)))


def incoming(directory):
    folder = directory / ".incoming"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


RENAME_STEPS = ("rename.begun", "rename.renamed", "rename.done")
COPY_STEPS = (
    "copy.begun", "copy.file", "copy.file:5", "copy.staged", "copy.renamed", "copy.published",
    "copy.removed", "copy.removed:4", "copy.done",
)  # fmt: skip


MOVES = [("same disk", step) for step in RENAME_STEPS] + [("other disk", step) for step in COPY_STEPS]
DISKS = ["same disk", "other disk"]


@pytest.mark.parametrize(("directory", "step"), MOVES, indirect=["directory"])
def test_a_move_killed_at_any_step_loses_nothing_and_is_finished_later(step, directory, home):
    legacy = speech_model(home / LEGACY / slug(BASE))
    before = contents(legacy)
    program = MIGRATE.format(directory=str(directory))
    killed = run_python(program, environment=home_environment(home), crash_at=f"models.{step}")
    assert killed.returncode == CRASHED
    assert before in (contents(legacy), contents(directory / slug(BASE)))
    migrate_again(directory, home)
    assert contents(directory / slug(BASE)) == before
    assert not legacy.exists()
    assert incoming(directory) == []
    assert Journal(directory).interrupted() == []


@pytest.mark.parametrize(("directory", "step"), MOVES, indirect=["directory"])
def test_an_undo_killed_at_any_step_loses_nothing_and_is_finished_later(step, directory, home):
    legacy = speech_model(home / LEGACY / slug(BASE))
    before = contents(legacy)
    migrate_again(directory, home)
    killed = run_python(
        UNDO.format(directory=str(directory)), environment=home_environment(home), crash_at=f"models.{step}"
    )
    assert killed.returncode == CRASHED
    assert before in (contents(legacy), contents(directory / slug(BASE)))
    recover(directory)
    if not legacy.exists():
        undo_last(directory)
    assert contents(legacy) == before
    assert not (directory / slug(BASE)).exists()
    assert Journal(directory).interrupted() == []


def adoptable(home):
    """A model whose folder stays where it is when it is taken over."""
    return speech_model(home / "Documents/huggingface/models" / BASE)


@pytest.mark.parametrize("directory", DISKS, indirect=True)
@pytest.mark.parametrize("step", ["begun", "file:3", "staged", "renamed", "published", "done"])
def test_an_adoption_killed_at_any_step_is_finished_later(step, directory, home):
    theirs = adoptable(home)
    before = contents(theirs)
    program = MIGRATE.format(directory=str(directory))
    killed = run_python(program, environment=home_environment(home), crash_at=f"models.adopt.{step}")
    assert killed.returncode == CRASHED
    migrate_again(directory, home)
    assert contents(theirs) == before
    assert model_contents(directory / slug(BASE)) == before
    assert incoming(directory) == []


@pytest.mark.parametrize("directory", DISKS, indirect=True)
@pytest.mark.parametrize("step", ["begun", "renamed", "done"])
def test_an_undone_adoption_killed_at_any_step_is_finished_later(step, directory, home):
    theirs = adoptable(home)
    migrate_again(directory, home)
    undo = UNDO.format(directory=str(directory))
    killed = run_python(undo, environment=home_environment(home), crash_at=f"models.remove.{step}")
    assert killed.returncode == CRASHED
    recover(directory)
    assert not (directory / slug(BASE)).exists()
    assert isinstance(availability(theirs), Available)
    assert incoming(directory) == []


DOWNLOAD_STEPS = (
    "download.begun", "download.chunk:6", "download.fetched:3", "download.file:7", "download.manifest",
    "download.published",
)  # fmt: skip


@pytest.mark.parametrize("step", DOWNLOAD_STEPS)
def test_a_download_killed_at_any_step_goes_on_and_fetches_no_byte_twice(step, tmp_path, hub, environment):
    directory = tmp_path / "models"
    source = speech_model(tmp_path / "source")
    commit = hub.add_folder(BASE, source)
    program = PULL.format(model=BASE, directory=str(directory))
    killed = run_python(program, environment=environment, crash_at=f"models.{step}")
    assert killed.returncode == CRASHED
    assert step == "download.published" or not (directory / slug(BASE)).exists()
    go_on = ensure_model if step == "download.published" else pull_model  # which needs no process of its own
    prepared = go_on(BASE, directory=directory, environ=environment)
    assert model_contents(prepared.folder).items() >= contents(source).items()
    assert prepared.revision == commit
    assert incoming(directory) == []
    for path in contents(source):
        asked = hub.gets(f"/resolve/{commit}/{path}")
        assert len([one for one in asked if one.range is None]) == 1, path


def test_a_killed_runner_takes_its_download_along_and_the_next_one_goes_on(tmp_path, hub, environment):
    directory = tmp_path / "models"
    hub.pause = threading.Event()
    commit = hub.add_folder(BASE, speech_model(tmp_path / "source"))
    program = ENSURE.format(model=BASE, directory=str(directory))
    full = {**environment, "PYTHONPATH": str(ROOT)}
    runner = subprocess.Popen([sys.executable, "-c", program], env=full, cwd=ROOT, stderr=subprocess.DEVNULL)
    assert hub.in_transfer.wait(PATIENCE_S)
    # What the hub has sent need not have been received, let alone be on the disk.
    wait_until(lambda: any(part.stat().st_size for part in directory.rglob("model.safetensors.part")))
    (download,) = psutil.Process(runner.pid).children()
    runner.kill()
    runner.wait()
    wait_until(lambda: has_ended(download), what="the end of the download")
    hub.pause.set()
    assert isinstance(ensure_model(BASE, directory=directory, environ=environment).state, Available)
    assert {one.range for one in hub.gets(f"{commit}/speech_tokenizer/model.safetensors")} == {None}
    assert len([one for one in hub.gets(f"{commit}/model.safetensors") if one.range is None]) == 1


def test_a_killed_process_blocks_nobody(tmp_path, hub, environment):
    directory = tmp_path / "models"
    hub.add_folder(BASE, speech_model(tmp_path / "source"))
    program = PULL.format(model=BASE, directory=str(directory))
    run_python(program, environment=environment, crash_at="models.download.begun")
    assert availability(directory / slug(BASE)).state == "not_available"
    assert isinstance(ensure_model(BASE, directory=directory, environ=environment).state, Available)
