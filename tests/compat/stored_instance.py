"""An instance that an older version left, driven by commands and read by its receipts alone.

`make_stored_instance.py` writes such an instance, `test_stored_instance.py` goes on with it.
"""

import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from tests.patience import PATIENCE_S
from tests.reference import REFERENCE
from tests.regimes.yard import ROOT, Yard, sha256

FOLDER = Path(__file__).parent / "data"
BACKUP = "instance.backup"
NATIVE = "lab/base"  # a checkpoint of random weights
TOLD = ("file", "status", "text", "voice", "take", "seed", "frames", "reused")  # what no machine tells otherwise


class OldYard(Yard):
    """One instance, whose engine writes down each line that it begins to speak."""

    def __init__(self, root):
        super().__init__(root)
        self.begun_path = root.parent / f"{root.name}.begun"
        self.models = root.parent / "models"
        self.environment["VOICEJOBS_TEST_BEGUN"] = str(self.begun_path)
        self.environment["VOICEJOBS_MODELS_DIR"] = str(self.models)

    def bring_model(self):
        shutil.copytree(REFERENCE / "base", self.models / NATIVE.replace("/", "_"))

    def drop_job(self, job):
        part = self.inbox / f".{job['id']}.tmp"
        part.write_text(json.dumps(job), encoding="utf-8")
        part.rename(self.inbox / f"{job['id']}.json")

    def drop_folder(self, name, job, write_beside):
        """A job in a folder of its own; `write_beside` puts there what it names."""
        part = self.inbox / f".{name}.tmp"
        part.mkdir()
        (part / "job.json").write_text(json.dumps(job), encoding="utf-8")
        write_beside(part)
        part.rename(self.inbox / name)

    def do(self, *arguments):
        """A command that must succeed."""
        assert self.start(*map(str, arguments)).wait(timeout=PATIENCE_S) == 0, arguments

    def told(self, *arguments):
        """What a command prints as JSON."""
        command = [sys.executable, "-m", "runner", "--root", str(self.root), *arguments, "--json"]
        done = subprocess.run(command, cwd=ROOT, env=self.environment, check=True, capture_output=True)
        return json.loads(done.stdout)

    def begun(self):
        """The texts that the engine has begun to speak, sorted: several workers may take them in another order."""
        return sorted(self.begun_path.read_text(encoding="utf-8").splitlines()) if self.begun_path.exists() else []

    def statuses(self):
        return {job["job"]: job["status"] for job in self.told("jobs", "list")}

    def digests(self):
        voices = [voice["name"] for voice in self.told("voices", "list")]
        histories = [self.told("voices", "history", voice)["versions"] for voice in voices]
        return {version["name"]: version["digest"] for versions in histories for version in versions}

    def outcomes(self):
        return {job: outcome_of(receipt) for job, receipt in self.receipts().items()}


def outcome_of(receipt):
    """The part of a receipt that is the same on every machine and in every version."""
    made = [{key: line.get(key) for key in TOLD} for line in (*receipt["lines"], *receipt["candidates"])]
    return {"status": receipt["status"], "voice": receipt["voice"], "made": made}


def drawn_by(receipt):
    """The parts of a machine that decide how a real model draws and rounds: with others, its takes are others."""
    return {key: receipt["engine"][key] for key in ("backend", "dtype", "formulation")}


def hashes_below(folder):
    """Path → SHA-256 of every file."""
    return {path.relative_to(folder).as_posix(): sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def unpacked(archive, folder):
    """The instance of the archive as a yard; `folder` gets its exports and its backup, too."""
    yard = OldYard(folder / "instance")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return yard


def restored(root, backup):
    """Another instance, with what a backup holds and nothing else."""
    yard = OldYard(root)
    yard.do("restore", backup, "--settings")
    return yard
