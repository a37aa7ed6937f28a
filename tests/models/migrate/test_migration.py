"""Models from legacy places: what is moved, adopted, referenced or left, and how it is undone."""

import json
import os
import shutil
from pathlib import Path

import pytest

from models.errors import UndoRefused
from models.migrate.journal import Journal
from models.migrate.migration import plan_migration, run_plan, undo_last
from models.store.availability import Available, availability
from models.store.manifest import read_provenance
from tests.models.store.making import (
    BASE,
    CACHES,
    COMMIT,
    CUSTOM,
    DESIGN,
    contents,
    home_environment,
    hub_cache,
    model_contents,
    other_model,
    slug,
    speech_model,
)


def migrate(directory, home, *, events=None, on_conflict="keep-existing", **more):
    plan = plan_migration(directory, environ=home_environment(home, **more), on_conflict=on_conflict)
    return run_plan(plan, on_event=(events if events is not None else []).append)


MOVED_FROM = {
    **{kind: f"{CACHES}/{kind}" for kind in ("LLM", "TTS", "Audio", "VLM")},
    "first Acervo": "Library/SharedModels",
    "middle Acervo": "Library/Application Support/SwiftAcervo/SharedModels",
    "mlx-audio-swift": ".cache/huggingface/hub/mlx-audio",
    "Linux cache": ".cache/intrusive-memory/Models/TTS",
    "Linux Acervo": ".local/share/SwiftAcervo/SharedModels",
    "Linux data": ".local/share/SharedModels",
}


@pytest.mark.parametrize("place", MOVED_FROM)
def test_a_model_is_moved_from_every_place_of_old(place, home, directory):
    legacy = speech_model(home / MOVED_FROM[place] / slug(BASE))
    before = contents(legacy)
    migrate(directory, home)
    assert contents(directory / slug(BASE)) == before
    assert not legacy.exists()
    assert legacy.parent.is_dir()


def test_models_of_other_kinds_are_moved_too_when_asked(home, directory):
    other_model(home / CACHES / "LLM" / "mlx-community_Llama")
    assert [step.model for step in migrate(directory, home).done] == ["mlx-community/Llama"]


@pytest.mark.parametrize("group", ["group.intrusive-memory.models", "ABCDE12345.group.intrusive-memory.models"])
def test_models_of_installed_programs_stay_and_are_only_referred_to(group, home, directory):
    theirs = speech_model(home / "Library/Group Containers" / group / "SharedModels" / slug(BASE))
    left = migrate(directory, home).left
    assert [(step.action, step.source) for step in left] == [("reference", theirs)]
    assert theirs.is_dir()
    assert not directory.exists()


def test_the_directory_itself_is_no_legacy_place(home):
    directory = home / "Library/SharedModels"
    speech_model(directory / slug(BASE))
    assert migrate(directory, home).done == ()


def test_the_directory_is_recognised_through_a_link(home, directory):
    speech_model(directory / slug(BASE))
    (home / "Library").mkdir()
    (home / "Library/SharedModels").symlink_to(directory)
    plan = plan_migration(directory, environ=home_environment(home))
    assert plan.steps == ()


def test_a_hub_cache_is_adopted_without_a_second_copy(home, directory, tmp_path):
    source = speech_model(tmp_path / "source")
    cache = hub_cache(home / ".cache/huggingface/hub", BASE, source)
    migrate(directory, home)
    adopted = directory / slug(BASE)
    assert model_contents(adopted) == contents(source)
    assert not any(path.is_symlink() for path in adopted.rglob("*"))
    assert (adopted / "model.safetensors").stat().st_nlink == 2
    assert contents(cache / "snapshots" / COMMIT) == contents(source)
    assert read_provenance(adopted) == {"repository": BASE, "revision": COMMIT, "source": "adopted"}


