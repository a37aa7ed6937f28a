"""An instance as a version left it, and what it told of it: `python -m tests.compat.make_stored_instance VERSION`.

Run it once, in a checkout of the version whose instances later ones must go on with; `test_stored_instance.py` opens
them. It uses the product as its users do, by files and commands: nothing else of an older version can be relied on.
"""

import hashlib
import json
import lzma
import os
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

import soundfile

from tests.compat.stored_instance import BACKUP, FOLDER, NATIVE, OldYard, drawn_by, hashes_below, restored, unpacked
from tests.patience import PATIENCE_S, has_ended, wait_until
from tests.reference import audio
from tests.regimes.yard import CRASH_EXIT_STATUS, ENGINE, engines_of

TWIN = "tests.engines.twin:open_engine"
SETTINGS = f"""\
model = "{ENGINE}"
settle_s = 0.0
scan_interval_s = 0.1
min_free_bytes = 0
max_takes = 1
migrate = "off"

[sampling]
max_seconds = 0.16
"""  # so little, for the noise of a real model's random weights does not pack
RECORDING_SAMPLES = 25_000
OF_A_PROCESS = ("logs", "runner.lock", "registry.sqlite-shm", "stderr.log")  # nothing that a later one goes on with
PACKED_S = 1_700_000_000  # every file's time in the archive, so that equal instances give equal archives

VERSIONS = ("elena@1", "elena@2", "me@1", "me@2")
NIGHT_LINES = 6
SPOKEN_OF_NIGHT = 3

VOICES = (
    {
        "kind": "design",
        "id": "elena-design",
        "voice": "elena",
        "description": "Eine warme, ruhige Stimme.",
        "text": "Schöne gute Nacht",  # no longer than a recording must be
        "language": "de",
        "candidates": 2,
        "seed": 82,  # whose tones pack well
    },
    {"kind": "lock", "id": "elena-lock", "voice": "elena", "from": {"job": "elena-design", "candidate": 1}},
    {
        "kind": "lock",
        "id": "elena-lock-again",
        "voice": "elena",
        "from": {"job": "elena-design", "candidate": 2},
        "pronunciations": {"Nguyen": "Win"},
        "metadata": {"take": 2, "note": None},
    },
    {
        "kind": "lock",
        "id": "my-lock",
        "voice": "me",
        "audio": "me.wav",
        "transcript": "Hello there…",
        "language": "en",
        "consent": "self",
    },
    {"kind": "relock", "id": "my-relock", "voice": "me@1", "model": NATIVE},
)
SCENES = (
    {
        "kind": "synthesize",
        "id": "scene",
        "voice": "elena",
        "metadata": {"act": 1},
        "lines": [
            {"id": "s1", "text": "Komm!", "pause_after_s": 0.1},
            {"id": "s2", "text": "Oh.", "voice": "elena@soft"},
            {"text": "Yes.", "voice": "me", "instruct": "whispering"},
            {"text": "No.", "voice": "preset:ryan", "seed": 7},
        ],
    },
    {"kind": "synthesize", "id": "whisper", "voice": "me@2", "text": "Hm."},
)
BEGUN = (
    {
        "kind": "synthesize",
        "id": "night",
        "priority": 10,
        "lines": [
            {"id": f"n{number}", "text": f"{number}.", "voice": ("elena", "me", "elena@soft")[number % 3]}
            for number in range(1, NIGHT_LINES + 1)
        ],
    },
    # These need another model, and wait until the night is over.
    {
        "kind": "lock",
        "id": "marcus-lock",
        "voice": "marcus",
        "model": TWIN,
        "from": {"job": "elena-design", "candidate": 2},
    },
    {"kind": "synthesize", "id": "marcus-scene", "voice": "marcus", "text": "Ja."},
    {
        "kind": "design",
        "id": "nora-design",
        "voice": "nora",
        "model": TWIN,
        "character": {"name": "Nora", "gender": "female", "age_range": "30-40", "summary": "A detective"},
        "text": "Ach so.",
        "candidates": 1,
    },
    {"kind": "synthesize", "id": "given-up", "model": TWIN, "voice": "preset:anna", "text": "Nie."},
)
CLAIMED = {
    "kind": "synthesize",
    "id": "morning",
    "voice": "elena@2",
    "lines": [{"text": "Komm!"}, {"text": "Da."}],  # the scene has spoken the first
}
CLARA = {"kind": "lock", "id": "clara-lock", "voice": "clara", "from": {"job": "elena-design", "candidate": 1}}
LETTER = {"kind": "synthesize", "voice": "elena@soft", "text_file": "letter.txt"}


# ---- what the instance has been through --------------------------------------------------------------------------


