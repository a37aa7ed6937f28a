"""Voice files as jobs: a dropped `.vox` is an import with a receipt, and `kind = "export"` writes one."""

import shutil

import pytest

from registry.voices.lookup import history, resolve
from tests.models.voices.vox_making import (
    a_manifest,
    a_swift_prompt,
    a_wav,
    an_archive,
    many_sized_vox,
    samples_folder,
    seed_era_vox,
)
from tests.runner.worker.bench import MODEL, Bench, design, lock, speak

EXPORT = 'kind = "export"\nvoice = "{}"\n'


@pytest.fixture
def bench(tmp_path, monkeypatch):
    monkeypatch.setenv("VOICEJOBS_TEST_ENGINES", "1")
    made = [Bench(tmp_path / name) for name in ("home", "away")]
    yield made
    for one in made:
        one.context.database.close()


def drop_file(bench, name, content):
    (bench.instance.inbox / name).write_bytes(content)
    bench.run()


def current(bench, voice):
    with bench.context.database.read() as session:
        return resolve(session, voice)


def make_elena(home):
    home.drop("elena-design.toml", design(candidates=1))
    home.drop("elena-lock.toml", lock(), age_s=-1)
    home.drop("out.toml", EXPORT.format("elena"), age_s=-2)
    home.run()
    return home.instance.outbox / "out" / "elena.vox"


def test_a_voice_that_was_designed_locked_and_exported_speaks_elsewhere_with_the_same_digest_and_audio(bench):
    home, away = bench
    shutil.copy(make_elena(home), away.instance.inbox / "elena.vox")
    away.run()
    for one in (home, away):
        one.drop("hello.toml", speak("I won't let you down.", voice="elena"))
        one.run()
    here, there = (one.receipt("hello") for one in (home, away))
    assert here["lines"][0]["take"] == there["lines"][0]["take"]
    assert here["lines"][0]["sha256"] == there["lines"][0]["sha256"]
    assert here["lines"][0]["voice"] == there["lines"][0]["voice"] == away.receipt("elena")["voice"]


def test_export_elsewhere_gives_the_same_bytes(bench):
    home, away = bench
    file = make_elena(home)
    shutil.copy(file, away.instance.inbox / "elena.vox")
    away.run()
    away.drop("again.toml", EXPORT.format("elena"))
    away.run()
    assert (away.instance.outbox / "again" / "elena.vox").read_bytes() == file.read_bytes()


def test_a_dropped_voice_file_is_an_import_with_a_receipt(bench):
    home, _ = bench
    drop_file(home, "seed.vox", seed_era_vox())
    receipt = home.receipt("seed")
    assert (receipt["kind"], receipt["status"]) == ("import", "done")
    assert (receipt["voice"]["name"], receipt["voice"]["version"]) == ("ELENA", 1)


def test_a_dropped_voice_file_lies_beside_its_receipt(bench):
    home, _ = bench
    content = seed_era_vox()  # each call writes the time of day into it
    drop_file(home, "seed.vox", content)
    assert home.receipt("seed")["job_file"] == "seed.vox"
    assert (home.instance.outbox / "seed" / "seed.vox").read_bytes() == content


def test_a_job_that_is_dropped_together_with_the_file_of_its_voice_waits_for_it(bench):
    home, _ = bench
    (home.instance.inbox / "voice-of-elena.vox").write_bytes(seed_era_vox())
    home.drop("again.toml", 'kind = "export"\nvoice = "elena"\n', age_s=10)
    home.run()
    assert home.receipt("again")["status"] == "done"


def test_a_job_waits_for_a_file_of_several_versions_and_is_judged_by_what_came(bench):
    home, _ = bench
    (home.instance.inbox / "voice.vox").write_bytes(many_sized_vox())
    for number in (3, 7):
        home.drop(f"out-{number}.toml", EXPORT.format(f"elena@{number}"), age_s=10)
    home.run()
    assert home.status("out-3") == "done"
    assert home.receipt("out-7")["error"]["code"] == "version-not-found"


