"""Fed with recorded codes, the networks compute the official hidden states and logits at every step."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from models.qwen3_tts.kernels import FastKernels, PlainKernels
from models.qwen3_tts.sampling import Sampling, process_logits
from models.qwen3_tts.talker import SPECIAL_CODES
from tests.reference import assert_close, call, golden, info
from tests.speaking import model, requests_of

CASES = [
    ("base", "icl_streaming"),
    ("base", "icl_text_longer_than_ref"),
    ("base", "mixed_batch_xvec_icl"),
    ("voice_design", "vd_auto"),
    ("custom_voice", "cv_batch3"),
    ("custom_voice", "cv_dialect_auto"),
]


def hidden_states(checkpoint, case, index, *, kernels):
    """The talker's hidden states over a whole recorded run, from the recorded step inputs. `(S, D)`"""
    talker, recorded = model(checkpoint).talker, golden(checkpoint, case)
    talker.kernels = kernels
    plan = model(checkpoint).prepare(requests_of(checkpoint, case)[index]).plan
    cache = talker.make_cache()
    inputs = mx.array(recorded["step_embeds"][index])
    cache.reserve(slots=1, columns=len(plan) + len(inputs))
    states = [talker.prefill([talker.embed_prompt(plan)], cache=cache, slots=[0])]
    for step in range(len(inputs)):
        states.append(talker.step(inputs[step : step + 1], cache=cache, positions=[len(plan) + step]))
    return mx.concatenate(states)


@pytest.mark.parametrize("kernels", [PlainKernels(), FastKernels()], ids=["plain", "fast"])
@pytest.mark.parametrize(("checkpoint", "case"), CASES)
def test_talker_states_and_logits_are_the_official_ones(checkpoint, case, kernels):
    recorded, talker = golden(checkpoint, case), model(checkpoint).talker
    for index, frames in enumerate(info(checkpoint, case)["frames"]):
        steps = min(frames + 1, recorded["talker_hidden"].shape[1])  # a finished row of a batch is fed on
        hidden = hidden_states(checkpoint, case, index, kernels=kernels)[:steps]
        assert_close(np.array(hidden), recorded["talker_hidden"][index, :steps], atol=5e-5, what="hidden")
        logits = np.array(talker.logits(hidden))
        assert_close(logits, recorded["talker_logits"][index, :steps], atol=5e-5, what="logits")


@pytest.mark.parametrize("kernels", [PlainKernels(), FastKernels()], ids=["plain", "fast"])
@pytest.mark.parametrize(("checkpoint", "case"), CASES)
def test_predictor_logits_are_the_official_ones(checkpoint, case, kernels):
    recorded, predictor = golden(checkpoint, case), model(checkpoint).predictor
    predictor.kernels = kernels
    codes = np.stack([recorded[f"codes.{index}"][:3] for index in range(info(checkpoint, case)["batch"])])  # (B, 3, Q)
    for frame in range(codes.shape[1]):
        logits = []

        def draw(scores, group, frame=frame, logits=logits):
            logits.append(scores)
            return mx.array(codes[:, frame, group + 1 : group + 2])

        hidden = mx.array(recorded["talker_hidden"][:, frame])
        filled = predictor.fill(hidden, mx.array(codes[:, frame, :1]), draw)
        np.testing.assert_array_equal(np.array(filled), codes[:, frame])
        ours = np.array(mx.stack(logits, axis=1))
        assert_close(ours, recorded["predictor_logits"][frame], atol=2e-4, what=f"frame {frame}")


@pytest.mark.parametrize(("checkpoint", "case"), CASES)
def test_frame_embeddings_are_the_official_ones(checkpoint, case):
    recorded, speaker = golden(checkpoint, case), model(checkpoint)
    _, trailing = speaker.prefill(requests_of(checkpoint, case)[0])
    codes = recorded["codes.0"]
    embedded = np.array(speaker.talker.embed_codes(mx.array(codes)))
    padding = recorded["tts_pad_embed"][0, 0]
    for step in range(min(len(codes), len(recorded["step_embeds"][0]))):
        text = trailing[step] if step < len(trailing) else padding
        assert_close(embedded[step] + text, recorded["step_embeds"][0, step], atol=1e-5, what=f"step {step}")


def test_scores_are_the_official_ones():
    recorded = golden("custom_voice", "sampler")
    for number, stated in enumerate(call("custom_voice", "sampler")["sets"]):
        settings = {key: value for key, value in stated.items() if key != "history"}
        scores = process_logits(recorded["logits"], recorded["history"][:, : stated["history"]], Sampling(**settings))
        expected = recorded[f"scores.{number}"]
        np.testing.assert_array_equal(np.isfinite(scores), np.isfinite(expected))
        kept = np.isfinite(expected)
        assert_close(scores[kept], expected[kept], atol=1e-5, what=f"set {number}")


@pytest.mark.parametrize(("checkpoint", "case"), CASES)
def test_greedy_scores_of_every_step_are_the_official_ones(checkpoint, case):
    recorded, config = golden(checkpoint, case), model(checkpoint).config.talker_config
    end, codes = config.codec_eos_token_id, config.vocab_size - SPECIAL_CODES
    sampling = Sampling.greedy(call(checkpoint, case)["kwargs"].get("repetition_penalty", 1.05))
    for step in range(recorded["talker_logits"].shape[1]):
        logits = np.full((1, config.vocab_size), -1.0, np.float32)
        logits[:, [*range(codes), end]] = recorded["talker_logits"][:1, step]
        history = recorded["talker_sequences"][:1, :step]
        if (history >= codes).any():
            break  # the row has ended
        scores = process_logits(logits, history, sampling, end_of_speech_id=end)[:, [*range(codes), end]]
        expected = recorded["talker_scores"][:1, step]
        np.testing.assert_allclose(scores, expected, atol=1e-5)
