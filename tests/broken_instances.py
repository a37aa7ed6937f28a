"""An instance that has worked → the same, broken in each way that users have met."""

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from models.migrate.journal import JOURNAL_FILE
from registry.storage.identity import ROOT_MARK
from runner.cli.program import run_command
from runner.config.settings import SETTINGS_FILE

SETTINGS = """\
model = "draft"
models_dir = "models"
offline = true
migrate = "off"
min_free_bytes = 0
settle_s = 0.0
watch_events = false
"""
DESIGN = 'kind = "design"\nid = "elena-design"\nvoice = "elena"\ndescription = "A warm voice."\ncandidates = 1\n'
LOCK = 'kind = "lock"\nid = "elena-lock"\nvoice = "elena"\nfrom = { job = "elena-design", candidate = 1 }\n'
HELLO = 'kind = "synthesize"\nvoice = "elena"\ntext = "Hello."\n'
FAILING = 'kind = "lock"\nvoice = "other"\naudio = "noise.wav"\ntranscript = "Nothing was said."\n'
WAITING = 'kind = "synthesize"\nmodel = "acme/broken"\nvoice = "preset:ryan"\ntext = "Hello."\n'
EXPORT = 'kind = "export"\nvoice = "elena"\nfile = "elena.vox"\n'
MODEL = "acme/broken"
MODEL_FOLDER = "models/acme_broken"


def make_instance(root: Path) -> None:
    """Instance with a voice, jobs that are done, failed, rejected and queued, a backup and a model folder."""
    root.mkdir(parents=True)
    (root / SETTINGS_FILE).write_text(SETTINGS)
    inbox = root / "inbox"
    (inbox / "failing").mkdir(parents=True)
    (inbox / "failing" / "job.toml").write_text(FAILING)
    (inbox / "failing" / "noise.wav").write_bytes(b"noise")
    for name, text in (("design", DESIGN), ("lock", LOCK), ("hello", HELLO), ("refused", "kind = 'sing'")):
        (inbox / f"{name}.toml").write_text(text)
    (inbox / "unreadable.json").write_bytes(b"\xff")
    (inbox / "link.toml").symlink_to("hello.toml")
    run_command(["--root", str(root), "run", "--once"])
    for name, text in (("again", DESIGN), ("waits", WAITING), ("export", EXPORT)):
        (inbox / f"{name}.toml").write_text(text)
    run_command(["--root", str(root), "run", "--once"])
    run_command(["--root", str(root), "backup", str(root / "good.backup")])
    folder = root / MODEL_FOLDER
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")


@dataclass(frozen=True)
class Broken:
    """A way to break an instance, and the check of the doctor that must find it."""

    check: str  # "" where the next opening mends it, or nothing is wrong
    by: Callable[[Path], object]
    is_usage: bool = False  # no instance can be opened: every command says so instead


def state(root: Path) -> Path:
    return root / ".voicejobs"


def database(root: Path) -> Path:
    return state(root) / "registry.sqlite"


def replaced_by(make: Callable[[Path], object], place: str) -> Callable[[Path], None]:
    def break_it(root: Path) -> None:
        path = root / place
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        make(path)

    return break_it


def nothing(path: Path) -> None:
    del path


def noise(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 99)


def a_link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


def set_to(**settings: str) -> Callable[[Path], None]:
    def break_it(root: Path) -> None:
        text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())
        (root / SETTINGS_FILE).write_text("\n".join([*_without(settings), text]))

    return break_it


def _without(settings: dict[str, str]) -> list[str]:
    return [line for line in SETTINGS.splitlines() if line.split(" ")[0] not in settings]


def executed(*statements: str) -> Callable[[Path], None]:
    def break_it(root: Path) -> None:
        with closing(sqlite3.connect(database(root))) as connection, connection:
            for statement in statements:
                connection.execute(statement)

    return break_it


def another_programs_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")


def of_another_instance(root: Path) -> None:
    (root / ROOT_MARK).write_text(json.dumps({"id": "f" * 32}))


def damaged_inside(root: Path) -> None:
    with database(root).open("r+b") as file:
        file.seek(8192)
        file.write(b"\xff" * 40_000)


def lost_objects(root: Path) -> None:
    shutil.rmtree(state(root) / "objects")
    (state(root) / "objects").mkdir()


def changed_object(root: Path) -> None:
    for path in (state(root) / "objects").glob("*/*"):
        path.chmod(0o600)
        path.write_bytes(b"changed")


def pipes_for_objects(root: Path) -> None:
    for path in (state(root) / "objects").glob("*/*"):
        path.unlink()
        os.mkfifo(path)


def pipes_for_claims(root: Path) -> None:
    """Pipes for every file of the claim of each job that has one, and for a claim."""
    claims = state(root) / "claims"
    os.mkfifo(claims / "00000000000000000001-aaaaaaaa")
    with closing(sqlite3.connect(database(root))) as ledger:
        for (claim_id,) in ledger.execute("SELECT claim_id FROM job WHERE claim_id IS NOT NULL").fetchall():
            for path in ("job/job.toml", "files/job.toml", "others.json"):
                (claims / claim_id / path).parent.mkdir(parents=True, exist_ok=True)
                (claims / claim_id / path).unlink(missing_ok=True)
                os.mkfifo(claims / claim_id / path)


def noise_in_models(root: Path) -> None:
    for name in ("config.json", "model.safetensors", ".voicejobs.json", "generation_config.json"):
        (root / MODEL_FOLDER / name).write_bytes(b"\xff\xfe{[")


