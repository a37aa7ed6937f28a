"""Records of our own in a voice file that somebody changed: each is refused with a reason that names the value."""

import base64
import hashlib
import io
import json
import zipfile

import pytest

from models.errors import VoxInvalid
from tests.models.voices.vox_making import a_swift_prompt, an_archive
from tests.runner.exchange.travelling import exported, imported, locked


def tampered(content, change):
    archive = zipfile.ZipFile(io.BytesIO(content))
    files = {info.filename: archive.read(info) for info in archive.infolist()}
    manifest = json.loads(files.pop("manifest.json"))
    change(manifest, files)
    return an_archive(manifest, **files)


def records_of(manifest):
    return manifest["extensions"]["voicejobs"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda m, _: records_of(m)["versions"][0].update(transcript="Other words."), "not that of its digest"),
        (lambda _, f: f.update({p: b"x" for p in f if p.startswith("voicejobs/prompts")}), "prompt was changed"),
        (lambda _, f: f.update({p: b"x" for p in f if p.startswith("reference/")}), "reference was changed"),
        (lambda _, f: [f.pop(p) for p in list(f) if "/prompts/" in p], "prompt is absent"),
        (lambda m, _: records_of(m).update(form=99), "form"),
        (lambda m, _: records_of(m).update(chosen=7), "chosen"),
        (lambda m, _: records_of(m).update(versions=[]), "no usable versions"),
        (lambda m, _: records_of(m).update(versions=[3]), r"versions\[0\] is not an object"),
        (lambda m, _: records_of(m).update(aliases={"7": 1}), "alias"),
        (lambda m, _: records_of(m).update(aliases={"warm": 9}), "nowhere"),
        (lambda m, _: m["extensions"].update(voicejobs=3), "form"),
    ],
)
def test_a_file_whose_records_were_changed_is_refused(home, away, change, reason):
    locked(home)
    with pytest.raises(VoxInvalid, match=reason):
        imported(away, tampered(exported(home).content, change))
    assert away.voices() == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("sampling", True),
        ("sampling", {"temperature": "hot"}),
        ("sampling", {"temperature": True}),
        ("seed", "7"),
        ("seed", 1 << 63),
        ("consent", "perhaps"),
        ("consent", ["self"]),
        ("prompt_sha256", "../../x"),
        ("digest", 3),
        ("transcript", None),
        ("engine", None),
        ("reference_duration_s", 1 << 70),
        ("speaker_embedding", "é"),
        ("speaker_embedding", base64.b64encode(b"\0\0\xc0\x7f").decode()),
        ("pronunciations", {"Nguyen": 3}),
        ("attachments", {"design_state": "x"}),
        ("objects", ["prompt"]),
        ("parent", 1),
        ("slot", {"key": 3}),
        ("slot", {"key": "k", "entry": {"file": "reference/a.wav", "model": "m"}}),
        ("details", "{"),
        ("details", '{"metadata": {"x": 1e999}}'),
        ("details", '{"metadata": {"x": "\\ud800"}}'),
        ("details", '{"provenance": []}'),
        ("details", '{"character": {"gender": ["female"]}}'),
        ("details", '{"character": {"voice_traits": 3}}'),
        ("details", '{"prompt_facts": {"embedding_size": "large"}}'),
        ("details", '{"software": {"mlx": 3}}'),
        ("details", '{"provenance": {"vox": {"slot": 3}}}'),
    ],
    ids=str,
)
def test_a_record_with_a_value_of_another_kind_is_refused_and_the_value_named(home, away, key, value):
    locked(home)
    content = tampered(exported(home).content, lambda m, _: records_of(m)["versions"][0].update({key: value}))
    with pytest.raises(VoxInvalid, match=rf"extensions\.voicejobs\.versions\[0\]\.{key}"):
        imported(away, content)
    assert away.voices() == []


def test_a_record_cannot_bring_files_of_another_archive_along(home, away):
    """Attachments under the prefix of a file's rest would be written into the next archive under any path."""
    locked(home)

    def climb(manifest, files):
        record = records_of(manifest)["versions"][0]
        record["attachments"]["vox/../../evil"] = hashlib.sha256(b"evil").hexdigest()
        record["objects"]["attachment:vox/../../evil"] = "evil.bin"
        files["evil.bin"] = b"evil"

    with pytest.raises(VoxInvalid, match="vox/"):
        imported(away, tampered(exported(home).content, climb))


def test_a_prompt_that_another_tool_added_becomes_a_version(home, away):
    locked(home)

    def add(manifest, files):
        file = "embeddings/qwen3-tts/0.6b/clone-prompt.bin"
        manifest["embeddings"]["qwen3-tts-0.6b-clone-prompt"] = {"model": "0.6B", "file": file}
        files[file] = a_swift_prompt(1024).to_bytes()

    versions = imported(away, tampered(exported(home).content, add)).versions
    assert [version.model.model for version in versions] == ["qwen3-tts-1.7b-base", "qwen3-tts-0.6b-base"]