def test_a_voice_file_that_cannot_be_read_announces_no_voice(bench):
    home, _ = bench
    (home.instance.inbox / "elena.vox").write_bytes(seed_era_vox()[:-30])
    home.drop("again.toml", 'kind = "export"\nvoice = "elena"\n', age_s=10)
    home.run()
    assert (home.receipt("elena")["status"], home.receipt("again")["status"]) == ("failed", "rejected")


def test_an_export_says_what_it_wrote(bench):
    home, _ = bench
    drop_file(home, "seed.vox", seed_era_vox())
    home.drop("out.toml", EXPORT.format("ELENA") + 'file = "her voice"\n')
    home.run()
    receipt = home.receipt("out")
    assert receipt["status"] == "done"
    assert [file["file"] for file in receipt["files"]] == ["her voice.vox"]
    assert home.files("out") == ["her voice.vox", "out.toml", "result.json"]


def test_an_imported_prompt_leaves_as_it_came(bench):
    home, _ = bench
    drop_file(home, "seed.vox", seed_era_vox())
    home.drop("out.toml", EXPORT.format("ELENA") + 'file = "elena.cloneprompt"\n')
    home.run()
    assert (home.instance.outbox / "out" / "elena.cloneprompt").read_bytes() == a_swift_prompt().to_bytes()


def test_a_file_without_a_usable_prompt_is_locked_from_its_recording(bench):
    home, _ = bench
    clip = {"file": "reference/a.wav", "transcript": "One two three, four five six."}
    content = an_archive(a_manifest(reference_audio=[clip]), **{"reference/a.wav": a_wav(), "notes.txt": b"kept"})
    drop_file(home, "clip.vox", content)
    assert home.status("clip") == "done"
    version = current(home, "ELENA")
    assert (version.origin, version.transcript, version.model.model) == ("import", clip["transcript"], MODEL)
    assert version.description == a_manifest()["voice"]["description"]
    assert "vox/notes.txt" in version.attachments


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"nothing", "vox-refused"), (an_archive(a_manifest(id="x")), "vox-invalid")],
)
def test_a_bad_file_fails_with_its_reason_and_adds_nothing(bench, content, code):
    home, _ = bench
    drop_file(home, "bad.vox", content)
    receipt = home.receipt("bad")
    assert (receipt["status"], receipt["error"]["code"]) == ("failed", code)


def test_a_cloned_voice_without_consent_is_not_exported(bench):
    home, _ = bench
    drop_file(home, "elena-1.7b.cloneprompt", a_swift_prompt().to_bytes())
    drop_file(home, "x.vox", seed_era_vox(provenance=None))
    home.drop("out.toml", EXPORT.format("elena-1.7b"))
    home.run()
    assert home.receipt("out")["status"] in ("failed", "rejected")


def test_a_relock_of_an_imported_voice_says_nothing_of_the_file(bench):
    home, _ = bench
    drop_file(home, "seed.vox", seed_era_vox())
    home.drop("re.toml", f'kind = "relock"\nvoice = "ELENA"\nmodel = "{MODEL}"\n')
    home.run()
    with home.context.database.read() as session:
        newest = history(session, "ELENA")[0]
    assert (newest.number, newest.origin, newest.parent) == (2, "relock", 1)
    assert "vox" not in newest.provenance


SAMPLES = samples_folder()


@pytest.mark.skipif(SAMPLES is None, reason="the sample folder is not here")
def test_the_sample_without_a_prompt_is_locked_from_its_sample(bench):
    home, _ = bench
    drop_file(home, "trap.vox", (SAMPLES / "synthetic" / "trap-sample-only.vox").read_bytes())
    receipt = home.receipt("trap")
    assert receipt["status"] == "done", receipt
    assert any("taken to be" in warning for warning in receipt["warnings"])
