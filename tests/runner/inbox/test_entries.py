"""Looks at folders whose entries others change and replace."""

import os

import pytest

from runner.inbox import entries
from runner.inbox.entries import MAX_TREE_DEPTH, entries_below, files_below, list_entries, tree_signature
from tests.runner.inbox.dropping import drop


@pytest.fixture
def folder(tmp_path):
    descriptor = os.open(tmp_path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def paths(found):
    return sorted(each.path for each in found)


def test_everything_below_a_folder_is_seen_and_no_link_is_followed(tmp_path, folder):
    drop(tmp_path, "private/secret.txt")
    drop(tmp_path, "book/job.toml")
    drop(tmp_path, "book/part/one.txt")
    drop(tmp_path, "book/.litter")
    (tmp_path / "book" / "link").symlink_to(tmp_path / "private")
    os.mkfifo(tmp_path / "book" / "fifo")
    assert paths(entries_below("book", dir_fd=folder)) == [
        ".litter", "fifo", "job.toml", "link", "part", "part/one.txt",
    ]  # fmt: skip
    assert paths(files_below("book", dir_fd=folder)) == ["job.toml", "part/one.txt"]
    assert paths(files_below("book", dir_fd=folder, litter=True)) == [".litter", "job.toml", "part/one.txt"]
    assert tree_signature("book", dir_fd=folder).job_files == 1


def test_a_link_in_the_place_of_the_folder_itself_shows_nothing(tmp_path, folder):
    drop(tmp_path, "private/job.toml")
    (tmp_path / "book").symlink_to(tmp_path / "private")
    assert tree_signature("book", dir_fd=folder).job_files == 0
    assert paths(entries_below("gone", dir_fd=folder)) == []


def test_a_tree_is_looked_at_as_deep_as_a_path_may_be_and_no_deeper(tmp_path, folder):
    deepest = tmp_path / "book" / "/".join("d" * (MAX_TREE_DEPTH + 10))
    deepest.mkdir(parents=True)
    depths = [path.count("/") + 1 for path in paths(entries_below("book", dir_fd=folder))]
    assert max(depths) == MAX_TREE_DEPTH + 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_read_is_listed_all_the_same(tmp_path):
    drop(tmp_path, "book/job.toml")
    (tmp_path / "book").chmod(0)
    assert [entry.name for entry in list_entries(tmp_path)] == ["book"]
    (tmp_path / "book").chmod(0o700)


def test_a_fifo_put_in_the_place_of_a_folder_meanwhile_blocks_nobody(tmp_path, folder):
    drop(tmp_path, "book/part/one.txt")
    seen = entries_below("book", dir_fd=folder)
    assert next(seen).path == "part"
    (tmp_path / "book" / "part").rename(tmp_path / "away")
    os.mkfifo(tmp_path / "book" / "part")
    assert paths(seen) == []
    os.mkfifo(tmp_path / "fifo")
    assert paths(entries_below("fifo", dir_fd=folder)) == []


def test_no_more_entries_are_looked_at_than_a_tree_may_have(tmp_path, folder, monkeypatch):
    monkeypatch.setattr(entries, "MAX_TREE_ENTRIES", 5)
    for name in ("a/one", "a/two", "b/one", "b/two", "c"):
        drop(tmp_path, f"book/{name}")
    assert len(paths(entries_below("book", dir_fd=folder))) == 5
