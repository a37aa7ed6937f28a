"""Whatever moment a process is killed at, the registry is whole and keeps what it had promised."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from registry.errors import DiskFull, StorageError
from registry.registry import open_registry
from tests.registry.making import sha256

ROOT = Path(__file__).parents[3]
WRITER = """if True:
    import dataclasses, json, pathlib, sys, time
    from registry.registry import open_registry
    from registry.voices.versions import add_version
    from tests.registry.making import a_version, take_facts, sha256
    with open_registry(pathlib.Path(sys.argv[1])) as registry:
        for number in range(10_000):
            name = f"{sys.argv[2]}-{number}"
            prompt = registry.objects.put(name.encode() * 500)
            audio = registry.takes.audio.put(name.encode() * 900)
            with registry.db.write() as session:
                plain = dict(reference_sha256=None, audition_sha256=None, attachments={})
                new = a_version(prompt_sha256=prompt, made_by_job=name, **plain)
                version = add_version(session, new, now_s=time.time())
                registry.takes.add(session, sha256(name), audio, take_facts(), now_s=time.time())
            print(json.dumps([version.number, name]), flush=True)
"""
COLLECTOR = """if True:
    import pathlib, sys, time
    from registry.registry import open_registry
    with open_registry(pathlib.Path(sys.argv[1])) as registry:
        while True:
            registry.gc(now_s=time.time() + 3_000, grace_s=0)
            registry.takes.evict(registry.db, max_bytes=25_000, now_s=time.time() + 3_000)
"""


def start(program: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True)


def promised_by(process: subprocess.Popen[str], *, lines: int) -> list[tuple[int, str]]:
    """Read what the writer promised until it is killed after so many lines, and whatever it still said."""
    assert process.stdout is not None
    said = [process.stdout.readline() for _ in range(lines)]
    process.kill()
    said += process.communicate()[0].splitlines(keepends=True)
    return [tuple(json.loads(line)) for line in said if line.endswith("]\n")]


def check(state: Path, promised: dict[str, int]) -> None:
    """Every promise is kept, nothing is half there, and numbers have no gap."""
    with open_registry(state) as registry:
        report = registry.fsck()
        assert report.lost == 0, report.findings
        versions = registry.history("elena", limit=1 << 30) if registry.voices() else []
        kept = {version.made_by_job: version.number for version in versions}
        assert promised.items() <= kept.items()
        assert sorted(kept.values()) == list(range(1, len(kept) + 1))
        for version in versions[:20]:
            assert registry.objects.read(version.prompt_sha256) == str(version.made_by_job).encode() * 500


def kill_writers(state: Path, *, rounds: int, seed: int) -> None:
    chance = random.Random(seed)
    promised: dict[str, int] = {}
    for round_number in range(rounds):
        collector = start(COLLECTOR, str(state))
        writers = [start(WRITER, str(state), f"{round_number}-{who}") for who in "ab"]
        for writer in writers:
            promised.update((name, number) for number, name in promised_by(writer, lines=chance.randint(1, 12)))
        collector.kill()
        collector.communicate()
    print(f"seed {seed}: {len(promised)} promises over {rounds} rounds")
    check(state, promised)


def test_writers_killed_at_random_while_gc_runs_break_no_promise(tmp_path):
    kill_writers(tmp_path, rounds=1, seed=20_240)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_writers_killed_at_random_for_long_break_no_promise(tmp_path):
    kill_writers(tmp_path, rounds=100, seed=time.time_ns() % 100_000)


STEPS = ["objects.before-write", "files.written:3", "files.synced:2", "files.renamed", "objects.written:4"]


@pytest.mark.parametrize("step", [*STEPS, "database.before-commit:2", "database.committed"])
def test_a_writer_that_dies_at_a_named_step_breaks_no_promise(tmp_path, step):
    writer = start(WRITER, str(tmp_path), "a", VOICEJOBS_CRASH_AT=step)
    said, _ = writer.communicate()
    assert writer.returncode == 137
    check(tmp_path, {name: number for number, name in map(json.loads, said.splitlines())})


def test_a_job_that_died_after_its_commit_has_its_version_once(tmp_path):
    start(WRITER, str(tmp_path), "a", VOICEJOBS_CRASH_AT="database.committed").communicate()
    assert promised_by(start(WRITER, str(tmp_path), "a"), lines=2)[:2] == [(1, "a-0"), (2, "a-1")]


@pytest.mark.parametrize("point", ["gc.purged", "takes.forgotten"])
def test_a_cleaner_that_dies_at_a_named_step_loses_nothing_that_is_needed(tmp_path, point):
    writer = start(WRITER, str(tmp_path), "a")
    promised = {name: number for number, name in promised_by(writer, lines=15)}
    cleaner = start(COLLECTOR, str(tmp_path), VOICEJOBS_CRASH_AT=point)
    cleaner.communicate()
    assert cleaner.returncode == 137
    check(tmp_path, promised)


FAILING = """if True:
    import errno, os, pathlib, sys
    from registry.errors import DiskFull, StorageError
    from registry.registry import open_registry
    name, number, visit = sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    real, seen = getattr(os, name), 0
    with open_registry(pathlib.Path(sys.argv[1])) as registry:
        registry.objects.put(b"before")
        def fail(*arguments, **options):
            global seen
            seen += 1
            if seen == visit:
                raise OSError(number, os.strerror(number))
            return real(*arguments, **options)
        setattr(os, name, fail)
        try:
            registry.objects.put(b"after")
        except StorageError as error:
            print(type(error).__name__, error.errno)
        setattr(os, name, real)
        assert registry.objects.read(registry.objects.put(b"after")) == b"after"
        assert list(registry.objects.strays()) == []
"""


@pytest.mark.parametrize(("number", "name"), [(28, "DiskFull"), (5, "StorageError")])
@pytest.mark.parametrize("call", [("fsync", 1), ("fsync", 2), ("fsync", 3), ("open", 2)], ids=str)
def test_a_system_call_that_fails_is_an_error_of_the_tree_and_leaves_nothing_half(tmp_path, call, number, name):
    process = start(FAILING, str(tmp_path), call[0], str(number), str(call[1]))
    said, _ = process.communicate()
    assert process.returncode == 0
    assert said.strip() in (f"{name} {number}", "")


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of 2 MB, where this machine lets us mount one."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a small tmpfs here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)  # fails when anything is still open in it


def test_a_full_disk_stops_writing_with_one_clear_error_and_goes_on_when_there_is_room(small_disk):
    ballast = small_disk / "ballast"
    with open_registry(small_disk / "state") as registry:
        ballast.write_bytes(b"x" * 1_500_000)
        with pytest.raises(DiskFull, match="No space left"):
            for number in range(1_000):
                registry.objects.put(os.urandom(10_000) + bytes(number))
        with pytest.raises(StorageError, match="No space left"):
            for number in range(10_000):
                with registry.db.write() as session:
                    sql = "INSERT INTO voice (name, folded, created_s) VALUES (?, ?, 0)"
                    session.rows(sql, (f"n{number}", sha256(str(number)) * 50))
        ballast.unlink()
        registry.objects.put(b"there is room again")
        assert registry.fsck().sound
