"""Fed with recorded codes, the networks compute the official hidden states and logits at every step."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from models.checkpoint_format.config import SPECIAL_CODES
from models.qwen3_tts.prompt.sampling import Sampling, process_logits
from tests.models.qwen3_tts.speaking import BACKENDS, model, requests_of
from tests.reference import assert_close, call, golden, info

CASES = [
    ("base", "icl_streaming"),
    ("base", "icl_text_longer_than_ref"),
    ("base", "mixed_batch_xvec_icl"),
    ("voice_design", "vd_auto"),
    ("custom_voice", "cv_batch3"),
    ("custom_voice", "cv_dialect_auto"),
]


def hidden_states(checkpoint, case, index, *, backend):
    """The talker's hidden states over a whole recorded run, fed with the recorded codes. `(S, D)`"""
    speaker, codes = model(checkpoint, backend), golden(checkpoint, case)[f"codes.{index}"]
    network, plan = speaker.network, speaker.prepare(requests_of(checkpoint, case)[index]).plan
    texts = [*plan.trailing_ids, *[speaker.config.tts_pad_token_id] * len(codes)]
    cache = network.make_cache()
    cache.reserve(slots=1, positions=len(plan) + len(codes))
    states = [network.prefill([plan], cache=cache, slots=[0], shared=0)]
    for step, frame in enumerate(codes):
        text = network.embed_text(np.array(texts[step : step + 1], np.int32))
        own = network.concat([as_codes(network, frame[None])])
        states.append(network.step(own, text, cache=cache, positions=[len(plan) + step]))
    return network.concat(states)


def as_codes(network, codes):
    """Recorded codes in the backend's own kind of array."""
    return codes.astype(np.int64) if network.name == "numpy" else mx.array(codes)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("checkpoint", "case"), CASES)
def test_talker_states_and_logits_are_the_official_ones(checkpoint, case, backend):
    recorded, network = golden(checkpoint, case), model(checkpoint, backend).network
    for index, frames in enumerate(info(checkpoint, case)["frames"]):
        steps = min(frames + 1, recorded["talker_hidden"].shape[1])  # a finished row of a batch is fed on
        hidden = hidden_states(checkpoint, case, index, backend=backend)[:steps]
        assert_close(np.array(hidden), recorded["talker_hidden"][index, :steps], atol=5e-5, what="hidden")
        logits = np.array(network.logits(hidden))
        assert_close(logits, recorded["talker_logits"][index, :steps], atol=5e-5, what="logits")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("checkpoint", "case"), CASES)
def test_predictor_logits_are_the_official_ones(checkpoint, case, backend):
    recorded, network = golden(checkpoint, case), model(checkpoint, backend).network
    codes = np.stack([recorded[f"codes.{index}"][:3] for index in range(info(checkpoint, case)["batch"])])  # (B, 3, Q)
    for frame in range(codes.shape[1]):
        logits = []

        def recorded_code(scores, group, frame=frame, logits=logits):
            logits.append(np.array(scores))
            return as_codes(network, codes[:, frame, group + 1 : group + 2])

        hidden = recorded["talker_hidden"][:, frame]
        hidden = hidden if network.name == "numpy" else mx.array(hidden)
        filled = network.predict_frame(hidden, as_codes(network, codes[:, frame, :1]), recorded_code)
        np.testing.assert_array_equal(np.array(filled), codes[:, frame])
        assert_close(np.stack(logits, 1), recorded["predictor_logits"][frame], atol=2e-4, what=f"frame {frame}")


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
