"""Database and lock of a running process: noticed when they are no longer under their names."""

import os
import shutil
from pathlib import Path

import pytest

from registry.durable_files import FileLock
from registry.errors import Busy, RegistryLost
from registry.registry import Registry, open_registry
from registry.storage.held_files import LOOK_S, HeldFiles
from registry.voices.versions import add_version
from tests.registry.making import a_version


@pytest.fixture
def registry(tmp_path):
    with open_registry(tmp_path / "state", root=tmp_path) as opened:
        with opened.db.write() as session:
            add_version(session, a_version(), now_s=1.0)
        yield opened


@pytest.fixture
def held(registry, tmp_path):
    lock = FileLock(tmp_path / "state" / "runner.lock")
    lock.acquire()
    files = HeldFiles(registry.db, lock, root=tmp_path)
    yield files
    files.release()


def saved_in(folder: Path) -> list[str]:
    (path,) = folder.glob("registry.rescued-*.sqlite")
    target = folder / "again" / "registry.sqlite"
    target.parent.mkdir()
    path.rename(target)
    with open_registry(target.parent) as again:
        return [voice.name for voice in again.voices()]


def remove_all_of_it(registry: Registry):
    for path in registry.state_dir.glob("registry.sqlite*"):
        path.unlink()


def replace_it(registry: Registry):
    shutil.copyfile(registry.db.path, registry.db.path.with_name("copy"))
    registry.db.path.with_name("copy").rename(registry.db.path)


def truncated_copy_in_its_place(registry: Registry):
    registry.db.path.unlink()
    registry.db.path.touch()


@pytest.mark.parametrize("lose", [remove_all_of_it, replace_it, truncated_copy_in_its_place], ids=lambda f: f.__name__)
def test_a_database_that_lost_its_name_is_noticed_and_saved_beside_it(registry, held, lose):
    assert held.check(0.0) is None
    lose(registry)
    with pytest.raises(RegistryLost, match="saved: mv"):
        held.check(LOOK_S)
    assert saved_in(registry.state_dir) == ["elena"]


def test_a_state_folder_that_was_deleted_is_saved_in_the_root(registry, held, tmp_path):
    shutil.rmtree(registry.state_dir)
    with pytest.raises(RegistryLost, match=r"saved: mkdir -p \S+ && mv"):
        held.check(0.0)
    assert saved_in(tmp_path) == ["elena"]


@pytest.mark.parametrize("size_bytes", [0, 40_960, None], ids=["empty", "cut", "noise"])
def test_what_is_damaged_is_not_called_saved_and_leaves_no_file(registry, held, tmp_path, size_bytes):
    if size_bytes is None:
        registry.db.path.write_bytes(b"noise" * 40_000)
    else:
        os.truncate(registry.db.path, size_bytes)
    shutil.rmtree(registry.state_dir)
    with pytest.raises(RegistryLost) as lost:
        held.check(0.0)
    assert "cannot be saved" in lost.value.hint and "voicejobs doctor" in lost.value.hint
    assert list(tmp_path.rglob("*rescued*")) == []


def test_a_lock_that_was_removed_is_taken_again(registry, held):
    lock = registry.state_dir / "runner.lock"
    lock.unlink()
    assert "locked again" in (held.check(0.0) or "")
    with pytest.raises(Busy):
        FileLock(lock).acquire()
    assert held.check(LOOK_S) is None


def test_a_lock_that_another_process_has_taken_ends_this_one(registry, held):
    lock = registry.state_dir / "runner.lock"
    lock.unlink()
    with FileLock(lock), pytest.raises(Busy):
        held.check(0.0)


def test_a_look_is_taken_every_few_seconds_only(registry, held):
    held.check(0.0)
    remove_all_of_it(registry)
    assert held.check(LOOK_S / 2) is None