def make_voices(yard):
    """Voices designed, recorded and rebuilt for a real model, and scenes that they have spoken; returns what came."""
    yard.bring_model()
    *designed, lock, relock = VOICES
    for job in designed:
        yard.drop_job(job)
    sound = audio("ref_en.wav")[0][:RECORDING_SAMPLES]
    yard.drop_folder("my-lock", lock, lambda folder: soundfile.write(folder / "me.wav", sound, 24_000))
    yard.drop_job(relock)
    assert yard.drain() == 0
    made = yard.outcomes()
    for job in VOICES:
        shutil.rmtree(yard.outbox / job["id"])  # as anybody may, and it keeps the archive small
    yard.do("voices", "alias", "elena@1", "soft")
    for job in SCENES:
        yard.drop_job(job)
    assert yard.drain() == 0
    return made | yard.outcomes()


def die_in_the_night(yard):
    """The runner dies over a new drop, when it has claimed it, with one job half spoken and others queued."""
    gate = yard.root.parent / "gate"
    for job in BEGUN:
        yard.drop_job(job)
    runner = yard.start("run", VOICEJOBS_CRASH_AT="intake.claim-synced:2", VOICEJOBS_TEST_GATE=str(gate))
    wait_until(lambda: len(list(yard.outbox.glob("night/n*.wav"))) == SPOKEN_OF_NIGHT, what="half a night")
    engines = engines_of(runner)
    yard.drop_job(CLAIMED)
    assert runner.wait(timeout=PATIENCE_S) == CRASH_EXIT_STATUS
    gate.touch()
    wait_until(lambda: all(map(has_ended, engines)), what="the end of the engine")


def leave_wishes(yard):
    """What has been asked for and no runner has seen: a cancellation, a job, a folder with a text."""
    yard.do("jobs", "cancel", "given-up")
    yard.drop_job(CLARA)
    yard.drop_folder("letter", LETTER, lambda folder: (folder / "letter.txt").write_text("Oh.\n\nAch.\n"))


def expected_of(yard, exports):
    """What a later version must find."""
    return {
        "statuses": yard.statuses(),
        "digests": yard.digests(),
        "aliases": {alias["name"]: alias["number"] for alias in yard.told("voices", "alias", "elena")},
        "exports": hashes_below(exports),
        "published": hashes_below(yard.outbox),
        "drawn_by": drawn_by(yard.receipts()["whisper"]),
    }


def gone_on(folder, archive):
    """How this version itself goes on with what was packed, and with its backup elsewhere."""
    yard = unpacked(archive, folder)
    before = yard.receipts()
    assert yard.drain() == 0
    finished = {job: outcome for job, outcome in yard.outcomes().items() if job not in before}
    elsewhere = restored(folder / "elsewhere", folder / BACKUP)
    assert elsewhere.drain() == 0
    return {
        "finished": finished,
        "spoken": yard.begun(),
        "finished_elsewhere": elsewhere.outcomes(),
        "spoken_elsewhere": elsewhere.begun(),
    }


# ---- packing -----------------------------------------------------------------------------------------------------


def plain(member):
    """A member of the archive without what differs from machine to machine."""
    if Path(member.name).name in OF_A_PROCESS:
        return None
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mtime = PACKED_S
    member.mode = 0o755 if member.isdir() else 0o644
    return member


def pack(folder, names, archive):
    """One archive of what lies in `folder` under these names; equal bytes for equal files."""
    with lzma.open(archive, "wb", preset=9 | lzma.PRESET_EXTREME) as file, tarfile.open(fileobj=file, mode="w") as tar:
        for name in names:
            tar.add(folder / name, arcname=name, filter=plain)  # which takes the files of a folder in order


def make(work, version):
    """Write the archive of this version's instance and what to expect of it."""
    yard, exports = OldYard(work / "instance"), work / "exports"
    (yard.root / "voicejobs.toml").write_text(SETTINGS, encoding="utf-8")
    done = make_voices(yard)
    die_in_the_night(yard)
    leave_wishes(yard)
    exports.mkdir()
    for name in VERSIONS:
        yard.do("voices", "export", name, "-o", exports / f"{name}.vox")
    yard.do("voices", "export", "me@2", "-o", exports / "me@2.cloneprompt")
    yard.do("backup", work / BACKUP)
    archive = FOLDER / f"instance-{version}.tar.xz"
    pack(work, ("instance", "exports", BACKUP), archive)
    expected = {"done": done, **expected_of(yard, exports), **gone_on(work / "again", archive)}
    text = json.dumps(expected, indent=1, sort_keys=True, ensure_ascii=False)
    (FOLDER / "expected.json").write_text(f"{text}\n", encoding="utf-8")
    print(f"{archive}: {archive.stat().st_size:,} bytes, SHA-256 {hashlib.sha256(archive.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        make(Path(name), sys.argv[1])
