"""A corpus of checkpoints, good and broken: `models verify` and loading have one opinion, in the same words."""

import json
import math
import shutil
import struct

import mlx.core as mx
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from models.errors import ModelIncomplete, UnsupportedCheckpoint
from models.fetch.prepare import check_present, ensure_model
from models.qwen3_tts.load import load_speech_model
from models.qwen3_tts.quantize import quantize_checkpoint
from models.store.availability import Available, availability
from models.store.installed import list_models
from models.store.upkeep import verify_models
from tests.checkpoints import write_checkpoint

CODEC = "speech_tokenizer"
NORM = "talker.model.norm.weight"
FIRST_LAYER = "talker.model.layers.0.self_attn.q_proj.weight"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("models") / "whole")


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


@pytest.fixture
def folder(whole, directory):
    return shutil.copytree(whole, directory / "somebody_model")


def change(folder, path, edit):
    file = folder / path
    values = json.loads(file.read_text())
    edit(values)
    file.write_text(json.dumps(values))


def weights(folder, edit, *, path="model.safetensors"):
    tensors = load_file(folder / path)
    edit(tensors)
    save_file(tensors, folder / path, metadata={"format": "pt"})


def header(folder, edit, *, path="model.safetensors"):
    """Change what a file's header says, and nothing else."""
    content = (folder / path).read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    stated = json.loads(content[8 : 8 + length])
    edit(stated)
    encoded = json.dumps(stated).encode()
    (folder / path).write_bytes(struct.pack("<Q", len(encoded)) + encoded + content[8 + length :])


def pickled(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def overlapping(stated):
    first, second = [name for name in stated if name != "__metadata__"][:2]
    begin, end = stated[first]["data_offsets"]
    stated[second] = {**stated[first], "data_offsets": [begin, end]}


def in_place_of(folder, path):
    (folder / path).unlink()
    (folder / path).mkdir()


def sharded(folder, edit):
    """Two files with an index, which is changed, or one of the files is."""
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    index = {}
    for file, part in (("a.safetensors", names[::2]), ("b.safetensors", names[1::2])):
        save_file({name: tensors[name] for name in part}, folder / file, metadata={"format": "pt"})
        index |= dict.fromkeys(part, file)
    (folder / "model.safetensors").unlink()
    edit(index)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))


