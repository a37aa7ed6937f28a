"""What happens by itself before a job, with a model in any place."""

import shutil

import pytest

from models.errors import ModelIncomplete, ModelNotInstalled
from models.fetch.prepare import ensure_model, pull_model
from models.migrate.migration import plan_migration, run_plan, undo_last
from models.store.availability import Available, availability
from tests.models.store.making import (
    BASE,
    CACHES,
    COMMIT,
    CUSTOM,
    DESIGN,
    contents,
    hub_cache,
    model_contents,
    other_model,
    run_python,
    slug,
    speech_model,
)


@pytest.fixture
def ensure(directory, environment, events):
    def run(name=BASE, **more):
        return ensure_model(name, directory=directory, environ=environment, on_event=events.append, **more)

    return run


def test_a_model_in_a_legacy_cache_is_moved_and_the_receipt_says_so(ensure, home, directory, hub):
    legacy = speech_model(home / CACHES / "TTS" / slug(BASE))
    prepared = ensure("qwen3-tts-0.6b-base")
    assert prepared.folder == directory / slug(BASE)
    assert prepared.actions_done == (f"{BASE} was moved from {legacy} to {prepared.folder}.",)
    assert hub.asked == []


def test_other_speech_models_of_the_same_disk_come_along_and_language_models_stay(ensure, home, directory):
    speech_model(home / CACHES / "TTS" / slug(BASE))
    speech_model(home / CACHES / "Audio" / slug(DESIGN))
    language_model = other_model(home / CACHES / "LLM" / "mlx-community_Llama")
    assert len(ensure().actions_done) == 2
    assert isinstance(availability(directory / slug(DESIGN)), Available)
    assert language_model.is_dir()


def test_what_a_person_has_put_back_is_used_where_it_lies_and_not_moved_again(ensure, home, directory, environment):
    wanted = speech_model(home / CACHES / "TTS" / slug(BASE))
    other = speech_model(home / CACHES / "Audio" / slug(DESIGN))
    run_plan(plan_migration(directory, environ=environment))
    undo_last(directory)
    assert ensure().folder == wanted
    assert other.is_dir()
    run_plan(plan_migration(directory, environ=environment))
    assert ensure().folder == directory / slug(BASE)


def test_an_adopted_model_that_was_given_up_again_is_used_in_its_cache(ensure, home, directory, environment, tmp_path):
    hub_cache(home / ".cache/huggingface/hub", BASE, speech_model(tmp_path / "source"))
    run_plan(plan_migration(directory, environ=environment))
    undo_last(directory)
    assert ensure().folder.is_relative_to(home / ".cache/huggingface/hub")
    assert not (directory / slug(BASE)).exists()


def test_hub_caches_of_other_models_are_left_alone(ensure, home, directory, tmp_path):
    speech_model(home / CACHES / "TTS" / slug(BASE))
    hub_cache(home / ".cache/huggingface/hub", CUSTOM, speech_model(tmp_path / "source"))
    ensure()
    assert not (directory / slug(CUSTOM)).exists()


def test_the_wanted_model_is_adopted_from_the_hub_cache_with_its_commit(ensure, home, tmp_path, hub):
    source = speech_model(tmp_path / "source")
    hub_cache(home / ".cache/huggingface/hub", BASE, source)
    prepared = ensure()
    assert prepared.revision == COMMIT
    assert model_contents(prepared.folder) == contents(source)
    assert hub.asked == []


def test_a_real_hub_cache_is_adopted(ensure, hub, environment, tmp_path):
    source = speech_model(tmp_path / "source")
    commit = hub.add_folder(BASE, source)
    program = f"import huggingface_hub; huggingface_hub.snapshot_download({BASE!r})"
    run_python(program, environment={**environment, "HF_HUB_DISABLE_PROGRESS_BARS": "1"})
    hub.asked.clear()
    prepared = ensure()
    assert prepared.revision == commit
    assert model_contents(prepared.folder) == contents(source)
    assert hub.asked == []


@pytest.mark.usefixtures("hub")
def test_the_wanted_model_comes_from_another_disk_too(home, environment, other_disk):
    legacy = speech_model(home / CACHES / "TTS" / slug(BASE))
    before = contents(legacy)
    speech_model(home / CACHES / "TTS" / slug(DESIGN))
    prepared = ensure_model(BASE, directory=other_disk / "shared", environ=environment)
    assert contents(prepared.folder) == before
    assert (home / CACHES / "TTS" / slug(DESIGN)).is_dir()


def test_a_model_of_installed_programs_is_used_where_it_lies(ensure, home, directory, events):
    theirs = speech_model(home / "Library/Group Containers/group.intrusive-memory.models/SharedModels" / slug(BASE))
    prepared = ensure()
    assert prepared.folder == theirs
    assert not (directory / slug(BASE)).exists()
    assert [event.kind for event in events] == ["referenced"]


