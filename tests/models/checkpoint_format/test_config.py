"""Configs mirror their checkpoints, and refuse surprises."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from models.checkpoint_format.codec_config import codec_config, speaker_encoder_config
from models.checkpoint_format.config import generation_config, model_config
from models.errors import UnsupportedCheckpoint
from tests.reference import CHECKPOINTS, REFERENCE


def raw_config(checkpoint: str = "custom_voice") -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((REFERENCE / checkpoint / "config.json").read_text())
    return copy.deepcopy(loaded)


@pytest.mark.parametrize("checkpoint", CHECKPOINTS)
def test_every_reference_checkpoint_is_understood(checkpoint):
    assert model_config(raw_config(checkpoint)).tts_model_type == checkpoint


def test_an_unknown_key_is_named():
    raw = raw_config()
    raw["talker_config"]["num_experts"] = 8
    with pytest.raises(UnsupportedCheckpoint, match="num_experts"):
        model_config(raw)


def test_what_transformers_writes_into_every_config_is_passed_over():
    raw = raw_config()
    raw["talker_config"]["code_predictor_config"] |= {"do_sample": False, "top_k": 50, "is_decoder": False}
    raw["talker_config"] |= {"prefix": None, "typical_p": 1.0, "add_cross_attention": False}
    assert model_config(raw) == model_config(raw_config())


def test_missing_keys_are_named_together():
    raw = raw_config()
    del (
        raw["talker_config"]["code_predictor_config"]["head_dim"],
        raw["talker_config"]["code_predictor_config"]["vocab_size"],
    )
    with pytest.raises(UnsupportedCheckpoint, match=r"\['head_dim', 'vocab_size'\]"):
        model_config(raw)


def test_another_kind_of_model_is_refused():
    with pytest.raises(UnsupportedCheckpoint, match="'llama'"):
        model_config({"model_type": "llama"})


@pytest.mark.parametrize(
    ("key", "value"),
    [("hidden_size", "64"), ("num_key_value_heads", 0), ("head_dim", None), ("rms_norm_eps", True), ("spk_id", None)],
)
def test_a_value_of_another_kind_is_named(key, value):
    raw = raw_config()
    raw["talker_config"][key] = value
    with pytest.raises(UnsupportedCheckpoint, match=f"{key} is {value!r}"):
        model_config(raw)


@pytest.mark.parametrize(
    ("part", "key", "rule"),
    [
        ("talker_config", "codec_eos_token_id", "codec_eos_token_id must be one of the last"),
        ("talker_config", "codec_bos_id", "must be within the talker's vocab_size"),
        ("spk_id", "ryan", "must be within the talker's vocab_size"),
        ("", "tts_pad_token_id", "must be within text_vocab_size"),
    ],
)
def test_an_id_beyond_its_table_is_refused(part, key, rule):
    raw = raw_config()
    talker = raw["talker_config"]
    {"": raw, "talker_config": talker, "spk_id": talker["spk_id"]}[part][key] = 10**9
    with pytest.raises(UnsupportedCheckpoint, match=rule):
        model_config(raw)


def test_what_we_do_not_compute_is_refused():
    raw = raw_config()
    raw["talker_config"]["use_sliding_window"] = True
    with pytest.raises(UnsupportedCheckpoint, match="use_sliding_window"):
        model_config(raw)


@pytest.mark.parametrize(("size", "ignored"), [("0b6", True), ("1b7", False)])
def test_only_the_small_preset_models_ignore_an_instruct(size, ignored):
    assert model_config({**raw_config(), "tts_model_size": size}).ignores_instruct is ignored
    assert not model_config({**raw_config("voice_design"), "tts_model_size": size}).ignores_instruct


def test_an_absent_generation_config_has_the_official_defaults():
    assert generation_config({}).max_new_tokens == 2048
    assert generation_config({"max_new_tokens": 8192, "top_k": 20}).top_k == 20


def test_generation_configs_of_today_and_tomorrow_are_read():
    own = generation_config({"top_k": None, "top_p": None, "temperature": None, "cache_implementation": "static"})
    assert (own.top_k, own.top_p, own.temperature) == (0, 1.0, 0.9)
    with pytest.raises(UnsupportedCheckpoint, match="top_k"):
        generation_config({"top_k": "many"})


def test_rope_parameters_say_what_rope_theta_and_rope_scaling_said():
    before, raw = model_config(raw_config()), raw_config()
    talker = raw["talker_config"]
    for part in (talker, talker["code_predictor_config"]):
        scaling = part.pop("rope_scaling", None) or {"rope_type": "default"}
        part["rope_parameters"] = {"rope_theta": part.pop("rope_theta"), **scaling}
    after = model_config(raw)
    assert after.talker_config.rope_theta == before.talker_config.rope_theta
    talker["rope_parameters"] = {"full_attention": talker["rope_parameters"]}
    assert model_config(raw) == after
    talker["rope_parameters"] = {"rope_type": "yarn", "rope_theta": 1e6}
    with pytest.raises(UnsupportedCheckpoint, match="default type, and is 'yarn'"):
        model_config(raw)


def test_a_codec_with_stretched_positions_is_refused():
    with pytest.raises(UnsupportedCheckpoint, match=r"decoder_config\.rope_scaling must be of the default type"):
        codec_config({"decoder_config": {"codebook_dim": 512, "rope_parameters": {"rope_type": "linear"}}})


def test_unknown_keys_that_are_not_set_are_passed_over():
    raw = raw_config()
    raw["talker_config"] |= {"num_experts": None, "router_logits": False, "_experts_implementation": "eager"}
    assert model_config(raw) == model_config(raw_config())


@pytest.mark.parametrize("value", [10**9, -1, 0, 1.5, True, "28", None])
@pytest.mark.parametrize("key", ["num_hidden_layers", "hidden_size", "intermediate_size", "head_dim", "vocab_size"])
def test_sizes_that_no_model_has_are_refused_by_name(key, value):
    raw = raw_config()
    raw["talker_config"][key] = value
    with pytest.raises(UnsupportedCheckpoint, match=key):
        model_config(raw)


@pytest.mark.parametrize(
    ("part", "sizes"),
    [
        ("decoder_config", {"codebook_dim": 512, "num_hidden_layers": 10**9}),
        ("decoder_config", {"codebook_dim": 512, "upsample_rates": [8] * 10**4}),
        ("encoder_config", {"num_residual_layers": 10**6}),
        ("encoder_config", {"dilation_growth_rate": 10**6}),
    ],
)
def test_sizes_that_no_codec_has_are_refused_by_name(part, sizes):
    with pytest.raises(UnsupportedCheckpoint, match=list(sizes)[-1]):
        codec_config({"decoder_config": {"codebook_dim": 512}, part: sizes})


@pytest.mark.parametrize("sizes", [{"mel_dim": 10**6}, {"enc_res2net_scale": 10**6}, {"enc_channels": [512] * 99}])
def test_sizes_that_no_speaker_encoder_has_are_refused_by_name(sizes):
    with pytest.raises(UnsupportedCheckpoint, match=next(iter(sizes))):
        speaker_encoder_config(sizes)


def test_a_refused_value_is_shown_cut_short():
    raw = raw_config() | {"tts_model_type": "x", "im_end_token_id": "9" * 10**6}
    with pytest.raises(UnsupportedCheckpoint, match="im_end_token_id") as caught:
        model_config(raw)
    assert len(caught.value.message) < 300
