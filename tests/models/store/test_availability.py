"""When a model counts as there: states, tiers, structure."""

import json
import os
import struct

import pytest

from models.errors import InvalidManifest
from models.store.availability import Available, Downloading, NotAvailable, Partial, availability
from models.store.installed import list_models
from models.store.manifest import (
    checksum_of,
    make_manifest,
    manifest_bytes,
    mark_verified,
    parse_manifest,
    read_manifest,
    write_manifest,
)
from models.store.safetensors_check import safetensors_problem
from models.store.shared_directory import lock_of
from tests.models.store.making import BASE, CUSTOM, other_model, slug, speech_model, weights


@pytest.fixture
def folder(directory):
    return speech_model(directory / slug(BASE))


def described(folder):
    write_manifest(folder, make_manifest(folder, model_id=BASE))
    return folder


def test_a_whole_model_is_available(folder):
    assert availability(folder) == Available("heuristic")


def test_a_folder_that_is_not_there_is_not_available(directory):
    assert availability(directory / "a_b").state == "not_available"


def test_weights_without_a_config_are_not_available(folder):
    (folder / "config.json").unlink()
    assert isinstance(availability(folder), NotAvailable)


@pytest.mark.parametrize(
    "path",
    [
        "model.safetensors",
        "vocab.json",
        "merges.txt",
        "speech_tokenizer/config.json",
        "speech_tokenizer/model.safetensors",
    ],
)
def test_a_missing_file_makes_a_speech_model_partial_and_is_named(folder, path):
    (folder / path).unlink()
    assert availability(folder).missing == (path,)


def test_a_tokenizer_json_stands_for_vocabulary_and_merges(folder):
    (folder / "vocab.json").unlink()
    (folder / "merges.txt").unlink()
    (folder / "tokenizer.json").write_text("{}")
    assert isinstance(availability(folder), Available)


def test_a_file_where_the_speech_tokenizer_folder_must_be_is_found(folder):
    for path in (folder / "speech_tokenizer").iterdir():
        path.unlink()
    (folder / "speech_tokenizer").rmdir()
    (folder / "speech_tokenizer").write_text("stale")
    state = availability(folder)
    assert isinstance(state, Partial)
    assert any("where a folder must be" in problem for problem in state.problems)


def truncate(path):
    os.truncate(path, path.stat().st_size - 1)


def make_pointer(path):
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n")


def make_sparse(path):
    content = path.read_bytes()
    (header_bytes,) = struct.unpack("<Q", content[:8])
    with path.open("r+b") as file:
        file.truncate(8 + header_bytes)
        file.truncate(len(content))


def append_bytes(path):
    path.write_bytes(path.read_bytes() + b"xx")


def claim_long_header(path):
    path.write_bytes(struct.pack("<Q", 1 << 50) + b"{}")


def break_json(path):
    content = bytearray(path.read_bytes())
    content[9] = 0
    path.write_bytes(content)


DAMAGES = {
    "truncated": truncate,
    "pointer": make_pointer,
    "sparse": make_sparse,
    "too long": append_bytes,
    "absurd header": claim_long_header,
    "broken header": break_json,
    "empty": lambda path: path.write_bytes(b""),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("path", ["model.safetensors", "speech_tokenizer/model.safetensors"])
def test_damaged_weights_are_found_without_reading_them(folder, damage, path):
    weights(folder / path, elements=100_000)
    DAMAGES[damage](folder / path)
    state = availability(folder)
    assert state.missing == (path,)
    assert path in state.problems[0]


def header_file(path, header, data=b""):
    encoded = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(encoded)) + encoded + data)
    return path


TENSOR = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ({"a": TENSOR}, None),
        ({"a": TENSOR, "__metadata__": None}, None),
        ({"a": {**TENSOR, "shape": [3]}}, "other bytes than its shape"),
        ({"a": {**TENSOR, "dtype": "X9"}}, "in a way that we do not know"),
        ({"a": {**TENSOR, "data_offsets": [4, 12]}}, "gap or an overlap"),
        ({"a": TENSOR, "b": TENSOR}, "gap or an overlap"),
        ({}, "holds no tensors"),
        ([], "no safetensors file"),
    ],
)
def test_a_header_must_describe_every_byte_once(tmp_path, header, expected):
    problem = safetensors_problem(header_file(tmp_path / "a.safetensors", header, b"\0" * 8))
    assert (problem is None) if expected is None else expected in problem


