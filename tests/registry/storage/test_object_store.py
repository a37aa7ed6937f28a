"""The object store: bytes by their SHA-256."""

import hashlib
import os
import shutil
import time

import pytest

from registry.errors import DiskFull, InvalidInput, StorageError, storage_error
from registry.storage.object_store import ObjectDamaged, ObjectMissing
from tests.forked import run_program


def test_bytes_are_stored_under_their_sha256_and_come_back(objects):
    sha256 = objects.put(b"hello")
    assert sha256 == hashlib.sha256(b"hello").hexdigest()
    assert objects.path(sha256) == objects.folder / sha256[:2] / sha256[2:]
    assert objects.read(sha256) == b"hello"
    assert sha256 in objects


def test_storing_the_same_bytes_twice_keeps_one_file_and_makes_it_look_new(objects):
    sha256 = objects.put(b"hello")
    os.utime(objects.path(sha256), (0, 0))
    assert objects.put(b"hello") == sha256
    assert [found.sha256 for found in objects] == [sha256]
    assert objects.path(sha256).stat().st_mtime > 0


def by_digest(contents):
    return {hashlib.sha256(content).hexdigest(): content for content in contents}


def test_many_bytes_are_stored_at_once(objects):
    contents = by_digest(str(number).encode() for number in range(40))
    objects.put_all(contents)
    objects.put_all({})
    assert {found.sha256: objects.read(found.sha256) for found in objects} == contents
    assert list(objects.strays()) == []


def test_a_store_whose_folder_was_removed_is_made_again(objects):
    objects.put(b"hello")
    shutil.rmtree(objects.folder)
    assert objects.read(objects.put(b"hello")) == b"hello"


def test_one_failure_among_many_is_raised_and_the_others_are_whole(objects):
    contents = by_digest(str(number).encode() for number in range(20))
    in_the_way = objects.path(hashlib.sha256(b"7").hexdigest())
    in_the_way.mkdir(parents=True)
    with pytest.raises(StorageError, match="writing to"):
        objects.put_all(contents)
    assert len(list(objects)) == 20
    assert sum(objects.is_whole(found.sha256) for found in objects) == 19


def test_changed_bytes_are_noticed_when_read_and_mended_when_stored_again(objects):
    sha256 = objects.put(b"hello")
    objects.path(sha256).write_bytes(b"hullo")
    with pytest.raises(ObjectDamaged, match="backup"):
        objects.read(sha256)
    objects.put(b"hello")
    assert objects.read(sha256) == b"hello"


def test_missing_bytes_are_an_error_that_says_where_they_should_be(objects):
    with pytest.raises(ObjectMissing, match=str(objects.folder)):
        objects.read("0" * 64)


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 64 + "\n"])
def test_anything_but_a_sha256_is_refused(objects, name):
    with pytest.raises(InvalidInput, match="64 lower-case hex digits"):
        objects.path(name)


def test_only_objects_older_than_asked_are_removed(objects):
    sha256 = objects.put(b"hello")
    assert not objects.remove_unused(sha256, older_than_s=time.time() - 3600)
    assert objects.remove_unused(sha256, older_than_s=time.time() + 1)
    assert sha256 not in objects
    assert not objects.remove_unused(sha256, older_than_s=time.time() + 1)


def test_half_written_files_are_strays_and_not_objects(objects):
    sha256 = objects.put(b"hello")
    stray = objects.path(sha256).with_name(".half.1.tmp")
    stray.write_bytes(b"he")
    assert [found.sha256 for found in objects] == [sha256]
    assert list(objects.strays()) == [stray]


@pytest.mark.parametrize("point", ["objects.before-write", "files.opened", "files.written", "files.synced"])
def test_a_process_that_dies_while_storing_leaves_no_half_object(objects, point):
    program = "import sys; from registry.storage.object_store import *; ObjectStore(Path(sys.argv[1])).put(b'x' * 99)"
    died = run_program(program, str(objects.folder), environment={**os.environ, "VOICEJOBS_CRASH_AT": point})
    assert died.returncode == 137
    assert list(objects) == []
    assert objects.read(objects.put(b"x" * 99)) == b"x" * 99


def test_only_half_written_files_that_nobody_writes_any_more_are_swept(objects):
    whole = objects.path(objects.put(b"hello"))
    old, young = whole.with_name(".half.1.tmp"), whole.with_name(".half.2.tmp")
    for half_written in (old, young):
        half_written.write_bytes(b"he")
    for path in (whole, old):
        os.utime(path, (0, 0))
    assert objects.sweep(older_than_s=time.time() - 3600) == (1, 2)
    assert [path.exists() for path in (whole, old, young)] == [True, False, True]


def test_no_space_left_is_told_from_other_refusals():
    assert isinstance(storage_error(OSError(28, "No space left on device"), "writing x"), DiskFull)
    refused = storage_error(OSError(13, "Permission denied"), "writing x")
    assert type(refused) is StorageError
    assert refused.errno == 13
