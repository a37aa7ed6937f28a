"""Voices between registries: what leaves comes back, byte for byte, and nothing else gets in."""

import io
import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from models.voices.swift_prompt import parse_swift_prompt, to_clone_prompt
from registry.errors import InvalidInput
from registry.registry import open_registry
from registry.voices.lookup import aliases, history, resolve
from registry.voices.tombstones import remove_version
from registry.voices.versions import set_alias
from runner.exchange.exporter import ConsentMissing, export_prompt
from runner.exchange.importer import read_voice_file
from runner.exchange.voice_import import NothingToSpeakWith
from tests.models.voices.vox_making import (
    SEED_PATH,
    a_manifest,
    a_swift_prompt,
    a_wav,
    an_archive,
    many_sized_vox,
    samples_folder,
    seed_era_vox,
)
from tests.runner.exchange.travelling import MODEL, exported, imported, locked, manifest_in, native_prompt

# ---- our own voices --------------------------------------------------------------------------------------------


def test_a_locked_voice_travels_with_its_digest_and_every_fact(home, away):
    before = locked(home)
    after = imported(away, exported(home).content).chosen
    same = ("digest", "prompt_sha256", "transcript", "description", "language", "seed", "sampling", "consent")
    same += ("character", "metadata", "pronunciations", "speaker_embedding", "attachments", "model", "prompt_facts")
    for name in same:
        if name != "attachments":
            assert getattr(after, name) == getattr(before, name), name
    assert after.attachments["design_state"] == before.attachments["design_state"]
    assert (after.name, after.origin) == ("elena@1", "import")
    assert away.objects.read(after.prompt_sha256) == home.objects.read(before.prompt_sha256)


def test_export_import_export_is_byte_identical_over_two_journeys(home, away, tmp_path):
    locked(home)
    locked(home, prompt=native_prompt(1024), parent=1, now_s=1_700_000_100.0, origin="relock")
    with home.db.write() as session:
        set_alias(session, "elena@1", "warm", now_s=1.0)
    content = exported(home, "elena@1").content
    imported(away, content)
    assert exported(away).content == content
    with open_registry(tmp_path / "third") as third:
        imported(third, exported(away).content, now_s=1_900_000_000.0)
        assert exported(third).content == content


def test_history_parents_and_aliases_travel(home, away):
    locked(home)
    locked(home, now_s=1_700_000_100.0, parent=1, seed=8)
    with home.db.write() as session:
        set_alias(session, "elena@1", "warm", now_s=1.0)
    imported(away, exported(home).content)
    with away.db.read() as session:
        newest, oldest = history(session, "elena")
        assert (newest.number, newest.parent, oldest.parent) == (2, 1, None)
        assert {alias.name: alias.number for alias in aliases(session, "elena")} == {"current": 2, "warm": 1}


def test_an_older_version_that_was_exported_is_the_current_one_elsewhere(home, away):
    first = locked(home)
    locked(home, now_s=1_700_000_100.0, seed=8)
    assert imported(away, exported(home, "elena@1").content).chosen.digest == first.digest
    with away.db.read() as session:
        assert resolve(session, "elena").digest == first.digest


def test_importing_twice_adds_nothing(home, away):
    locked(home)
    content = exported(home).content
    assert imported(away, content).added == 1
    assert imported(away, content).added == 0
    assert imported(home, content).added == 0


def test_a_removed_version_stays_at_home(home, away):
    locked(home)
    locked(home, now_s=1_700_000_100.0, seed=8)
    with home.db.write() as session:
        remove_version(session, "elena@1", now_s=1.0)
    imported(away, exported(home).content)
    with away.db.read() as session:
        assert [version.seed for version in history(session, "elena")] == [8]


def test_the_swift_tools_find_a_prompt_of_each_size_and_language(home):
    locked(home)
    locked(home, prompt=native_prompt(1024), now_s=1_700_000_100.0)
    locked(home, prompt=native_prompt(frames=7), language="spanish", now_s=1_700_000_200.0)
    content = exported(home, "elena@1").content
    embeddings = manifest_in(content)["embeddings"]
    assert {key: entry["file"].removeprefix("embeddings/qwen3-tts/") for key, entry in embeddings.items()} == {
        "qwen3-tts-1.7b-clone-prompt": "1.7b/clone-prompt.bin",
        "qwen3-tts-0.6b-clone-prompt": "0.6b/clone-prompt.bin",
        "qwen3-tts-1.7b-es-clone-prompt": "1.7b/es/clone-prompt.bin",
    }
    swift = zipfile.ZipFile(io.BytesIO(content)).read("embeddings/qwen3-tts/1.7b/clone-prompt.bin")
    native = to_clone_prompt(parse_swift_prompt(swift))
    np.testing.assert_array_equal(native.speaker_embedding, native_prompt().speaker_embedding)
    np.testing.assert_array_equal(native.reference_codes, native_prompt().reference_codes)


