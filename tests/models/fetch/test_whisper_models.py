"""Whisper models for faster-whisper: fetched by size, adopted from the cache that it fills itself, judged, listed."""

import pytest

from models.errors import ModelIncomplete, UnsupportedCheckpoint
from models.fetch.prepare import ensure_model, pull_model
from models.store.availability import Available, Partial, availability
from models.store.installed import list_models
from models.store.manifest import read_manifest
from models.store.upkeep import verify_models
from tests.models.store.making import COMMIT, hub_cache, other_model, weights
from tests.whisper_models import whisper_folder

SMALL = "Systran/faster-whisper-small"


def test_a_size_is_fetched_verified_and_listed_as_a_recogniser(hub, directory, environment, tmp_path):
    source = whisper_folder(tmp_path / "source")
    (source / "README.md").write_text("# not needed")
    commit = hub.add_folder(SMALL, source)
    pulled = pull_model("faster-whisper:small", directory=directory, environ=environment)
    assert (pulled.id, pulled.revision, pulled.folder) == (SMALL, commit, directory / "Systran_faster-whisper-small")
    paths = [file.path for file in read_manifest(pulled.folder).files]
    assert paths == ["config.json", "model.bin", "tokenizer.json", "vocabulary.txt"]
    (listed,) = list_models(directory)
    assert (listed.entry.name, listed.kind.variant, listed.kind.abilities) == (
        "faster-whisper:small", "recogniser", ("hear",),
    )  # fmt: skip
    assert not listed.kind.is_speech
    (checked,) = verify_models(["faster-whisper:small"], directory=directory, hashes=True)
    assert checked.state == Available("verified")


@pytest.mark.parametrize(
    ("name", "repository"),
    [("large", "Systran/faster-whisper-large-v3"), ("Turbo", "mobiuslabsgmbh/faster-whisper-large-v3-turbo")],
)
def test_what_faster_whisper_has_in_its_own_cache_is_adopted_and_not_fetched(
    hub, home, directory, environment, tmp_path, name, repository
):
    cache = hub_cache(home / ".cache/huggingface/hub", repository, whisper_folder(tmp_path / "source"))
    found = ensure_model(f"faster-whisper:{name}", directory=directory, environ=environment)
    assert (found.id, found.revision, found.folder.parent) == (repository, COMMIT, directory)
    assert found.folder.joinpath("model.bin").samefile(cache / "snapshots" / COMMIT / "model.bin")
    assert hub.asked == []


def test_a_cache_that_is_not_whole_is_passed_over_and_the_model_fetched(hub, home, directory, environment, tmp_path):
    hub_cache(home / ".cache/huggingface/hub", SMALL, whisper_folder(tmp_path / "half", missing=["model.bin"]))
    hub.add_folder(SMALL, whisper_folder(tmp_path / "source"))
    found = ensure_model("faster-whisper:small", directory=directory, environ=environment, own_process=False)
    assert isinstance(found.state, Available)
    assert hub.gets("model.bin")


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer.json is missing"),
        (lambda folder: (folder / "vocabulary.txt").unlink(), "vocabulary.json is missing"),
        (lambda folder: (folder / "model.bin").unlink(), "model.bin is missing"),
        (lambda folder: cut(folder / "model.bin", 100), "model.bin is cut off within encoder/conv1/weight"),
        (lambda folder: cut(folder / "model.bin", 30), "model.bin is cut off, or is no model of CTranslate2"),
        (lambda folder: (folder / "model.bin").write_bytes(b""), "model.bin is cut off, or is no model"),
        (lambda folder: (folder / "model.bin").write_bytes(b"PK\3\4" * 99), "model.bin is no model of CTranslate2"),
        (lambda folder: whisper_folder(folder, network="TransformerSpec"), "holds a 'TransformerSpec'"),
    ],
    ids=["tokenizer", "vocabulary", "weights", "cut", "cut early", "empty", "pickle", "translator"],
)
def test_a_folder_that_faster_whisper_cannot_load_is_partial_and_says_why(directory, tmp_path, spoil, problem):
    spoil(folder := whisper_folder(tmp_path / "own"))
    state = availability(folder)
    assert isinstance(state, Partial)
    assert problem in state.problems[0]
    with pytest.raises(ModelIncomplete, match="own"):
        ensure_model(str(folder), directory=directory, environ={})


def cut(path, size_bytes):
    path.write_bytes(path.read_bytes()[:size_bytes])


def test_a_repository_with_other_weights_called_model_bin_is_refused(hub, directory, environment, tmp_path):
    source = other_model(tmp_path / "source")
    (source / "model.safetensors").unlink()
    (source / "model.bin").write_bytes(b"\x80\4pickled")
    hub.add_folder("some/model", source)
    with pytest.raises(UnsupportedCheckpoint, match="not that of a Whisper model"):
        pull_model("some/model", directory=directory, environ=environment)
    assert list_models(directory) == []


def test_of_weights_in_two_formats_only_the_safetensors_come(hub, directory, environment, tmp_path):
    source = whisper_folder(tmp_path / "source")
    weights(source / "model.safetensors")
    (source / "config.json").write_text('{"model_type": "llama"}')
    hub.add_folder("some/model", source)
    pulled = pull_model("some/model", directory=directory, environ=environment)
    assert not (pulled.folder / "model.bin").exists()