@pytest.mark.parametrize("variable", ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME"])
def test_the_hub_cache_is_found_where_the_environment_says(variable, home, directory, tmp_path):
    cache = tmp_path / "cache"
    hub_cache(cache / "hub" if variable == "HF_HOME" else cache, BASE, speech_model(tmp_path / "source"))
    assert len(migrate(directory, home, **{variable: cache}).done) == 1


def test_of_several_snapshots_the_main_one_is_adopted(home, directory, tmp_path):
    cache = home / ".cache/huggingface/hub"
    hub_cache(cache, BASE, speech_model(tmp_path / "old", seed=1), commit="a" * 40)
    hub_cache(cache, BASE, speech_model(tmp_path / "new", seed=2), commit=COMMIT, main="a" * 40)
    migrate(directory, home)
    assert model_contents(directory / slug(BASE)) == contents(tmp_path / "old")


def test_a_reference_to_an_absent_snapshot_leaves_the_whole_one_in_use(home, directory, tmp_path):
    cache = home / ".cache/huggingface/hub"
    repository = hub_cache(cache, BASE, speech_model(tmp_path / "source"), main="f" * 40)
    broken = repository / "snapshots" / ("e" * 40)
    broken.mkdir()
    (broken / "config.json").write_text("{")
    migrate(directory, home)
    assert model_contents(directory / slug(BASE)) == contents(tmp_path / "source")


def test_a_snapshot_with_files_missing_is_left(home, directory, tmp_path):
    source = speech_model(tmp_path / "source")
    (source / "merges.txt").unlink()
    hub_cache(home / ".cache/huggingface/hub", BASE, source)
    assert "incomplete" in migrate(directory, home).left[0].reason


def test_a_snapshot_whose_link_leaves_the_cache_is_left(home, directory, tmp_path):
    repository = hub_cache(home / ".cache/huggingface/hub", BASE, speech_model(tmp_path / "source"))
    secret = tmp_path / "secret.json"
    secret.write_text("{}")
    link = repository / "snapshots" / COMMIT / "generation_config.json"
    link.unlink()
    link.symlink_to(secret)
    assert migrate(directory, home).done == ()


def test_a_model_of_swift_transformers_is_adopted_and_stays(home, directory):
    theirs = speech_model(home / "Documents/huggingface/models" / BASE)
    migrate(directory, home)
    assert model_contents(directory / slug(BASE)) == contents(theirs)


def test_an_existing_model_is_kept_and_its_rival_stays(home, directory):
    ours = speech_model(directory / slug(BASE), seed=1)
    legacy = speech_model(home / CACHES / "TTS" / slug(BASE), seed=2)
    before = contents(ours), contents(legacy)
    result = migrate(directory, home)
    assert (contents(ours), contents(legacy)) == before
    assert "exists already" in result.left[0].reason


@pytest.mark.parametrize("obstacle", ["file", "link", "empty folder"])
def test_anything_in_the_way_is_kept(obstacle, home, directory):
    legacy = speech_model(home / CACHES / "TTS" / slug(BASE))
    directory.mkdir()
    target = directory / slug(BASE)
    {"file": target.touch, "link": lambda: target.symlink_to("nowhere"), "empty folder": target.mkdir}[obstacle]()
    assert migrate(directory, home).done == ()
    assert isinstance(availability(legacy), Available)
    assert os.path.lexists(target)


def test_of_equal_names_the_first_place_is_taken_and_the_other_stays(home, directory):
    speech_model(home / CACHES / "TTS" / slug(BASE), seed=1)
    audio = speech_model(home / CACHES / "Audio" / slug(BASE), seed=2)
    result = migrate(directory, home)
    assert [step.place for step in result.done] == ["intrusive-memory TTS"]
    assert audio.is_dir()
    assert "taken first" in result.left[0].reason


def test_of_equal_names_a_whole_model_is_taken_before_a_broken_one(home, directory):
    broken = speech_model(home / CACHES / "TTS" / slug(BASE))
    (broken / "model.safetensors").unlink()
    speech_model(home / CACHES / "Audio" / slug(BASE))
    migrate(directory, home)
    assert isinstance(availability(directory / slug(BASE)), Available)
    assert broken.is_dir()


def test_a_whole_model_replaces_a_broken_one_only_when_asked(home, directory):
    broken = speech_model(directory / slug(BASE), seed=1)
    (broken / "model.safetensors").unlink()
    kept = contents(broken)
    speech_model(home / CACHES / "TTS" / slug(BASE), seed=2)
    assert migrate(directory, home).done == ()
    migrate(directory, home, on_conflict="keep-complete")
    assert isinstance(availability(directory / slug(BASE)), Available)
    (displaced,) = (directory / ".displaced").iterdir()
    assert contents(displaced) == kept


def test_report_only_changes_nothing(home, directory):
    legacy = speech_model(home / CACHES / "TTS" / slug(BASE))
    assert migrate(directory, home, on_conflict="report-only").done == ()
    assert legacy.is_dir()
    assert not directory.exists()


def test_links_in_a_legacy_place_are_passed_over(home, directory):
    real = speech_model(home / CACHES / "TTS" / slug(BASE))
    audio = home / CACHES / "Audio"
    audio.mkdir()
    (audio / slug(BASE)).symlink_to(real)
    (audio / "loop_x").symlink_to("loop_y")
    (audio / "loop_y").symlink_to("loop_x")
    result = migrate(directory, home)
    assert len(result.done) == 1
    assert (audio / slug(BASE)).is_symlink()


def test_a_place_that_is_a_loop_of_links_is_a_finding(home, directory, events):
    (home / CACHES).mkdir(parents=True)
    (home / CACHES / "TTS").symlink_to("TTS")
    migrate(directory, home, events=events)
    assert [event.kind for event in events] == ["finding"]


def test_a_folder_whose_files_are_links_is_adopted_so_that_they_do_not_break(home, directory):
    audio = speech_model(home / CACHES / "Audio" / "org_kept")
    legacy = speech_model(home / CACHES / "TTS" / slug(BASE))
    (legacy / "model.safetensors").unlink()
    (legacy / "model.safetensors").symlink_to("../../Audio/org_kept/model.safetensors")
    before = contents(legacy)
    plan = plan_migration(directory, environ=home_environment(home))
    run_plan(type(plan)(directory=directory, steps=plan.steps[:1], findings=()))
    assert model_contents(directory / slug(BASE)) == before
    assert audio.is_dir()
    assert legacy.is_dir()


def test_links_inside_a_folder_move_with_it(home, directory):
    legacy = speech_model(home / CACHES / "TTS" / slug(BASE))
    (legacy / "alias.json").symlink_to("config.json")
    migrate(directory, home)
    assert (directory / slug(BASE) / "alias.json").readlink() == Path("config.json")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything, so no permission can be missing")
def test_a_place_that_the_system_closes_is_a_finding_and_no_failure(home, directory, events):
    closed = home / "Library/Group Containers/group.intrusive-memory.models/SharedModels"
    closed.mkdir(parents=True)
    closed.chmod(0)
    speech_model(home / CACHES / "TTS" / slug(BASE))
    assert len(migrate(directory, home, events=events).done) == 1
    closed.chmod(0o755)
    assert events[0].kind == "finding"


def test_a_folder_without_a_config_is_no_model(home, directory):
    folder = home / CACHES / "TTS" / slug(BASE)
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("mine")
    assert migrate(directory, home).done == ()


def test_a_plan_names_sizes_and_changes_nothing(home, directory):
    legacy = speech_model(home / CACHES / "TTS" / slug(BASE))
    plan = plan_migration(directory, environ=home_environment(home))
    size_bytes = sum(len(content) for content in contents(legacy).values())
    assert [(step.action, step.size_bytes) for step in plan.changes] == [("rename", size_bytes)]
    assert not directory.exists()


def test_a_model_moves_to_another_disk_by_a_checked_copy(home, other_disk):
    directory = other_disk / "shared"
    legacy = speech_model(home / CACHES / "TTS" / slug(BASE))
    (legacy / "alias.json").symlink_to("config.json")
    before = contents(legacy)
    result = migrate(directory, home)
    assert [step.action for step in result.done] == ["copy"]
    assert contents(directory / slug(BASE)) == before
    assert not legacy.exists()
    assert list((directory / ".incoming").iterdir()) == []


def test_a_hub_cache_on_another_disk_is_copied(home, other_disk, tmp_path):
    hub_cache(home / ".cache/huggingface/hub", BASE, speech_model(tmp_path / "source"))
    migrate(other_disk, home)
    assert model_contents(other_disk / slug(BASE)) == contents(tmp_path / "source")


def test_a_move_to_another_disk_can_be_undone(home, other_disk):
    legacy = speech_model(home / CACHES / "TTS" / slug(BASE))
    before = contents(legacy)
    migrate(other_disk, home)
    undo_last(other_disk)
    assert contents(legacy) == before
    assert not (other_disk / slug(BASE)).exists()
    assert sorted(path.name for path in legacy.parent.iterdir()) == [slug(BASE)]


def test_a_full_disk_leaves_the_original_in_place(home, other_disk, monkeypatch):
    legacy = speech_model(home / CACHES / "TTS" / slug(BASE))
    monkeypatch.setattr("models.migrate.move_folder.SPARE_BYTES", 1 << 60)
    result = migrate(other_disk, home)
    assert [step.model for step in result.failed] == [BASE]
    assert isinstance(availability(legacy), Available)


def test_every_step_is_in_the_journal(home, directory):
    speech_model(home / CACHES / "TTS" / slug(BASE))
    migrate(directory, home)
    (operation,) = Journal(directory).operations()
    assert (operation.action, operation.state, operation.model) == ("rename", "done", BASE)
    lines = (directory / ".voicejobs-migrations.jsonl").read_text().splitlines()
    steps = [json.loads(line)["step"] for line in lines]
    assert steps == ["begun", "done"]


def test_a_torn_journal_line_hides_no_other(home, directory):
    speech_model(home / CACHES / "TTS" / slug(BASE))
    migrate(directory, home)
    with Journal(directory).path.open("ab") as file:
        file.write(b'{"operation": "half')
    speech_model(home / CACHES / "TTS" / slug(DESIGN))
    migrate(directory, home)
    assert [operation.state for operation in Journal(directory).operations()] == ["done", "done"]


def test_the_last_migration_is_undone_as_a_whole(home, directory, tmp_path):
    legacy = [speech_model(home / CACHES / "TTS" / slug(model), seed=n) for n, model in enumerate((BASE, DESIGN))]
    hub_cache(home / ".cache/huggingface/hub", CUSTOM, speech_model(tmp_path / "source"))
    before = [contents(folder) for folder in legacy]
    migrate(directory, home)
    undo_last(directory)
    assert [contents(folder) for folder in legacy] == before
    assert [path.name for path in directory.iterdir() if not path.name.startswith(".")] == []
    with pytest.raises(UndoRefused, match="No migration"):
        undo_last(directory)


def test_an_undone_displacement_restores_the_broken_model(home, directory):
    broken = speech_model(directory / slug(BASE), seed=1)
    (broken / "model.safetensors").unlink()
    before = contents(broken)
    legacy = speech_model(home / CACHES / "TTS" / slug(BASE), seed=2)
    migrate(directory, home, on_conflict="keep-complete")
    undo_last(directory)
    assert contents(broken) == before
    assert isinstance(availability(legacy), Available)


def change_a_file(target, _legacy):
    (target / "merges.txt").write_text("changed")


def add_a_file(target, _legacy):
    (target / "new.txt").write_text("new")


def take_the_old_place(_target, legacy):
    legacy.mkdir()


@pytest.mark.parametrize("change", [change_a_file, add_a_file, take_the_old_place])
def test_what_was_touched_since_is_not_undone(change, home, directory):
    legacy = speech_model(home / CACHES / "TTS" / slug(BASE))
    migrate(directory, home)
    change(directory / slug(BASE), legacy)
    with pytest.raises(UndoRefused):
        undo_last(directory)
    assert (directory / slug(BASE)).is_dir()


def test_undoing_never_removes_the_only_copy(home, directory, tmp_path):
    cache = hub_cache(home / ".cache/huggingface/hub", BASE, speech_model(tmp_path / "source"))
    migrate(directory, home)
    shutil.rmtree(cache)
    with pytest.raises(UndoRefused, match="only copy"):
        undo_last(directory)
    assert isinstance(availability(directory / slug(BASE)), Available)


def test_undo_goes_back_one_migration_at_a_time(home, directory):
    first = speech_model(home / CACHES / "TTS" / slug(BASE))
    migrate(directory, home)
    second = speech_model(home / CACHES / "TTS" / slug(DESIGN))
    migrate(directory, home)
    undo_last(directory)
    assert second.is_dir()
    assert not first.exists()
    undo_last(directory)
    assert first.is_dir()
