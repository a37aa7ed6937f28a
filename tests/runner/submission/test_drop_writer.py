"""Drops that commands and the server put into an inbox into which others may write."""

import pytest

from registry.errors import StorageError
from runner.config.instance import open_instance
from runner.held_folders import Folder
from runner.inbox.attachments import copy_below
from runner.submission.drop_writer import job_from_values, submit_job, withdraw


@pytest.fixture
def instance(tmp_path):
    (tmp_path / "voicejobs.toml").touch()
    return open_instance(tmp_path, environment={})


def spoken(**values):
    return {"kind": "synthesize", "voice": "preset:ryan", **values}


def test_a_drop_with_its_files_appears_as_one_folder_and_leaves_nothing_else(tmp_path, instance):
    (tmp_path / "texts" / "one").mkdir(parents=True)
    (tmp_path / "texts" / "one" / "a.txt").write_text("Hello.")
    job = job_from_values(spoken(text_file="one/a.txt"), name="story", folder=tmp_path / "texts")
    names = [submit_job(instance, job).path.name for _ in range(3)]
    assert names == ["story", "story-2", "story-3"]
    found = {str(path.relative_to(instance.inbox)) for path in instance.inbox.rglob("*") if path.is_file()}
    assert found == {f"{name}/{file}" for name in names for file in ("story.json", "one/a.txt")}


def test_a_drop_that_cannot_be_made_whole_leaves_nothing_in_the_inbox(tmp_path, instance):
    (tmp_path / "a.txt").write_text("Hello.")
    job = job_from_values(spoken(text_file="a.txt"), name="story", folder=tmp_path)
    (tmp_path / "a.txt").unlink()
    with pytest.raises(Exception, match="not there"):
        submit_job(instance, job)
    assert [path.name for path in instance.inbox.iterdir() if not path.name.startswith(".claimed")] == []


def test_a_folder_that_was_made_a_link_meanwhile_is_not_followed(tmp_path):
    for name in ("mine", "drop", "private"):
        (tmp_path / name).mkdir()
    (tmp_path / "mine" / "one").mkdir()
    (tmp_path / "mine" / "one" / "a.txt").write_text("Hello.")
    (tmp_path / "drop" / "one").symlink_to(tmp_path / "private")
    with pytest.raises(OSError, match=r"Errno"):
        copy_below(tmp_path / "mine", "one/a.txt", Folder(tmp_path, ("drop",)))
    assert list((tmp_path / "private").iterdir()) == []


def test_an_inbox_that_is_a_file_is_a_storage_error(instance):
    job = job_from_values(spoken(text="Hello."), name="story")
    submit_job(instance, job)
    instance.inbox.rename(instance.root / "away")
    instance.inbox.touch()
    with pytest.raises(StorageError):
        submit_job(instance, job)


def noise(path):
    path.write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 64)


@pytest.mark.parametrize("harm", [noise, lambda path: path.unlink(), lambda path: path.write_bytes(b"")])
def test_nothing_is_dropped_where_the_registry_is_damaged_or_lost(instance, harm):
    job = job_from_values(spoken(text="Hello."), name="hello")
    withdraw(submit_job(instance, job))
    harm(instance.database_path)
    with pytest.raises(StorageError) as caught:
        submit_job(instance, job)
    assert "restore" in caught.value.hint
    assert not [path for path in instance.inbox.iterdir() if not path.name.startswith(".")]


def test_a_drop_can_be_taken_back_once_and_leaves_nothing(instance):
    submitted = submit_job(instance, job_from_values(spoken(text="Hello."), name="hello"))
    assert withdraw(submitted)
    assert not withdraw(submitted)
    assert not [path for path in instance.inbox.iterdir() if path.name != ".claimed"]
