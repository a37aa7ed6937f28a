"""A released schema with something in every table, as SQL: `python -m tests.registry.storage.schemas.make_dump NUMBER`.

Run it once, when a migration is about to be released; `test_migrations.py` upgrades every dump to the newest schema.
"""

import contextlib
import sys
import tempfile
from pathlib import Path

from registry.jobs import hook_deliveries, jobs
from registry.jobs.hook_deliveries import NewDelivery
from registry.jobs.takes import TakeStore
from registry.jobs.values import NewJob
from registry.storage.connection import connect
from registry.storage.database import Database
from registry.storage.migrations import MIGRATIONS
from registry.storage.object_store import ObjectStore
from registry.voices.candidates import add_candidate
from registry.voices.versions import add_version, set_alias
from tests.registry.making import a_candidate, a_version, sha256, take_facts

HOOKS_SCHEMA = 6
FOLDER = Path(__file__).parent


def fill(db: Database, folder: Path, *, schema: int) -> None:
    """Rows in every table that this schema has; `test_migrations.py` looks for them."""
    takes = TakeStore(ObjectStore(folder / "takes"))
    audio = takes.audio.put(b"audio")
    with db.write() as session:
        add_version(session, a_version(made_by_job="lock-1"), now_s=1.0)
        add_version(session, a_version(transcript="Other words.", parent=1, origin="relock"), now_s=2.0)
        set_alias(session, "elena@1", "soft", now_s=3.0)
        add_candidate(session, "design-1", 1, a_candidate(), now_s=4.0)
        takes.add(session, sha256("key"), audio, take_facts(), now_s=5.0)
        if schema >= 2:
            new = NewJob(
                stem="night",
                dropped_name="night.toml",
                kind="synthesize",
                content_sha256=sha256("job"),
                spec_json="{}",
                claimed_s=6.0,
                key="night-7",
                voices=(("elena", "elena@1"),),
            )
            if schema >= HOOKS_SCHEMA:
                notice = NewDelivery(hook="abc", webhook_id="msg_1", type="job.done", at_s=7.0, data=b"{}")
                hook_deliveries.add(session, [notice])
            jobs.add_event(session, jobs.add(session, new).id, kind="claimed", message="from the inbox", at_s=6.0)


def dump(schema: int) -> str:
    """The SQL that builds a filled database of this schema."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "registry.sqlite"
        with Database.open(path, migrations=MIGRATIONS[:schema]) as db:
            fill(db, Path(name), schema=schema)
        with contextlib.closing(connect(path)) as connection:
            return "\n".join(connection.iterdump()) + "\n"


if __name__ == "__main__":
    number = int(sys.argv[1])
    (FOLDER / f"{number}.sql").write_text(dump(number), encoding="utf-8")