def test_the_manifest_says_what_other_tools_want_to_know(home):
    locked(home)
    manifest = manifest_in(exported(home).content)
    assert manifest["vox_version"] == "0.4.0"
    assert manifest["created"] == "2023-11-14T22:13:20Z"
    assert manifest["voice"] == {
        "name": "elena",
        "description": "A female voice, 30-40. A seasoned detective.",
        "language": "en",
        "gender": "female",
        "age_range": [30, 40],
        "tags": ["warm"],
    }
    assert manifest["provenance"] == {"method": "designed", "engine": "qwen3-tts"}
    (clip,) = manifest["reference_audio"]
    assert (clip["transcript"], clip["duration_seconds"]) == ("Look out, I shout.", 2.0)


def nulls_in(value):
    if isinstance(value, dict):
        return any(map(nulls_in, value.values()))
    return any(map(nulls_in, value)) if isinstance(value, list) else value is None


def test_extensions_never_hold_a_null(home):
    locked(home, audition_sha256=None, speaker_embedding=None, character=None)
    assert not nulls_in(manifest_in(exported(home).content)["extensions"])


@pytest.mark.parametrize(("consent", "leaves"), [("self", True), ("granted", True), ("unknown", False)])
def test_a_cloned_voice_leaves_only_with_consent(home, consent, leaves):
    locked(home, description=None, provenance={"audio": "me.wav"}, consent=consent)
    if not leaves:
        with pytest.raises(ConsentMissing, match="unknown"):
            exported(home)
        return
    manifest = manifest_in(exported(home).content)
    (clip,) = manifest["reference_audio"]
    assert manifest["provenance"] == {
        "method": "cloned",
        "consent": consent,
        "engine": "qwen3-tts",
        "source": [clip["file"]],
    }


def test_a_version_without_consent_stays_behind_and_is_named(home, away):
    locked(home, description=None, provenance={"audio": "me.wav"}, consent="unknown")
    locked(home, now_s=1_700_000_100.0)
    voice = exported(home)
    assert any("elena@1 stays here" in warning for warning in voice.warnings)
    assert len(imported(away, voice.content).versions) == 1


def test_a_voice_of_an_engine_without_swift_prompts_travels_all_the_same(home, away):
    draft = replace(MODEL, engine="draft", model="draft")
    before = locked(home, model=draft, prompt_sha256=home.objects.put(b"draft prompt"))
    content = exported(home).content
    assert "embeddings" not in manifest_in(content)
    assert imported(away, content).chosen.digest == before.digest
    assert exported(away).content == content


# ---- voices of the Swift tools ---------------------------------------------------------------------------------


def test_an_imported_prompt_is_kept_and_given_back_byte_for_byte(away):
    content = a_swift_prompt(text="Words.").to_bytes() + b"trailing"
    version = imported(away, content, name="elena-1.7b.cloneprompt", consent="self").chosen
    assert (version.voice, version.transcript, version.model.model) == ("elena-1.7b", "Words.", "qwen3-tts-1.7b-base")
    assert away.objects.read(version.prompt_sha256) == content
    with away.db.read() as session:
        assert export_prompt(session, away.objects, "elena-1.7b").content == content


def test_a_seed_era_file_becomes_a_version_with_its_sample_for_a_relock(away):
    version = imported(away, seed_era_vox()).chosen
    assert (version.voice, version.model.model) == ("ELENA", "qwen3-tts-1.7b-base")
    assert away.objects.read(version.prompt_sha256) == a_swift_prompt().to_bytes()
    assert version.reference_duration_s == pytest.approx(3.2)


def test_sizes_and_languages_of_one_voice_stay_one_file(away):
    result = imported(away, many_sized_vox())
    assert [(version.model.model[10:14], version.language) for version in result.versions] == [
        ("0.6b", "english"),
        ("1.7b", "spanish"),
        ("1.7b", "english"),
    ]
    assert result.chosen.name == "ELENA@3"
    archive = zipfile.ZipFile(io.BytesIO(exported(away, "ELENA").content))
    before = zipfile.ZipFile(io.BytesIO(many_sized_vox()))
    for info in before.infolist():
        if info.filename != "manifest.json":
            assert archive.read(info.filename) == before.read(info.filename), info.filename
    was, now = (json.loads(one.read("manifest.json")) for one in (before, archive))
    assert {key: now[key] for key in was} == was


def test_a_foreign_voice_travels_on_byte_for_byte(home, away):
    imported(home, many_sized_vox())
    content = exported(home, "ELENA").content
    imported(away, content)
    assert exported(away, "ELENA").content == content


