"""A model that an engine has loaded is neither moved nor removed, and its commit is known."""

import shutil

import pytest

from models.errors import ModelInUse, UnsupportedCheckpoint
from models.store.installed import resolve_model
from models.store.manifest import write_provenance
from models.store.shared_directory import lock_of
from models.store.upkeep import remove_model
from registry.errors import Busy
from tests.models.store.making import BASE, slug, speech_model
from tests.reference import REFERENCE

engine_module = pytest.importorskip("models.qwen3_tts.engine")


@pytest.fixture
def folder(directory):
    shutil.copytree(REFERENCE / "base", directory / slug(BASE))
    (directory / ".locks").mkdir()
    return directory / slug(BASE)


def open_engine(folder):
    return engine_module.open_qwen3_tts(folder, model=BASE, dtype=None, batch=1, memory_limit_bytes=None)


def test_a_loaded_model_cannot_be_removed_until_it_is_closed(folder, directory):
    write_provenance(folder, repository=BASE, revision="c" * 40, source="download")
    engine = open_engine(folder)
    assert engine.facts().model_revision == "c" * 40
    choice = resolve_model(BASE, directory=directory)
    with pytest.raises(ModelInUse):
        remove_model(choice, directory=directory)
    engine.close()
    remove_model(choice, directory=directory)
    assert not folder.exists()


def test_a_model_that_is_being_moved_is_not_loaded(folder):
    with lock_of(folder), pytest.raises(Busy):
        open_engine(folder)


def test_a_load_that_fails_holds_no_lock(directory):
    folder = speech_model(directory / slug(BASE))
    (folder / "merges.txt").write_text("a b c")
    (directory / ".locks").mkdir()
    with pytest.raises(UnsupportedCheckpoint):
        open_engine(folder)
    with lock_of(folder) as lock:
        assert lock.held