BROKEN = {
    "a key that nobody knows": (
        lambda f: change(f, "config.json", lambda c: c["talker_config"].update(num_experts=4)), "num_experts"),
    "a size that is no number": (
        lambda f: change(f, "config.json", lambda c: c["talker_config"].update(hidden_size="big")), "hidden_size"),
    "a size that no model has": (
        lambda f: change(f, "config.json", lambda c: c["talker_config"].update(num_hidden_layers=10**9)), "num_hidden"),
    "another hidden size": (
        lambda f: change(f, "config.json", lambda c: c["talker_config"].update(text_hidden_size=8)), "misshapen"),
    "positions that are computed otherwise": (
        lambda f: change(f, "config.json", lambda c: c["talker_config"].update(rope_scaling={"type": "yarn"})), "yarn"),
    "a codec with another rate": (
        lambda f: change(f, "speech_tokenizer/config.json", lambda c: c.update(decode_upsample_rate=7)), "rate"),
    "a codec that nobody knows": (
        lambda f: change(f, "speech_tokenizer/config.json", lambda c: c["decoder_config"].update(x=1)), "['x']"),
    "sampling that cannot be meant": (
        lambda f: change(f, "generation_config.json", lambda c: c.update(top_k="many")), "top_k"),
    "a tensor too few": (lambda f: weights(f, lambda t: t.pop(NORM)), f"missing: {NORM}"),
    "a tensor too many": (lambda f: weights(f, lambda t: t.update(extra=np.zeros(3, np.float32))), "unexpected: extra"),
    "a tensor of another shape": (
        lambda f: weights(f, lambda t: t.update({NORM: np.zeros(3, np.float32)})), f"{NORM} (3,), expected"),
    "whole numbers for weights": (
        lambda f: weights(f, lambda t: t.update({NORM: t[NORM].astype(np.int32)})), f"{NORM} holds int32 numbers"),
    "a codec's tensor too few": (
        lambda f: weights(f, lambda t: t.pop("decoder.pre_conv.conv.bias"), path="speech_tokenizer/model.safetensors"),
        "decoder.pre_conv.conv.bias"),
    "a codebook too few": (
        lambda f: weights(f, lambda t: t.pop("encoder.quantizer.semantic_residual_vector_quantizer.layers.0.codebook"
                                             ".embed_sum"), path="speech_tokenizer/model.safetensors"), "embed_sum"),
    "a speaker encoder with a hole": (
        lambda f: weights(f, lambda t: t.pop("speaker_encoder.fc.bias")), "speaker_encoder.fc.bias"),
    "a layout that nobody knows": (
        lambda f: header(f, lambda h: h.update(__metadata__={"format": "tf"})), "'tf'"),
    "a header that lies about its end": (
        lambda f: header(f, lambda h: h[NORM].update(data_offsets=[0, 10**12])), NORM),
    "a header whose tensors overlap": (lambda f: header(f, overlapping), "gap or an overlap"),
    "weights cut short": (
        lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-9]), "is truncated"),
    "a pointer to weights": (
        lambda f: (f / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n"), "Git LFS"),
    "a pickle": (pickled, "pytorch_model.bin is a pickle"),
    "NaN in a norm": (lambda f: weights(f, lambda t: t[NORM].fill(np.nan)), f"not finite (NaN or infinity), in {NORM}"),
    "one infinity in a layer": (
        lambda f: weights(f, lambda t: t[FIRST_LAYER].__setitem__((0, 0), np.inf)), f"in {FIRST_LAYER}"),
    "NaN in the codec": (
        lambda f: weights(f, lambda t: t["decoder.pre_conv.conv.bias"].fill(np.nan),
                          path="speech_tokenizer/model.safetensors"), "in decoder.pre_conv.conv.bias"),
    "no tokenizer": (lambda f: (f / "merges.txt").unlink(), "merges.txt is missing"),
    "a tokenizer that is no JSON": (lambda f: (f / "vocab.json").write_text("{"), "vocab.json"),
    "a tokenizer without special tokens": (lambda f: (f / "tokenizer_config.json").write_text("{}"), "<|im_start|>"),
    "a tokenizer of another model": (
        lambda f: change(f, "vocab.json", lambda v: v.update({"zzz": 99_999})), "largest id is 99999"),
    "a config without a network": (
        lambda f: change(f, "config.json", lambda c: c.pop("talker_config")), "talker_config"),
    "a network that is a list": (
        lambda f: change(f, "config.json", lambda c: c.update(talker_config=[])), "talker_config"),
    "a network that is null": (
        lambda f: change(f, "config.json", lambda c: c.update(talker_config=None)), "talker_config"),
    "a code predictor that is a number": (
        lambda f: change(f, "config.json", lambda c: c["talker_config"].update(code_predictor_config=3)), "predictor"),
    "a size that is NaN": (
        lambda f: change(f, "config.json", lambda c: c["talker_config"].update(hidden_size=math.nan)), "hidden_size"),
    "a rate that is infinite": (
        lambda f: change(f, "config.json", lambda c: c["talker_config"].update(rope_theta=math.inf)), "rope_theta"),
    "a size below zero": (
        lambda f: change(f, "config.json", lambda c: c["talker_config"].update(num_hidden_layers=-1)), "num_hidden"),
    "a size that is true": (
        lambda f: change(f, "config.json", lambda c: c["talker_config"].update(num_hidden_layers=True)), "num_hidden"),
    "speakers that are a list": (
        lambda f: change(f, "config.json", lambda c: c["talker_config"].update(spk_id=["ryan"])), "spk_id"),
    "a speaker whose id is a word": (
        lambda f: change(f, "config.json", lambda c: c["talker_config"].update(spk_id={"ryan": "one"})), "spk_id"),
    "a speaker beyond the vocabulary": (
        lambda f: change(f, "config.json", lambda c: c["talker_config"].update(spk_id={"ryan": 10**6})), "vocab"),
    "a codec's config that is a list": (
        lambda f: (f / "speech_tokenizer/config.json").write_text("[]"), "speech_tokenizer/config.json"),
    "a codec's config that nests deeply": (
        lambda f: (f / "speech_tokenizer/config.json").write_text('{"a":' * 50_000 + "}" * 50_000), "config.json"),
    "sampling that is a list": (lambda f: (f / "generation_config.json").write_text("[]"), "generation_config.json"),
    "sampling that is no JSON": (lambda f: (f / "generation_config.json").write_text("{"), "generation_config.json"),
    "sampling that is NaN": (
        lambda f: change(f, "generation_config.json", lambda c: c.update(temperature=math.nan)), "temperature"),
    "weights of no bytes": (lambda f: (f / "model.safetensors").write_bytes(b""), "model.safetensors"),
    "a codec's weights of no bytes": (
        lambda f: (f / "speech_tokenizer/model.safetensors").write_bytes(b""), "speech_tokenizer/model.safetensors"),
    "a header that is larger than any": (
        lambda f: (f / "model.safetensors").write_bytes(struct.pack("<Q", 1 << 62) + b"{}"), "model.safetensors"),
    "a header that nests deeply": (
        lambda f: (f / "model.safetensors").write_bytes(struct.pack("<Q", 200_000) + b"[" * 200_000), "model.safet"),
    "a header that is a list": (
        lambda f: (f / "model.safetensors").write_bytes(struct.pack("<Q", 2) + b"[]"), "model.safetensors"),
    "a folder for weights": (lambda f: in_place_of(f, "model.safetensors"), "model.safetensors"),
    "a folder for a vocabulary": (lambda f: in_place_of(f, "vocab.json"), "vocab.json"),
    "a folder for a codec's config": (
        lambda f: in_place_of(f, "speech_tokenizer/config.json"), "speech_tokenizer/config.json"),
    "a file for the codec": (
        lambda f: (shutil.rmtree(f / CODEC), (f / CODEC).write_text("x")), "speech_tokenizer"),
    "no codec": (lambda f: shutil.rmtree(f / "speech_tokenizer"), "speech_tokenizer"),
    "a vocabulary of no bytes": (lambda f: (f / "vocab.json").write_bytes(b""), "vocab.json"),
    "a vocabulary that is a list": (lambda f: (f / "vocab.json").write_text("[]"), "vocab.json"),
    "merges that are no UTF-8": (lambda f: (f / "merges.txt").write_bytes(b"\xff\xfe a"), "merges.txt"),
    "a shard too few": (lambda f: sharded(f, lambda _: (f / "b.safetensors").unlink()), "b.safetensors"),
    "an index of tensors that are not there": (
        lambda f: sharded(f, lambda i: i.update(nothing="b.safetensors")), "nothing"),
    "a link that leads nowhere": (
        lambda f: ((f / "merges.txt").unlink(), (f / "merges.txt").symlink_to("nowhere")), "merges.txt"),
    "weights that are a link to a device": (
        lambda f: ((f / "model.safetensors").unlink(), (f / "model.safetensors").symlink_to("/dev/null")), "model.saf"),
    "numbers of 8 bits": (
        lambda f: weights(f, lambda t: t.update({NORM: t[NORM].astype(np.int8)})), f"{NORM} holds int8 numbers"),
    "merges of three": (lambda f: (f / "merges.txt").write_text("#version: 0.2\na b c\n"), "merges.txt"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_loading_refuses_what_verify_refuses_and_both_say_why(case, folder, directory):
    breaks, said = BROKEN[case]
    breaks(folder)
    (checked,) = verify_models([], directory=directory)
    assert checked.state.state == "partial"
    assert said in "; ".join(checked.state.problems)
    with pytest.raises(UnsupportedCheckpoint) as caught:
        load_speech_model(folder, dtype="float32")
    for problem in checked.state.problems:
        assert problem.partition(" ")[2] in caught.value.message
    assert caught.value.hint or checked.state.hint == ""
    assert [model.state for model in list_models(directory)] == [checked.state]
    with pytest.raises(ModelIncomplete) as told:
        check_present(str(folder), directory=directory)
    assert checked.state.problems[0] in told.value.message


@pytest.mark.parametrize("index", ["[]", "{}", '{"weight_map": {"a": "../../x.safetensors"}}'])
def test_an_index_that_names_no_weights_makes_no_model_for_anybody(index, folder, directory):
    (folder / "model.safetensors.index.json").write_text(index)
    assert [model.state.state for model in verify_models([], directory=directory)] == ["not_available"]
    with pytest.raises(UnsupportedCheckpoint, match=r"index\.json"):
        load_speech_model(folder, dtype="float32")


@pytest.mark.parametrize("case", ["a key that nobody knows", "weights cut short"])
def test_a_job_is_told_the_same_and_a_local_folder_is_sent_to_no_hub(case, folder):
    breaks, said = BROKEN[case]
    breaks(folder)
    with pytest.raises(ModelIncomplete) as caught:
        ensure_model(str(folder), directory=folder.parent, offline=True)
    assert said in caught.value.message
    assert "models pull" not in f"{caught.value.message} {caught.value.hint}"


GOOD = {
    "base": {},
    "presets": {"variant": "custom_voice"},
    "design": {"variant": "voice_design"},
    "shards": {"shards": 3},
    "bfloat16": {"dtype": mx.bfloat16},
    "no encoder": {"with_encoder": False},
    "biases": {"talker": {"attention_bias": True}},
}


@pytest.mark.parametrize("case", GOOD)
def test_what_verify_takes_can_be_loaded(case, directory):
    folder = write_checkpoint(directory / "somebody_model", **GOOD[case])
    assert [model.state for model in verify_models([], directory=directory)] == [Available("heuristic")]
    assert load_speech_model(folder).tokenize("Hello.")


@pytest.mark.parametrize("bits", [8, 4])
def test_quantised_checkpoints_are_taken_too(bits, whole, directory):
    quantize_checkpoint(whole, directory / "somebody_model", bits=bits)
    assert [model.state for model in verify_models([], directory=directory)] == [Available("heuristic")]
    change(directory / "somebody_model", "config.json", lambda config: config.pop("quantization", None))
    change(directory / "somebody_model", "config.json", lambda config: config.pop("quantization_config", None))
    assert availability(directory / "somebody_model").state == "partial"
    with pytest.raises(UnsupportedCheckpoint, match="states no affine quantization"):
        load_speech_model(directory / "somebody_model")


def test_a_listing_reads_no_numbers_and_remembers_what_was_read(folder, directory):
    BROKEN["NaN in a norm"][0](folder)
    assert isinstance(list_models(directory)[0].state, Available)
    verify_models([], directory=directory)
    assert list_models(directory)[0].state.state == "partial"