def test_a_model_whose_index_names_a_missing_shard_is_partial(directory):
    folder = other_model(directory / "a_b")
    index = {"weight_map": {"x": "model.safetensors", "y": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert availability(folder).missing == ("model-2.safetensors",)


@pytest.mark.parametrize("index", ["", "[]", "{}", '{"weight_map": {}}', '{"weight_map": {"a": "../x"}}'])
def test_an_index_that_names_no_weights_decides_nothing(directory, index):
    folder = other_model(directory / "a_b")
    (folder / "model.safetensors.index.json").write_text(index)
    assert availability(folder).state == "not_available"


def test_a_diffusers_model_needs_the_folders_that_its_index_names(directory):
    folder = directory / "a_flux"
    (folder / "vae").mkdir(parents=True)
    index = {"_class_name": "Flux", "vae": ["diffusers", "VAE"], "unet": ["diffusers", "U"], "off": [None, None]}
    (folder / "model_index.json").write_text(json.dumps(index))
    assert availability(folder).missing == ("unet",)


def test_a_manifest_decides_by_sizes(folder):
    described(folder)
    assert availability(folder) == Available("manifest")
    (folder / "merges.txt").write_text("longer than before, much longer")
    assert availability(folder).missing == ("merges.txt",)


def test_flipped_bits_are_found_on_demand(folder):
    described(folder)
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert isinstance(availability(folder), Available)
    assert availability(folder, verify_hashes=True).missing == ("model.safetensors",)


def test_the_manifest_checksum_is_the_hash_of_the_sorted_hashes(folder):
    manifest = make_manifest(folder, model_id=BASE)
    raw = json.loads(manifest_bytes(manifest))
    assert raw["manifestChecksum"] == checksum_of(file["sha256"] for file in raw["files"])
    assert [file["path"] for file in raw["files"]] == sorted(file["path"] for file in raw["files"])
    assert (raw["slug"], raw["manifestVersion"], raw["primaryRepo"]) == (slug(BASE), 1, BASE)


def test_a_manifest_with_a_wrong_checksum_is_never_trusted(folder):
    described(folder)
    raw = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**raw, "manifestChecksum": "0" * 64}))
    assert availability(folder).missing == ("manifest.json",)


def test_the_hidden_legacy_manifest_is_read_too(folder):
    described(folder)
    (folder / "manifest.json").rename(folder / ".acervo-manifest.json")
    assert availability(folder) == Available("manifest")


@pytest.mark.parametrize("path", ["", "/", "a//b", "../x", "a/../b", "./a", "a/."])
def test_a_manifest_cannot_name_files_outside_its_model(folder, path):
    raw = json.loads(manifest_bytes(make_manifest(folder, model_id=BASE)))
    raw["files"][0]["path"] = path
    with pytest.raises(InvalidManifest):
        parse_manifest(json.dumps(raw).encode())


def test_one_leading_slash_of_a_manifest_path_is_dropped(folder):
    raw = json.loads(manifest_bytes(make_manifest(folder, model_id=BASE)))
    raw["files"][0]["path"] = "/" + raw["files"][0]["path"]
    assert parse_manifest(json.dumps(raw).encode()).files[0].path == "config.json"


def test_keys_that_other_programs_wrote_survive_in_a_manifest(folder):
    raw = json.loads(manifest_bytes(make_manifest(folder, model_id=BASE)))
    raw["consumers"] = [{"name": "diga", "kind": "app"}]
    again = json.loads(manifest_bytes(parse_manifest(json.dumps(raw).encode())))
    assert again["consumers"] == raw["consumers"]


def test_bookkeeping_files_do_not_enter_a_manifest(folder):
    for name in (".DS_Store", ".gitattributes", "x.lock", "y.metadata"):
        (folder / name).write_text("x")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "z").write_text("x")
    (folder / "link").symlink_to("config.json")
    assert not {file.path for file in make_manifest(folder, model_id=BASE).files} & {"x.lock", "y.metadata", "link"}


def test_an_empty_file_is_refused_by_the_manifest(folder):
    (folder / "extra.txt").write_text("")
    with pytest.raises(InvalidManifest, match="is empty"):
        make_manifest(folder, model_id=BASE)


def test_a_verified_mark_counts_while_nothing_is_newer_than_it(folder):
    described(folder)
    mark_verified(folder, read_manifest(folder))
    assert availability(folder) == Available("verified")
    later = (folder / ".acervo-verified.json").stat().st_mtime + 5
    os.utime(folder / "model.safetensors", (later, later))
    assert availability(folder) == Available("manifest")


def test_a_model_that_another_process_fetches_is_downloading(directory):
    folder = directory / slug(BASE)
    gathering = directory / ".incoming" / f"{slug(BASE)}.download"
    gathering.mkdir(parents=True)
    (gathering / "model.safetensors.part").write_bytes(b"12345")
    gathering.with_name(gathering.name + ".json").write_text('{"total_bytes": 20}')
    with lock_of(folder):
        assert availability(folder) == Downloading(5, 20)
        assert availability(folder).progress == 0.25
    assert availability(folder).state == "not_available"


def test_a_listing_is_sorted_by_id_and_skips_what_is_no_model(directory):
    speech_model(directory / slug(CUSTOM))
    other_model(directory / "aaa_first")
    other_model(directory / "nounderscore")
    other_model(directory / ".hidden_one")
    (directory / "empty_folder").mkdir()
    (directory / "loop_a").symlink_to("loop_a")
    assert [model.id for model in list_models(directory)] == ["aaa/first", CUSTOM]


def test_a_manifest_gives_back_an_id_whose_organisation_has_an_underscore(directory):
    folder = other_model(directory / "my_org_model")
    write_manifest(folder, make_manifest(folder, model_id="my_org/model"))
    assert [model.id for model in list_models(directory)] == ["my_org/model"]
