"""Voice files: what is read, what it means, and what is refused before anything is unpacked."""

import io
import json
import stat
import struct
import warnings
import zipfile

import pytest

from models.errors import VoxInvalid, VoxRefused
from models.voices.vox import read_vox, write_vox
from models.voices.vox_archive import read_archive, write_archive
from models.voices.vox_manifest import errors_in, migrated, warnings_in
from tests.models.voices.vox_making import (
    SEED_PATH,
    a_manifest,
    a_swift_prompt,
    a_wav,
    an_archive,
    entry,
    many_sized_vox,
    samples_folder,
    seed_era_vox,
)

ROOT = "embeddings/qwen3-tts"
VOICE = a_manifest()["voice"]
CONSENTED = {"method": "cloned", "source": ["reference/a.wav"], "consent": "self"}


@pytest.mark.parametrize("deflate", [False, True], ids=["stored", "deflated"])
def test_a_file_of_the_seed_era_is_read_and_its_prompt_found(deflate):
    files = {SEED_PATH: a_swift_prompt().to_bytes(), f"{ROOT}/sample-audio.wav": a_wav()}
    vox = read_vox(an_archive(a_manifest(vox_version="0.1.0"), deflate=deflate, **files))
    assert vox.manifest["vox_version"] == "0.4.0"
    assert [slot.content for slot in vox.prompts] == [files[SEED_PATH]]
    assert [recording.file for recording in vox.recordings] == [f"{ROOT}/sample-audio.wav"]


def test_a_pointer_in_the_extensions_names_the_prompt():
    extensions = {"qwen3-tts": {"clone_prompt": f"{ROOT}/voice.bin", "unrelated": 3}}
    content = an_archive(
        a_manifest(vox_version="0.1.0", extensions=extensions), **{f"{ROOT}/voice.bin": a_swift_prompt().to_bytes()}
    )
    vox = read_vox(content)
    assert list(vox.manifest["embeddings"]) == ["qwen3-tts-clone_prompt"]
    assert [slot.size for slot in vox.prompts] == ["1.7b"]


def test_every_prompt_is_listed_with_its_size_and_language():
    slots = read_vox(many_sized_vox()).prompts
    assert {(slot.size, slot.language) for slot in slots} == {("1.7b", None), ("1.7b", "es"), ("0.6b", None)}


def test_a_prompt_in_the_slot_of_the_other_size_is_known_by_its_embedding():
    embeddings = {"qwen3-tts-1.7b-clone-prompt": entry(f"{ROOT}/1.7b/clone-prompt.bin")}
    small = a_swift_prompt(1024).to_bytes()
    vox = read_vox(an_archive(a_manifest(embeddings=embeddings), **{f"{ROOT}/1.7b/clone-prompt.bin": small}))
    assert [(slot.size, slot.stated_size, slot.content) for slot in vox.prompts] == [("0.6b", "1.7b", small)]


def test_a_sample_is_never_taken_for_a_prompt():
    embeddings = {"qwen3-tts-1.7b": entry(f"{ROOT}/1.7b/sample-audio.wav", format="wav")}
    vox = read_vox(an_archive(a_manifest(embeddings=embeddings), **{f"{ROOT}/1.7b/sample-audio.wav": a_wav()}))
    assert vox.prompts == ()
    assert [recording.file for recording in vox.recordings] == [f"{ROOT}/1.7b/sample-audio.wav"]


def test_a_recording_in_the_slot_of_the_prompt_is_recognised_and_still_of_use():
    vox = read_vox(an_archive(a_manifest(vox_version="0.1.0"), **{SEED_PATH: a_wav()}))
    assert vox.prompts == ()
    assert any("a WAV recording" in warning for warning in vox.warnings)
    assert [recording.file for recording in vox.recordings] == [SEED_PATH]


def test_a_prompt_is_given_the_sample_beside_it():
    assert {slot.key: slot.recording.file for slot in read_vox(many_sized_vox()).prompts if slot.recording} == {
        "qwen3-tts-1.7b-clone-prompt": f"{ROOT}/1.7b/sample-audio.wav",
        "qwen3-tts-1.7b-es-clone-prompt": f"{ROOT}/1.7b/sample-audio.wav",
    }


def test_the_rest_of_a_file_is_what_no_prompt_holds():
    vox = read_vox(many_sized_vox())
    assert set(vox.files) - set(vox.rest) == {slot.entry["file"] for slot in vox.prompts}
    left = json.loads(vox.rest["manifest.json"])
    assert (list(left["embeddings"]), left["x_studio"]) == (["qwen3-tts-1.7b-sample-audio"], {"take": 3})


def test_unknown_entries_and_keys_survive_a_round_trip():
    vox = read_vox(many_sized_vox())
    again = read_vox(write_vox(vox.manifest, vox.files))
    assert again == vox
    assert again.files["notes/unknown.txt"] == b"kept as it is"
    assert again.manifest["x_studio"] == {"take": 3}


