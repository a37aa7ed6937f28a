"""A registry of years: 100,000 versions, and the everyday questions are still answered at once."""

import contextlib
import json
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from registry.registry import open_registry
from registry.storage.connection import connect
from registry.storage.database import Database
from registry.voices.errors import VoiceNotFound
from registry.voices.lookup import list_voices, resolve
from registry.voices.versions import add_version
from tests.registry.making import a_version

ROOT = Path(__file__).parents[3]
PER_VOICE = 10
GOAL_S = 0.5
STEPS_TOGETHER, MOST_STEPS_PER_VERSION = 100, 5


def fill(path: Path, versions: int) -> None:
    """`versions` versions: one voice with half of them, the rest ten to a voice."""
    with Database.open(path) as db, db.write() as session:
        add_version(session, a_version("voice-0"), now_s=0.0)
    connection = connect(path)
    columns = [row[1] for row in connection.execute("PRAGMA table_info(version)")]
    kept = ", ".join(name for name in columns if name not in ("id", "voice_id", "number"))
    connection.execute("BEGIN IMMEDIATE")
    voices = [(number, f"voice-{number}") for number in range(1, versions // 2 // PER_VOICE)]
    connection.executemany("INSERT INTO voice VALUES (?1 + 1, ?2, ?2, 10, 0.0)", voices)
    numbered = [(1, number) for number in range(2, versions // 2 + 1)]
    numbered += [(voice + 1, number) for voice, _ in voices for number in range(1, PER_VOICE + 1)]
    copy = f"INSERT INTO version (voice_id, number, {kept}) SELECT ?1, ?2, {kept} FROM version WHERE id = 1"
    connection.executemany(copy, numbered)
    current = "SELECT voice_id, 'current', 'current', id, 0.0 FROM version WHERE number = 10 AND voice_id > 1"
    connection.execute(f"INSERT INTO alias {current}")
    connection.execute("UPDATE voice SET last_number = (SELECT max(number) FROM version WHERE voice_id = voice.id)")
    connection.execute("COMMIT")
    connection.close()


@contextlib.contextmanager
def at_once(registry):
    """SQLite does what is asked here in a few steps for each version there is: a clock would tell of the machine."""
    with registry.db.read() as snapshot:
        versions = snapshot.rows("SELECT count(*) AS versions FROM version")[0]["versions"]
    (connection,) = registry.db._idle
    steps = []
    connection.set_progress_handler(lambda: steps.append(STEPS_TOGETHER), STEPS_TOGETHER)
    yield
    with contextlib.suppress(sqlite3.ProgrammingError):  # after an error it is closed
        connection.set_progress_handler(None, 0)
    assert sum(steps) < MOST_STEPS_PER_VERSION * versions


@pytest.fixture(scope="module", params=[5_000, pytest.param(100_000, marks=pytest.mark.slow)])
def many(request, tmp_path_factory):
    state = tmp_path_factory.mktemp("many")
    fill(state / "registry.sqlite", request.param)
    with open_registry(state) as registry:
        yield registry


def test_the_first_page_and_the_last_are_listed_at_once(many):
    for asked in ({}, {"after": "voice-9"}, {"containing": "no such voice"}):
        with at_once(many):
            many.voices(**asked)


def test_one_version_is_shown_at_once_however_it_is_named(many):
    digest = many.show("voice-7@3").digest
    for reference in ("voice-7", "voice-7@3", f"voice-7@sha256:{digest}", "voice-0@17"):
        with at_once(many):
            many.show(reference)


def test_a_misspelt_name_is_answered_at_once(many):
    with at_once(many), pytest.raises(VoiceNotFound, match="Did you mean voice-"):
        many.show("voise-77")


def test_a_new_version_is_added_at_once(many):
    with at_once(many), many.db.write() as session:
        add_version(session, a_version("voice-0"), now_s=1.0)


def test_the_history_of_a_voice_with_very_many_versions_comes_in_pages(many):
    newest = many.history("voice-0")
    assert len(newest) == 50
    with at_once(many):
        many.history("voice-0", before=newest[-1].number)


QUESTION = """if True:
    import json, pathlib, sys
    from registry.registry import open_registry
    with open_registry(pathlib.Path(sys.argv[1])) as registry:
        names = [voice.name for voice in registry.voices()]
        shown = registry.show("voice-0@17").name
    print(json.dumps([len(names), shown, "sqlalchemy" in sys.modules]))
"""


def ask(many):
    """How long a whole process takes to list and show."""
    command = [sys.executable, "-c", QUESTION, str(many.state_dir)]
    started_s = time.perf_counter()
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(answer.stdout) == [50, "voice-0@17", False]
    return time.perf_counter() - started_s


def test_a_whole_process_lists_and_shows_without_sqlalchemy(many):
    ask(many)


@pytest.mark.bench
def test_a_whole_process_that_lists_and_shows_is_done_within_the_goal(many):
    assert min(ask(many) for _ in range(3)) < GOAL_S


def test_lists_agree_with_what_is_resolved(many):
    with many.db.read() as snapshot:
        for voice in list_voices(snapshot, after="voice-1", limit=5):
            assert resolve(snapshot, voice.name).number == voice.current
