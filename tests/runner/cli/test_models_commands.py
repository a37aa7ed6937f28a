"""`voicejobs models …` and what `doctor` says about models."""

import dataclasses
import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from models.errors import ModelInUse, ModelNeeded, ModelNotInstalled, UndoRefused, UnknownModel
from models.store.availability import Available, availability
from models.store.manifest import make_manifest, write_manifest
from models.store.shared_directory import hold_for_loading
from runner.cli.program import voicejobs
from runner.doctor.model_checks import check_models
from runner.errors import UsageProblem, WorkFailed
from tests.models.store.making import (
    BASE,
    CACHES,
    CUSTOM,
    DESIGN,
    ROOT,
    contents,
    home_environment,
    hub_cache,
    other_model,
    slug,
    speech_model,
)


@pytest.fixture
def run(directory, environment, tmp_path, monkeypatch):
    """Call a command with the fake home; returns its stdout, as JSON where that was asked for."""
    for name in ("VOICEJOBS_MODELS_DIR", "ACERVO_MODELS_DIR", "HF_HUB_CACHE", "HF_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        result = CliRunner().invoke(voicejobs, ["models", *map(str, arguments), "--models-dir", str(directory)])
        if result.exception is not None:
            raise result.exception
        return json.loads(result.stdout) if "--json" in arguments else result.stdout

    return call


def test_the_list_names_state_size_place_and_what_is_missing(run, directory):
    speech_model(directory / slug(BASE))
    broken = speech_model(directory / slug(CUSTOM))
    (broken / "merges.txt").unlink()
    rows = {row["id"]: row for row in run("list", "--json")}
    assert (rows[BASE]["state"], rows[BASE]["name"]) == ("available", "qwen3-tts-0.6b-base")
    assert (rows[CUSTOM]["state"], rows[CUSTOM]["missing"]) == ("partial", ["merges.txt"])
    assert rows[BASE]["size_bytes"] == sum(len(content) for content in contents(directory / slug(BASE)).values())
    assert "partial: merges.txt" in run("list")


def test_a_model_outside_the_table_is_told_by_its_own_config(run, directory):
    folder = speech_model(directory / "me_Small", kind="custom_voice")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps({**config, "tts_model_size": "1b7", "quantization": {"bits": 6, "group_size": 64}})
    )
    other_model(directory / "me_Other")
    other, small = run("list", "--json")
    assert (small["variant"], small["parameters"], small["quantization"]) == ("custom_voice", "1.7B", "6bit")
    assert small["abilities"] == ["presets", "instruct"]
    assert (other["speech"], other["variant"], other["abilities"]) == (False, None, [])


def test_the_whole_list_has_legacy_models_and_known_ones(run, directory, home):
    speech_model(directory / slug(BASE))
    speech_model(home / CACHES / "TTS" / slug(DESIGN))
    rows = run("list", "--all", "--json")
    folders = {row["id"]: row["folder"] for row in rows}
    assert folders[DESIGN] == str(home / CACHES / "TTS" / slug(DESIGN))
    assert folders["mlx-community/Qwen3-TTS-12Hz-1.7B-Base-8bit"] is None


def test_the_path_is_printed_alone(run, directory):
    speech_model(directory / slug(BASE))
    assert run("path", "qwen3-tts-0.6b-base").strip() == str(directory / slug(BASE))
    with pytest.raises(ModelNotInstalled, match="not usable"):
        run("path", CUSTOM)
    with pytest.raises(ModelNotInstalled, match="draft has no folder: it needs no weights"):
        run("path", "draft")


def test_pull_of_the_models_for_some_work_takes_those_that_are_here(run, directory, monkeypatch):
    for model_id in (BASE.replace("0.6B", "1.7B"), BASE):  # whichever this machine has room for
        speech_model(directory / slug(model_id))
    (pulled,) = run("pull", "--for", "lock", "--json")
    assert pulled["state"] == "available"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelNotInstalled):
        run("pull", "--for", "lock,design")


@pytest.mark.parametrize(
    "arguments", [(), ("--for", "sing"), ("draft", "--for", "lock"), ("--for", "lock", "--revision", "x")]
)
def test_pull_wants_a_name_or_known_work(run, arguments):
    with pytest.raises(UsageProblem):
        run("pull", *arguments)


def test_pull_fetches_and_prints_the_folder(run, directory, hub, tmp_path):
    hub.add_folder(BASE, speech_model(tmp_path / "source"))
    assert run("pull", "qwen3-tts-0.6b-base", "--json")["folder"] == str(directory / slug(BASE))
    assert isinstance(availability(directory / slug(BASE)), Available)


def test_verify_fails_when_a_model_is_broken(run, directory):
    folder = speech_model(directory / slug(BASE))
    write_manifest(folder, make_manifest(folder, model_id=BASE))
    assert run("verify", "--hashes", "--json")[0]["state"] == "available"
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(WorkFailed, match=BASE):
        run("verify", BASE, "--hashes")


def test_verify_of_an_unknown_name_says_what_is_there(run):
    with pytest.raises(UnknownModel, match="models list --all` names the known ones"):
        run("verify", "nothing-like-it")


def test_a_migration_is_shown_run_and_undone(run, directory, home):
    legacy = speech_model(home / CACHES / "TTS" / slug(BASE))
    plan = run("migrate", "--dry-run", "--json")
    assert [(step["action"], step["source"]) for step in plan] == [("rename", str(legacy))]
    assert legacy.is_dir()
    assert run("migrate", "--json")[0]["done"]
    assert isinstance(availability(directory / slug(BASE)), Available)
    run("migrate", "--undo")
    assert legacy.is_dir()
    with pytest.raises(UndoRefused):
        run("migrate", "--undo")