def test_what_is_written_is_stored_dateless_sorted_and_begins_with_the_manifest():
    vox = read_vox(many_sized_vox())
    content = write_vox(vox.manifest, vox.files)
    infos = zipfile.ZipFile(io.BytesIO(content)).infolist()
    assert infos[0].filename == "manifest.json"
    assert [info.filename for info in infos[1:]] == sorted(info.filename for info in infos[1:])
    assert {(info.compress_type, info.date_time[0]) for info in infos} == {(zipfile.ZIP_STORED, 1980)}
    again = read_vox(content)
    assert content == write_vox(again.manifest, again.files)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"vox_version": None}, "vox_version is missing"),
        ({"vox_version": "four"}, "vox_version"),
        ({"vox_version": "1.0.0"}, r"reads 0\.1\.0"),
        ({"id": "not-a-uuid"}, "UUID"),
        ({"id": "6f0c2c1e-6a1b-1b0e-9d2a-3f5f7f3b2a10"}, "version 4"),
        ({"created": "February 13, 2026"}, "created"),
        ({"created": "2026-13-40T12:00:00Z"}, "created"),
        ({"voice": None}, "voice is missing"),
        ({"voice": []}, "not an object"),
        ({"voice": {**VOICE, "name": " "}}, r"voice\.name"),
        ({"voice": {**VOICE, "description": "  short   "}}, "10 characters"),
        ({"voice": {**VOICE, "gender": "non-binary"}}, "gender"),
        ({"voice": {**VOICE, "age_range": [40, 30]}}, "age_range"),
        ({"voice": {**VOICE, "age_range": [55, "old", 30]}}, "age_range"),
        ({"voice": {**VOICE, "language": 3}}, "language"),
        ({"reference_audio": [{"file": ""}]}, r"reference_audio\[0\]\.file"),
        ({"reference_audio": [3]}, "not an object"),
        ({"reference_audio": {}}, "not a list"),
        ({"embeddings": {"k": {"file": "embeddings/x"}}}, "model is missing"),
        ({"embeddings": {"k": {"model": "m", "file": ""}}}, "file"),
        ({"embeddings": {"k": {"model": "m", "file": "assets/x"}}}, "not under"),
        ({"embeddings": {"k": None}}, "not an object"),
        ({"provenance": {"method": "cloned", "consent": "self"}}, "source"),
        ({"provenance": {**CONSENTED, "consent": "unknown"}}, "consent"),
        ({"provenance": {**CONSENTED, "consent": None}}, "consent"),
        ({"provenance": {"consent": "perhaps"}}, "consent"),
        ({"provenance": {"method": ["designed"]}}, r"provenance\.method is \['designed'\], not text"),
        ({"extensions": 3}, "extensions"),
    ],
)
def test_a_manifest_against_the_rules_is_refused_with_every_reason(changes, reason):
    with pytest.raises(VoxInvalid, match=reason):
        read_vox(an_archive(a_manifest(**changes)))


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "6F0C2C1E-6A1B-4B0E-9D2A-3F5F7F3B2A10"},
        {"created": "2026-02-14T12:00:00.123+05:30"},
        {"provenance": CONSENTED},
        {"vox_version": "0.9.17"},
    ],
)
def test_what_the_rules_allow_is_no_error(changes):
    assert errors_in(a_manifest(**changes)) == []


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        ({"embeddings": {"k": entry(f"{ROOT}/clone-prompt.bin")}}, "absent from the archive"),
        ({"provenance": {"method": "dreamt"}}, "method 'dreamt'"),
        ({"reference_audio": [{"file": "reference/a.wav", "transcript": "Hi.", "model": "m"}]}, "for 'm'"),
    ],
)
def test_what_is_odd_is_a_warning(changes, warning):
    content = an_archive(a_manifest(**changes), **{"reference/a.wav": b"x"})
    assert any(warning in found for found in read_vox(content).warnings)


def linked(mode):
    info = zipfile.ZipInfo("assets/link")
    info.create_system, info.external_attr = 3, mode << 16
    return zip_of((info, b"/etc/passwd"))


def zip_of(*entries, manifest=True):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile itself warns of duplicates
        if manifest:
            archive.writestr("manifest.json", json.dumps(a_manifest()))
        for name, data in entries:
            archive.writestr(name, data)
    return content.getvalue()


def with_flag(content, bit):
    at = content.rfind(b"PK\x01\x02")
    return content[: at + 8] + struct.pack("<H", bit) + content[at + 10 :]


def claiming(content, size):
    at = content.rfind(b"PK\x01\x02")
    return content[: at + 24] + struct.pack("<I", size) + content[at + 28 :]


def bomb():
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", json.dumps(a_manifest()))
        archive.writestr("assets/zeros", bytes(8 << 20))
    return content.getvalue()