BROKEN = {
    "database-gone": Broken("database", replaced_by(nothing, ".voicejobs/registry.sqlite")),
    "database-empty": Broken("database", replaced_by(Path.touch, ".voicejobs/registry.sqlite")),
    "database-noise": Broken("database", replaced_by(noise, ".voicejobs/registry.sqlite")),
    "database-folder": Broken("database", replaced_by(Path.mkdir, ".voicejobs/registry.sqlite")),
    "database-pipe": Broken("database", replaced_by(os.mkfifo, ".voicejobs/registry.sqlite")),
    "database-loop": Broken("database", replaced_by(a_link_to_itself, ".voicejobs/registry.sqlite")),
    "database-dangling": Broken(
        "database", replaced_by(lambda path: path.symlink_to("nowhere/x"), ".voicejobs/registry.sqlite")
    ),
    "database-of-another-program": Broken(
        "database", replaced_by(another_programs_database, ".voicejobs/registry.sqlite")
    ),
    "database-of-another-instance": Broken("database", of_another_instance),
    "database-damaged": Broken("database", damaged_inside),
    "database-too-new": Broken("database", executed("PRAGMA user_version = 9999")),
    "database-without-a-table": Broken("database", executed("DROP TABLE take")),
    "database-with-impossible-rows": Broken("database", executed("UPDATE job SET spec_json = '[', status = 'singing'")),
    "write-ahead-log-folder": Broken("inside", replaced_by(Path.mkdir, ".voicejobs/registry.sqlite-wal")),
    "registry-id-noise": Broken("", replaced_by(noise, ".voicejobs/registry.id")),
    "registry-id-pipe": Broken("inside", replaced_by(os.mkfifo, ".voicejobs/registry.id")),
    "root-id-pipe": Broken("inside", replaced_by(os.mkfifo, ROOT_MARK)),
    "root-id-folder": Broken("inside", replaced_by(Path.mkdir, ROOT_MARK)),
    "objects-lost": Broken("objects", lost_objects),
    "objects-changed": Broken("objects", changed_object),
    "objects-pipes": Broken("objects", pipes_for_objects),
    "objects-file": Broken("inside", replaced_by(noise, ".voicejobs/objects")),
    "takes-file": Broken("inside", replaced_by(noise, ".voicejobs/takes")),
    "state-folder-gone": Broken("database", replaced_by(nothing, ".voicejobs")),
    "state-folder-empty": Broken("database", replaced_by(Path.mkdir, ".voicejobs")),
    "state-folder-file": Broken("folders", replaced_by(noise, ".voicejobs")),
    "state-folder-loop": Broken("folders", replaced_by(a_link_to_itself, ".voicejobs")),
    "logs-file": Broken("inside", replaced_by(noise, ".voicejobs/logs")),
    "log-folder": Broken("inside", replaced_by(Path.mkdir, ".voicejobs/logs/runner.log")),
    "lock-folder": Broken("inside", replaced_by(Path.mkdir, ".voicejobs/runner.lock")),
    "lock-pipe": Broken("inside", replaced_by(os.mkfifo, ".voicejobs/runner.lock")),
    "lock-of-another-host": Broken(
        "", lambda root: (state(root) / "runner.lock").write_text('{"pid": 1, "host": "elsewhere"}')
    ),
    "inbox-gone": Broken("folders", replaced_by(nothing, "inbox")),
    "inbox-file": Broken("folders", replaced_by(noise, "inbox")),
    "inbox-loop": Broken("folders", replaced_by(a_link_to_itself, "inbox")),
    "claimed-file": Broken("inside", replaced_by(noise, "inbox/.claimed")),
    "rejected-file": Broken("inside", replaced_by(noise, "inbox/.rejected")),
    "outbox-gone": Broken("folders", replaced_by(nothing, "outbox")),
    "outbox-file": Broken("folders", replaced_by(noise, "outbox")),
    "outbox-of-a-job-file": Broken("answers", replaced_by(noise, "outbox/hello")),
    "receipt-noise": Broken("answers", replaced_by(noise, "outbox/hello/result.json")),
    "models-file": Broken("models", replaced_by(noise, "models")),
    "models-loop": Broken("models", replaced_by(a_link_to_itself, "models")),
    "models-noise": Broken("models", noise_in_models),
    "model-loop": Broken("models", replaced_by(a_link_to_itself, f"{MODEL_FOLDER}/config.json")),
    "models-journal-noise": Broken("models", lambda root: noise(root / "models" / JOURNAL_FILE)),
    "settings-noise": Broken("", replaced_by(noise, SETTINGS_FILE), is_usage=True),
    "settings-folder": Broken("", replaced_by(Path.mkdir, SETTINGS_FILE), is_usage=True),
    "settings-pipe": Broken("", replaced_by(os.mkfifo, SETTINGS_FILE), is_usage=True),
    "settings-inbox-of-nobody": Broken("", set_to(inbox="~nobody2/x"), is_usage=True),
    "settings-state-of-nobody": Broken("", set_to(state_dir="~nobody2/x"), is_usage=True),
    "settings-models-of-nobody": Broken("model", set_to(models_dir="~nobody2/x")),
    "settings-respellings-of-nobody": Broken("pronunciations", set_to(pronunciations="~nobody2/x")),
    "settings-respellings-absent": Broken("pronunciations", set_to(pronunciations="absent.toml")),
    "settings-model-of-nobody": Broken("model", set_to(model="~nobody2/x")),
    "claims-pipes": Broken("inside", pipes_for_claims),
    "log-pipe": Broken("inside", replaced_by(os.mkfifo, ".voicejobs/logs/runner.log")),
    "engine-log-pipe": Broken("inside", replaced_by(os.mkfifo, ".voicejobs/logs/engine.log")),
    "settings-model-unknown": Broken("model", set_to(model="no-such-model")),
}