def test_rm_removes_a_model_and_nothing_else(run, directory, tmp_path):
    speech_model(directory / slug(BASE))
    other = speech_model(directory / slug(CUSTOM))
    assert run("rm", BASE, "--json")["freed_bytes"] > 0
    assert not (directory / slug(BASE)).exists()
    assert other.is_dir()
    mine = speech_model(tmp_path / "mine")
    with pytest.raises(ModelNotInstalled):
        run("rm", mine)
    assert mine.is_dir()


def test_rm_of_a_link_leaves_what_it_leads_to(run, directory, tmp_path):
    real = speech_model(tmp_path / "real")
    directory.mkdir()
    (directory / slug(BASE)).symlink_to(real)
    run("rm", BASE)
    assert isinstance(availability(real), Available)
    assert not (directory / slug(BASE)).is_symlink()


def test_rm_waits_for_nobody_and_refuses_while_the_model_is_loaded(run, directory):
    folder = speech_model(directory / slug(BASE))
    (directory / ".locks").mkdir()
    held = hold_for_loading(folder)
    with pytest.raises(ModelInUse):
        run("rm", BASE)
    held.release()
    run("rm", BASE)
    assert not folder.exists()


def instance_with_voice(root, *, model):
    """An instance whose registry has one voice, locked with `model`."""
    from registry.registry import open_registry
    from registry.voices.versions import add_version
    from tests.registry.making import BASE as FACTS
    from tests.registry.making import a_version

    (root / "voicejobs.toml").write_text("")
    with open_registry(root / ".voicejobs") as registry, registry.db.write() as session:
        add_version(session, a_version("elena", model=dataclasses.replace(FACTS, model=model)), now_s=1)


@pytest.mark.parametrize("recorded", [BASE, "qwen3-tts-0.6b-base"])
def test_a_model_that_a_voice_needs_is_removed_only_by_force(recorded, run, directory, tmp_path):
    folder = speech_model(directory / slug(BASE))
    instance_with_voice(tmp_path, model=recorded)
    assert run("list", "--json")[0]["used_by"] == ["elena@1"]
    with pytest.raises(ModelNeeded, match="elena@1"):
        run("rm", BASE)
    assert folder.is_dir()
    run("rm", BASE, "--force")
    assert not folder.exists()


def test_no_command_imports_mlx_or_downloads_anything_by_being_imported():
    program = (
        "import sys, runner.cli.commands.models, models.fetch.prepare, models.migrate.migration, models.store.upkeep;"
        "import runner.doctor.model_checks;"
        "bad = [name for name in ('mlx', 'huggingface_hub', 'sqlalchemy', 'numpy', 'pydantic') if name in sys.modules];"
        "assert not bad, bad"
    )
    finished = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr


def findings(directory, home, **more):
    found = check_models(directory, environ=home_environment(home), **more)
    return {(message.partition(":")[0], severity): (message, remedy) for severity, message, remedy in found}


def test_the_doctor_is_content_with_whole_models(directory, home):
    speech_model(directory / slug(BASE))
    found = findings(directory, home)
    assert ("models directory", "ok") in found or ("models directory", "warning") in found
    assert "1 model, none broken" in found["broken models", "ok"][0]


def test_the_doctor_names_broken_models_and_the_remedy(directory, home):
    (speech_model(directory / slug(BASE)) / "model.safetensors").write_bytes(b"")
    message, remedy = findings(directory, home)["broken models", "problem"]
    assert "model.safetensors" in message
    assert f"models pull {BASE}" in remedy


def test_the_doctor_counts_copies_but_not_hard_links(directory, home, tmp_path):
    source = speech_model(tmp_path / "source")
    hub_cache(home / ".cache/huggingface/hub", BASE, source)
    run_plan_of(directory, home)
    assert ("duplicates", "warning") not in findings(directory, home)
    speech_model(home / CACHES / "TTS" / slug(BASE))
    assert "wastes 0.00 GB" in findings(directory, home)["duplicates", "warning"][0]


def run_plan_of(directory, home):
    from models.migrate.migration import plan_migration, run_plan

    run_plan(plan_migration(directory, environ=home_environment(home)))


def test_the_doctor_sees_legacy_models_and_the_offline_switch(directory, home):
    other_model(home / CACHES / "LLM" / "mlx-community_Llama")
    found = findings(directory, home, offline=True)
    assert "1 model" in found["legacy models", "note"][0]
    assert "offline mode is on" in found["network", "note"][0]


def test_the_doctor_sees_an_interrupted_download(directory, home):
    (directory / ".incoming" / f"{slug(BASE)}.download").mkdir(parents=True)
    assert slug(BASE) in findings(directory, home)["interrupted work", "warning"][0]


def test_the_list_says_what_each_model_can_needs_and_may(run):
    rows = {row["name"]: row for row in run("list", "--all", "--json")}
    assert rows["spark"]["licence"] == "CC-BY-NC-SA-4.0"
    assert rows["dia"]["companions"] == ["mlx-community/descript-audio-codec-44khz"]
    assert (rows["dia"]["family"], rows["dia"]["abilities"]) == ("dia", ["clone", "presets"])
    assert (rows["qwen3-tts-0.6b-base"]["family"], rows["qwen3-tts-0.6b-base"]["companions"]) == (None, [])
    assert "non-commercial" in run("list", "--all")