HOSTILE = {
    "not a zip": (b"just text", "no voice file"),
    "empty": (b"", "no voice file"),
    "cut off": (zip_of(("assets/a", b"x" * 100))[:-40], "broken"),
    "no manifest": (zip_of(("assets/a", b"x"), manifest=False), r"no manifest\.json"),
    "a manifest below": (zip_of(("deep/manifest.json", b"{}"), manifest=False), r"no manifest\.json"),
    "climbing": (zip_of(("../evil", b"x")), "leaves the archive"),
    "climbing deep": (zip_of(("a/../../evil", b"x")), "leaves the archive"),
    "absolute": (zip_of(("/etc/evil", b"x")), "not relative"),
    "a drive": (zip_of(("C:/evil", b"x")), "not relative"),
    "backslashes": (zip_of(("..\\evil", b"x")), "not relative"),
    "an empty part": (zip_of(("a//b", b"x")), "empty part"),
    "duplicates": (zip_of(("assets/a", b"x"), ("assets/a", b"y")), "two entries"),
    "duplicates of case": (zip_of(("assets/a", b"x"), ("assets/A", b"y")), "two entries"),
    "file and folder": (zip_of(("assets", b"x"), ("assets/a", b"y")), "both a file and a folder"),
    "a link": (linked(stat.S_IFLNK | 0o777), "link or a device"),
    "a device": (linked(stat.S_IFCHR | 0o666), "link or a device"),
    "encrypted": (with_flag(zip_of(("assets/a", b"x")), 0x1), "encrypted"),
    "a bomb": (bomb(), "claims to unpack"),
    "a lying size": (claiming(zip_of(("assets/a", b"x")), 0x7FFFFFFF), "claims to unpack"),
    "too many": (zip_of(*((f"a/{number}", b"") for number in range(5000))), "entries"),
    "bad json": (an_archive(b"{"), "no JSON"),
    "deep json": (an_archive(b"[" * 100_000), "no JSON"),
    "no utf-8": (an_archive(b'{"a":"\xff"}'), "no JSON"),
    "half a character": (an_archive(b'{"a":"\\ud800"}'), "no JSON"),
    "nan": (an_archive(b'{"a":NaN}'), "no JSON"),
    "an infinite number": (an_archive(b'{"a":1e999}'), "no JSON"),
    "a json list": (an_archive(b"[]"), "no JSON object"),
}


@pytest.mark.parametrize(("content", "reason"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_or_broken_archive_is_refused_with_the_reason(content, reason):
    with pytest.raises(VoxRefused, match=reason):
        read_vox(content)


def test_flipped_bits_in_an_entry_are_noticed():
    content = zip_of(("assets/a", b"x" * 100))
    with pytest.raises(VoxRefused, match="broken"):
        read_archive(content.replace(b"x" * 100, b"x" * 99 + b"y"))


def test_equal_files_give_equal_archives_whatever_their_order():
    first = {"manifest.json": b"{}", "b": b"2", "a": b"1"}
    assert write_archive(first) == write_archive(dict(reversed(first.items())))


SAMPLES = samples_folder()
needs_samples = pytest.mark.skipif(SAMPLES is None, reason="the sample folder is not here")


@needs_samples
def test_every_real_archive_is_read_and_has_nothing_to_speak_with():
    files = sorted(SAMPLES.glob("*.vox"))
    assert len(files) >= 6
    voices = [read_vox(file.read_bytes()) for file in files]
    assert [(*vox.prompts, *vox.recordings) for vox in voices] == [()] * len(files)


@needs_samples
@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("voxalta-0.5.0-style", ["1.7b"]),
        ("voxalta-0.7.0-style", ["0.6b", "1.7b"]),
        ("legacy-extension-pointer", ["1.7b"]),
        ("trap-sample-only", []),
    ],
)
def test_the_good_samples_hold_the_prompts_they_should(name, sizes):
    vox = read_vox((SAMPLES / "synthetic" / f"{name}.vox").read_bytes())
    assert sorted(slot.size for slot in vox.prompts) == sizes


@needs_samples
@pytest.mark.parametrize(
    ("name", "reason"),
    [("cloned-without-consent", "consent"), ("no-manifest", r"no manifest\.json"), ("not-zip", "no voice file")],
)
def test_the_bad_samples_are_refused(name, reason):
    with pytest.raises((VoxRefused, VoxInvalid), match=reason):
        read_vox((SAMPLES / "synthetic" / f"bad-{name}.vox").read_bytes())


@needs_samples
def test_a_declared_file_that_is_absent_is_a_warning():
    content = (SAMPLES / "synthetic" / "bad-missing-declared.vox").read_bytes()
    assert any("absent" in warning for warning in read_vox(content).warnings)


@needs_samples
def test_the_sample_manifests_are_judged_as_their_names_say():
    for file in sorted((SAMPLES / "manifests").glob("*.json")):
        errors = errors_in(json.loads(file.read_bytes()))
        assert bool(errors) == file.name.startswith("invalid-"), (file.name, errors)


def test_a_map_made_from_paths_names_every_file():
    paths = [f"{ROOT}/a.bin", f"{ROOT}/a.wav", f"{ROOT}/1.7b/clone-prompt.bin", "assets/x"]
    made = migrated(a_manifest(vox_version="0.1.0"), paths)
    assert sorted(entry["file"] for entry in made["embeddings"].values()) == sorted(paths[:3])
    assert warnings_in(made, paths) == []
    assert errors_in(made) == []


def test_a_seed_era_file_from_a_designed_voice_is_ready():
    assert [slot.size for slot in read_vox(seed_era_vox()).prompts] == ["1.7b"]