def test_with_migration_off_a_model_is_used_where_it_lies(ensure, home, directory, hub):
    legacy = speech_model(home / CACHES / "TTS" / slug(BASE))
    assert ensure(migrate="off").folder == legacy
    assert not directory.exists()
    assert hub.asked == []


def test_the_official_weights_in_a_cache_stand_for_a_short_name(ensure, home, tmp_path, directory):
    official = "Qwen/Qwen3-TTS-12Hz-0.6B-Base"
    hub_cache(home / ".cache/huggingface/hub", official, speech_model(tmp_path / "source"))
    prepared = ensure("qwen3-tts-0.6b-base")
    assert prepared.id == official
    assert prepared.folder == directory / slug(official)


def test_a_broken_legacy_model_is_not_taken_but_fetched(ensure, home, hub, tmp_path):
    broken = speech_model(home / CACHES / "TTS" / slug(BASE), seed=5)
    (broken / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    before = contents(broken)
    hub.add_folder(BASE, speech_model(tmp_path / "source"))
    assert isinstance(ensure().state, Available)
    assert contents(broken) == before


def test_offline_a_legacy_model_is_still_adopted(ensure, home, hub):
    speech_model(home / CACHES / "TTS" / slug(BASE))
    assert isinstance(ensure(offline=True).state, Available)
    assert hub.asked == []


def test_a_closed_place_is_told_and_stops_nothing(ensure, home, hub, tmp_path, events):
    (home / CACHES).mkdir(parents=True)
    (home / CACHES / "TTS").symlink_to("TTS")
    hub.add_folder(BASE, speech_model(tmp_path / "source"))
    assert isinstance(ensure().state, Available)
    assert "finding" in {event.kind for event in events}


def test_a_broken_local_folder_is_named_with_what_it_lacks(ensure, tmp_path):
    folder = speech_model(tmp_path / "mine")
    (folder / "speech_tokenizer/config.json").unlink()
    with pytest.raises(ModelIncomplete, match=r"speech_tokenizer/config\.json is missing"):
        ensure(str(folder))


def test_a_local_folder_is_used_where_it_lies(ensure, tmp_path, directory):
    folder = speech_model(tmp_path / "mine")
    assert ensure(str(folder)).folder == folder
    assert not directory.exists()


def test_a_local_folder_without_a_model_is_an_error(ensure, tmp_path):
    with pytest.raises(ModelNotInstalled, match="holds no model"):
        ensure(str(tmp_path))


def test_the_draft_engine_is_always_ready(ensure, directory):
    assert ensure("draft").folder is None
    assert not directory.exists()


def test_a_model_that_is_there_costs_no_lock_and_no_journal(ensure, directory):
    speech_model(directory / slug(BASE))
    assert ensure().actions_done == ()
    assert [path.name for path in directory.iterdir()] == [slug(BASE)]


def test_an_interrupted_move_is_cleared_up_before_the_job(ensure, home, directory, environment):
    speech_model(home / CACHES / "TTS" / slug(BASE))
    program = (
        "import os; from pathlib import Path; from models.fetch.prepare import ensure_model;"
        f"ensure_model({BASE!r}, directory=Path({str(directory)!r}), environ=os.environ)"
    )
    run_python(program, environment=environment, crash_at="models.rename.renamed")
    prepared = ensure()
    assert isinstance(prepared.state, Available)
    assert "had been finished" in prepared.actions_done[0]


def test_pull_mends_a_partial_model(directory, environment, hub, tmp_path):
    source = speech_model(tmp_path / "source")
    commit = hub.add_folder(BASE, source)
    shutil.copytree(source, directory / slug(BASE))
    (directory / slug(BASE) / "model.safetensors").unlink()
    prepared = pull_model(BASE, directory=directory, environ=environment)
    assert isinstance(prepared.state, Available)
    assert hub.gets(f"{commit}/speech_tokenizer/model.safetensors") == []
    assert hub.gets(f"{commit}/model.safetensors") != []


def test_pull_of_another_revision_takes_the_place_of_the_installed_one(directory, environment, hub, tmp_path):
    hub.add_folder(BASE, speech_model(tmp_path / "old", seed=1))
    pull_model(BASE, directory=directory, environ=environment)
    commit = hub.add_folder(BASE, speech_model(tmp_path / "new", seed=2))
    prepared = pull_model(BASE, directory=directory, environ=environment, revision=commit)
    assert prepared.revision == commit
    assert model_contents(prepared.folder).items() >= contents(tmp_path / "new").items()
