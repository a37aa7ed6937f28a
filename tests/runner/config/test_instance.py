"""Finding an instance and owning it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from registry.errors import RegistryLost, StorageError
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


KILLED = """
import os, signal, sys, time
from runner.config.instance import open_instance
lock = open_instance(sys.argv[1], environment={}).own()
if os.fork() == 0:  # as a child that was being started when its parent died
    time.sleep(0.5)
    os._exit(0)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_runner_was_just_starting_keeps_the_next_one_waiting_only_a_moment(root):
    assert subprocess.run([sys.executable, "-c", KILLED, str(root)], check=False).returncode == -signal.SIGKILL
    open_instance(root, environment={}).own().release()


def test_a_folder_that_cannot_be_made_is_an_error_with_a_remedy(root):
    (root / "outbox").write_text("a file")
    with pytest.raises(StorageError, match="outbox"):
        open_instance(root, environment={}).prepare()


@pytest.mark.parametrize("shared", ["inbox", "outbox"])
def test_two_instances_cannot_work_on_one_folder(root, tmp_path, shared):
    other = tmp_path / "other"
    other.mkdir()
    (other / SETTINGS_FILE).write_text(f'{shared} = "{root / shared}"\n')
    lock = open_instance(root, environment={}).own()
    second = open_instance(other, environment={})
    with pytest.raises(RunnerActive, match=f"another instance works on the {shared}"):
        second.own()
    assert not second.runner_is_active()
    lock.release()
    second.own().release()


def test_the_state_folder_is_private_and_the_outbox_is_not(root):
    instance = open_instance(root, environment={})
    instance.prepare()
    (instance.logs_dir / "runner.log").touch(0o644)
    (instance.state_dir / "registry.before-restore-1.sqlite").touch(0o644)
    instance.state_dir.chmod(0o755)
    instance.outbox.chmod(0o755)
    instance.prepare()
    private = [instance.state_dir, *instance.state_dir.rglob("*")]
    assert [path for path in private if path.stat().st_mode & 0o077] == []
    assert instance.outbox.stat().st_mode & 0o777 == 0o755


def test_a_state_folder_around_the_outbox_stays_open(root):
    (root / SETTINGS_FILE).write_text('state_dir = "."\n')
    mode = root.stat().st_mode
    instance = open_instance(root, environment={})
    instance.prepare()
    assert root.stat().st_mode == mode
    assert instance.objects_dir.stat().st_mode & 0o077 == 0


def test_nothing_is_made_where_a_lost_registry_was(root):
    instance = open_instance(root, environment={})
    (root / ".voicejobs-id").write_text('{"id": "0123456789abcdef0123456789abcdef"}')
    with pytest.raises(RegistryLost, match="Mount the disk"):
        instance.own()
    assert not instance.state_dir.exists()
