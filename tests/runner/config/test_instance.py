"""Finding an instance and owning it."""

import os
from pathlib import Path

import pytest

from registry.errors import StorageError
from runner.config.instance import Instance, open_instance
from runner.config.settings import SETTINGS_FILE, Settings
from runner.errors import InstanceNotFound, RunnerActive, SettingsInvalid


@pytest.fixture
def root(tmp_path) -> Path:
    folder = tmp_path / "voices"
    folder.mkdir()
    (folder / SETTINGS_FILE).write_text('model = "draft"\n')
    return folder


def test_an_instance_is_found_upward(root):
    below = root / "a" / "b"
    below.mkdir(parents=True)
    instance = open_instance(start=below, environment={})
    assert (instance.root, instance.settings.model) == (root, "draft")


def test_the_flag_wins_over_the_variable_over_the_search(root, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / SETTINGS_FILE).write_text("")
    environment = {"VOICEJOBS_ROOT": str(other)}
    assert open_instance(start=root, environment=environment).root == other
    assert open_instance(root, start=other, environment=environment).root == root


@pytest.mark.parametrize("inbox", [".", "..", "outbox", "inbox/../.voicejobs"])
def test_an_inbox_that_would_swallow_the_instance_is_refused(root, inbox):
    (root / SETTINGS_FILE).write_text(f'inbox = "{inbox}"\n')
    with pytest.raises(SettingsInvalid, match="would be treated as a job"):
        open_instance(root, environment={})


def test_without_an_instance_the_error_names_init(tmp_path):
    with pytest.raises(InstanceNotFound, match="voicejobs init"):
        open_instance(start=tmp_path, environment={})
    with pytest.raises(InstanceNotFound, match="no voicejobs"):
        open_instance(tmp_path / "nowhere", environment={})


def test_everything_lies_where_the_settings_say(root, tmp_path):
    settings = Settings(inbox="in", outbox=str(tmp_path / "out"), state_dir="state", models_dir="~/models")
    instance = Instance(root, settings)
    assert instance.claimed_dir == root / "in" / ".claimed"
    assert instance.outbox == tmp_path / "out"
    assert instance.database_path == root / "state" / "registry.sqlite"
    assert instance.models_dir == Path.home() / "models"
    assert Instance(root, Settings()).models_dir is None


def test_only_one_runner_owns_an_instance_and_the_error_names_it(root):
    instance = open_instance(root, environment={})
    lock = instance.own()
    assert instance.runner_is_active()
    with pytest.raises(RunnerActive, match=f"process {os.getpid()}"):
        instance.own()
    lock.release()
    assert not instance.runner_is_active()
    instance.own().release()


def test_a_folder_that_cannot_be_made_is_an_error_with_a_remedy(root):
    (root / "outbox").write_text("a file")
    with pytest.raises(StorageError, match="outbox"):
        open_instance(root, environment={}).prepare()
