"""Folders that others may change, by descriptor."""

import os
import threading

import pytest

from runner.held_folders import free_name, move_new


@pytest.fixture
def folder(tmp_path):
    descriptor = os.open(tmp_path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def test_a_free_name_is_found_among_many_that_are_used(tmp_path, folder):
    for number in range(1, 9):
        name = free_name("a.toml", dir_fd=folder)
        assert name == ("a.toml" if number == 1 else f"a-{number}.toml")
        (tmp_path / name).touch()


def test_what_many_move_to_one_name_at_one_moment_is_all_kept(tmp_path, folder):
    names = [f"from-{number}" for number in range(64)]
    for name in names:
        (tmp_path / name).write_text(name)
    moved, start = [], threading.Barrier(8)

    def move(some):
        start.wait()
        moved.extend(move_new(name, "hello.toml", src_dir_fd=folder, dst_dir_fd=folder) for name in some)

    movers = [threading.Thread(target=move, args=(names[part::8],)) for part in range(8)]
    for mover in movers:
        mover.start()
    for mover in movers:
        mover.join()
    assert sorted(moved) == sorted(path.name for path in tmp_path.iterdir())
    assert sorted((tmp_path / name).read_text() for name in moved) == sorted(names)


def test_a_link_to_nothing_has_its_name_too(tmp_path, folder):
    (tmp_path / "hello.toml").symlink_to(tmp_path / "nowhere")
    (tmp_path / "mine").write_text("mine")
    assert move_new("mine", "hello.toml", src_dir_fd=folder, dst_dir_fd=folder) == "hello-2.toml"
    assert not (tmp_path / "nowhere").exists()
