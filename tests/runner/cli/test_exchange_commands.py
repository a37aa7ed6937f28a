"""`voices import` and `voices export` from the command line, and diga's store."""

import json

import pytest

from models.errors import VoxRefused
from models.voices.diga import diga_voices
from registry.registry import open_registry
from runner.cli.program import run_command
from runner.config.instance import open_instance
from runner.config.settings import SETTINGS_FILE
from tests.models.voices.vox_making import a_manifest, a_swift_prompt, a_wav, an_archive, many_sized_vox, seed_era_vox


@pytest.fixture
def instance(tmp_path, monkeypatch):
    home = tmp_path / "instance"
    home.mkdir()
    monkeypatch.chdir(home)
    monkeypatch.setenv("VOICEJOBS_TEST_ENGINES", "1")
    (home / SETTINGS_FILE).write_text('model = "tests.engines.noop:open_engine"\nmin_free_bytes = 0\n')
    return open_instance(home)


def run(*arguments):
    return run_command(["voices", *map(str, arguments)])


def versions(instance, voice):
    with open_registry(instance.state_dir) as registry:
        return registry.history(voice)


def write(folder, name, content):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def snapshot(folder):
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else None) for path in folder.rglob("*")
    }


@pytest.mark.usefixtures("instance")
def test_a_file_is_imported_and_exported_again(tmp_path, capsys):
    source = write(tmp_path, "elena.vox", seed_era_vox())
    assert run("import", source, "--voice", "elena") == 0
    assert capsys.readouterr().out == "imported\telena@1\n"
    assert run("import", source, "--voice", "elena", "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["status"] == "known"
    assert run("export", "elena@1", "-o", tmp_path / "out.vox") == 0
    assert run("export", "elena", "-o", tmp_path / "out.cloneprompt") == 0
    assert (tmp_path / "out.cloneprompt").read_bytes() == a_swift_prompt().to_bytes()
    assert run("import", tmp_path / "out.vox", "--voice", "helena") == 0


def test_without_o_the_file_is_named_after_the_voice(instance, tmp_path, capsys):
    run("import", write(tmp_path, "elena.vox", seed_era_vox()))
    capsys.readouterr()
    assert run("export", "ELENA") == 0
    assert capsys.readouterr().out.strip() == str(instance.root / "ELENA.vox")


@pytest.mark.usefixtures("instance")
def test_a_bare_prompt_leaves_in_a_vox_file_only_with_consent(tmp_path, capsys):
    prompt = write(tmp_path, "me.cloneprompt", a_swift_prompt().to_bytes())
    run("import", prompt)
    assert run("export", "me") == 3
    assert "voices import FILE --voice me --consent self" in capsys.readouterr().err
    assert run("import", prompt, "--voice", "mine", "--consent", "self") == 0
    assert run("export", "mine") == 0


@pytest.mark.parametrize(
    ("content", "said"), [(b"nothing", "no voice file"), (an_archive(a_manifest()), "neither a usable clone prompt")]
)
def test_a_refused_file_says_why_and_adds_nothing(instance, tmp_path, capsys, content, said):
    assert run("import", write(tmp_path, "bad.vox", content)) != 0
    assert said in capsys.readouterr().err
    with open_registry(instance.state_dir) as registry:
        assert registry.voices() == []


@pytest.mark.usefixtures("instance")
def test_a_folder_gives_what_is_good_and_names_what_is_not(tmp_path, capsys):
    folder = tmp_path / "voices"
    write(folder, "a.vox", many_sized_vox())
    write(folder, "b.vox", b"broken")
    write(folder, "c.cloneprompt", a_swift_prompt(1024).to_bytes())
    write(folder, "readme.txt", b"not a voice")
    before = snapshot(folder)
    assert run("import", folder) == 1
    out, err = capsys.readouterr()
    assert out == "imported\tELENA@3\nimported\tc@1\n"
    assert "b.vox: This is no voice file" in err
    assert snapshot(folder) == before


def test_a_file_without_a_prompt_is_locked_by_a_job_that_is_waited_for(instance, tmp_path):
    clip = {"file": "reference/a.wav", "transcript": "One two three, four five six."}
    source = write(tmp_path, "clip.vox", an_archive(a_manifest(reference_audio=[clip]), **{"reference/a.wav": a_wav()}))
    assert run("import", source, "--no-wait", "--voice", "clip") == 0
    (dropped,) = [path for path in instance.inbox.iterdir() if not path.name.startswith(".")]
    assert sorted(path.name for path in dropped.iterdir()) == ["clip.vox", "import-clip.json"]


@pytest.mark.usefixtures("instance")
def test_consent_that_is_given_later_makes_a_version_that_may_leave(tmp_path):
    prompt = write(tmp_path, "me.cloneprompt", a_swift_prompt().to_bytes())
    run("import", prompt)
    assert run("import", prompt, "--consent", "granted") == 0
    assert run("export", "me") == 0
    assert run("export", "me@1") == 3


# ---- diga ------------------------------------------------------------------------------------------------------


@pytest.fixture
def diga(tmp_path):
    folder = tmp_path / ".diga" / "voices"
    index = [
        {"name": "narrator", "type": "cloned", "clonePromptPath": "/Users/x/.diga/voices/narrator.cloneprompt"},
        {"name": "elena", "type": "designed", "designDescription": "A warm voice.", "createdAt": 793000000.5},
        {"name": "ryan", "type": "builtin", "clonePromptPath": None},
        {"name": "ghost", "type": "designed", "designDescription": "A voice nobody has heard yet."},
    ]
    write(folder, "index.json", json.dumps(index).encode())
    write(folder, "elena-1.7b.cloneprompt", a_swift_prompt().to_bytes())
    write(folder, "elena-0.6b.cloneprompt", a_swift_prompt(1024).to_bytes())
    write(folder, "elena.cloneprompt", a_swift_prompt(frames=9).to_bytes())
    write(folder, "narrator.cloneprompt", a_swift_prompt(frames=7).to_bytes())
    write(folder, "loose-0.6b.cloneprompt", a_swift_prompt(1024, frames=8).to_bytes())
    return tmp_path / ".diga"


def test_the_store_is_read_as_diga_reads_it(diga):
    voices = {voice.name: voice for voice in diga_voices(diga / "voices")}
    assert list(voices) == ["narrator", "elena", "ryan", "ghost", "loose"]
    assert {size: path.name for size, path in voices["elena"].prompts.items()} == {
        "0.6b": "elena-0.6b.cloneprompt",
        "1.7b": "elena-1.7b.cloneprompt",
    }
    assert {size: path.name for size, path in voices["narrator"].prompts.items()} == {"1.7b": "narrator.cloneprompt"}


def test_diga_is_taken_over_and_left_as_it_was(instance, diga, capsys):
    before = snapshot(diga)
    assert run("import", diga, "--no-wait") == 0
    assert snapshot(diga) == before
    assert set(capsys.readouterr().out.splitlines()) == {
        "imported\tnarrator@1",
        "imported\telena@2",
        "skipped\tryan",
        "queued\tghost",
        "imported\tloose@1",
    }
    newest, oldest = versions(instance, "elena")
    assert (newest.model.model, oldest.model.model) == ("qwen3-tts-1.7b-base", "qwen3-tts-0.6b-base")
    assert newest.description == "A warm voice."
    with open_registry(instance.state_dir) as registry:
        assert registry.objects.read(newest.prompt_sha256) == a_swift_prompt().to_bytes()


def test_a_voice_that_diga_only_described_is_designed_and_locked(instance, diga):
    run("import", diga, "--no-wait")
    jobs = [json.loads(path.read_bytes()) for path in sorted(instance.inbox.glob("*.json"))]
    assert [(job["kind"], job["voice"]) for job in jobs] == [("design", "ghost"), ("lock", "ghost")]
    assert jobs[1]["from"] == {"job": jobs[0]["id"], "candidate": 1}


@pytest.mark.parametrize("content", [b"{", b"{}", b"[3]", b'[{"name": 3}]', b"[" * 100_000])
def test_a_broken_index_is_refused(tmp_path, content):
    write(tmp_path, "index.json", content)
    with pytest.raises(VoxRefused):
        diga_voices(tmp_path)


def test_a_prompt_path_never_leads_out_of_the_store(tmp_path):
    secret = write(tmp_path, "secret.cloneprompt", b"x")
    folder = tmp_path / "voices"
    write(folder, "index.json", json.dumps([{"name": "a", "clonePromptPath": str(secret)}]).encode())
    (folder / "a-1.7b.cloneprompt").symlink_to(secret)
    assert diga_voices(folder)[0].prompts == {}