def test_a_relock_for_the_other_size_joins_the_file_that_the_voice_came_in(home):
    imported(home, seed_era_vox())
    locked(home, "ELENA", prompt=native_prompt(1024), model=replace(MODEL, model="qwen3-tts-0.6b-base"))
    files = {entry["file"] for entry in manifest_in(exported(home, "ELENA@1").content)["embeddings"].values()}
    assert {SEED_PATH, "embeddings/qwen3-tts/0.6b/clone-prompt.bin"} <= files


def test_a_file_without_a_usable_prompt_asks_for_a_lock_from_its_recording():
    words = {"file": "reference/a.wav", "transcript": "One two three."}
    content = an_archive(a_manifest(reference_audio=[words]), **{"reference/a.wav": a_wav()})
    needed = read_voice_file(content, file_name="x.vox").needs_lock
    assert (needed.transcript, needed.audio) == ("One two three.", a_wav())


def test_a_sample_without_words_is_taken_to_say_what_the_swift_tools_let_it_say():
    content = an_archive(a_manifest(vox_version="0.1.0"), **{SEED_PATH: a_wav(3.2)})
    found = read_voice_file(content, file_name="x.vox")
    assert found.needs_lock.transcript.startswith("Hello, this is a voice sample")
    assert any("taken to be" in warning for warning in found.warnings)


def test_a_sample_of_any_other_length_needs_its_words():
    content = an_archive(a_manifest(vox_version="0.1.0"), **{SEED_PATH: a_wav(30)})
    with pytest.raises(NothingToSpeakWith, match="exact words"):
        read_voice_file(content, file_name="x.vox")
    assert read_voice_file(content, file_name="x.vox", transcript="Said.").needs_lock.transcript == "Said."


def test_a_manifest_alone_is_refused_and_its_description_offered():
    with pytest.raises(NothingToSpeakWith, match="seasoned detective"):
        read_voice_file(an_archive(a_manifest()), file_name="x.vox")


@pytest.mark.parametrize(("name", "voice"), [("Wise Mentor", "Wise-Mentor"), ("Zoë / 2", "Zoë-2"), ("老师", "老师")])
def test_a_display_name_becomes_a_voice_name(away, name, voice):
    content = seed_era_vox(voice={"name": name, "description": "A voice that is described."})
    assert imported(away, content).chosen.voice == voice


def test_the_name_of_a_preset_needs_another_one(away):
    content = seed_era_vox(voice={"name": "Ryan", "description": "A voice that is described."})
    with pytest.raises(InvalidInput, match="--voice"):
        imported(away, content)
    assert imported(away, content, voice="my-ryan").chosen.name == "my-ryan@1"


def test_a_renamed_voice_carries_its_new_name(home):
    imported(home, seed_era_vox(), voice="helena")
    assert manifest_in(exported(home, "helena").content)["voice"]["name"] == "helena"


def test_an_import_leaves_current_where_it_is_when_told(away):
    locked(away, "ELENA")
    imported(away, seed_era_vox(), set_current=False)
    with away.db.read() as session:
        assert resolve(session, "ELENA").number == 1


# ---- the samples -----------------------------------------------------------------------------------------------

SAMPLES = samples_folder()
needs_samples = pytest.mark.skipif(SAMPLES is None, reason="the sample folder is not here")


@needs_samples
@pytest.mark.parametrize("name", ["voxalta-0.5.0-style", "voxalta-0.7.0-style", "legacy-extension-pointer"])
def test_the_good_samples_travel_and_keep_their_prompts(home, away, name):
    content = (SAMPLES / "synthetic" / f"{name}.vox").read_bytes()
    imported(home, content)
    once = exported(home, "ELENA").content
    imported(away, once)
    assert exported(away, "ELENA").content == once
    before, after = (zipfile.ZipFile(io.BytesIO(data)) for data in (content, once))
    for path in set(before.namelist()) - {"manifest.json"}:
        assert after.read(path) == before.read(path)


@needs_samples
def test_the_trap_asks_for_a_lock():
    content = (SAMPLES / "synthetic" / "trap-sample-only.vox").read_bytes()
    assert read_voice_file(content, file_name="trap.vox").needs_lock.file.endswith("sample-audio.wav")


@needs_samples
def test_exported_manifests_validate_against_the_published_schema(home):
    import jsonschema

    schema = json.loads((SAMPLES / "schemas" / "manifest-v0.4.0.json").read_bytes())
    locked(home)
    locked(home, "actor", description=None, provenance={"audio": "me.wav"}, now_s=1_700_000_200.0)
    imported(home, (SAMPLES / "synthetic" / "voxalta-0.7.0-style.vox").read_bytes())
    for name in ("elena", "actor", "ELENA"):
        jsonschema.validate(manifest_in(exported(home, name).content), schema)
