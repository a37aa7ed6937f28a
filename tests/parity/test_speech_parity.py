"""Greedy speech is the official package's, code for code, and its sound within tolerance."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest

from models.qwen3_tts import Speech
from tests.models.qwen3_tts.speaking import model, requests_of
from tests.reference import CHECKPOINTS, assert_close, call, cases, golden, info, recorded_windows
from tests.sharing import shared_folder

SAMPLES_PER_FRAME = 1_920
ALONE = [
    ("base", "icl_streaming"),
    ("base", "xvec_streaming"),
    ("voice_design", "vd_basic"),
    ("custom_voice", "cv_dot"),
]


def every_text() -> Iterator[tuple[str, str, int]]:
    for checkpoint in CHECKPOINTS:
        for case in cases(checkpoint, "tts"):
            for index in range(info(checkpoint, case)["batch"]):
                yield checkpoint, case, index


EVERY_TEXT = [pytest.param(*text, id="-".join(map(str, text))) for text in every_text()]


Spoken: TypeAlias = dict[tuple[str, int], Speech]


def speak_together(checkpoint: str) -> Spoken:
    """All recorded calls of a checkpoint in one running batch of five rows, which come and go."""
    texts = [(case, index) for of, case, index in every_text() if of == checkpoint]
    requests = [requests_of(checkpoint, case)[index] for case, index in texts]
    return {texts[number]: speech for number, speech in model(checkpoint).synthesize_batch(requests, batch=5)}


@pytest.fixture(scope="session")
def spoken_together(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Spoken]:
    """What `speak_together` gives, worked out once in a run of the tests."""

    @functools.cache
    def spoken(checkpoint: str) -> Spoken:
        def make(folder: Path) -> None:
            (folder / "spoken.pickle").write_bytes(pickle.dumps(speak_together(checkpoint)))

        folder = shared_folder(tmp_path_factory, f"spoken-{checkpoint}", make)
        loaded: Spoken = pickle.loads((folder / "spoken.pickle").read_bytes())
        return loaded

    return spoken


@pytest.mark.parametrize(("checkpoint", "case", "index"), EVERY_TEXT)
def test_greedy_codes_are_the_official_ones(spoken_together, checkpoint, case, index):
    speech = spoken_together(checkpoint)[case, index]
    recorded = golden(checkpoint, case)[f"codes.{index}"]
    same = min(len(recorded), len(speech.codes))
    differing = np.argwhere(speech.codes[:same] != recorded[:same])
    assert len(differing) == 0, f"first difference at (frame, codebook) {differing[0]}"
    assert speech.codes.shape == recorded.shape
    assert speech.codes.dtype == np.int32
    ended = (
        info(checkpoint, case)["ended_by_eos"][index]
        and len(recorded) < requests_of(checkpoint, case)[index].max_frames
    )
    assert speech.finish_reason == ("eos" if ended else "length")  # an end drawn just behind the cap is "length"


@pytest.mark.parametrize(("checkpoint", "case"), ALONE)
def test_a_row_alone_speaks_as_in_a_batch(spoken_together, checkpoint, case):
    alone = model(checkpoint).synthesize(requests_of(checkpoint, case)[0])
    np.testing.assert_array_equal(alone.codes, spoken_together(checkpoint)[case, 0].codes)


@pytest.mark.parametrize(
    ("checkpoint", "case", "index"),
    [text for text in EVERY_TEXT if f"wave.{text.values[2]}" in golden(text.values[0], text.values[1])],
)
def test_the_sound_is_the_official_one(spoken_together, checkpoint, case, index):
    waveform = spoken_together(checkpoint)[case, index].waveform
    frames = info(checkpoint, case)["frames"][index]
    assert waveform.dtype == np.float32
    assert len(waveform) == frames * SAMPLES_PER_FRAME
    windows = recorded_windows(call(checkpoint, case), frames=frames)
    ours = np.concatenate([waveform[first * SAMPLES_PER_FRAME : last * SAMPLES_PER_FRAME] for first, last in windows])
    assert_close(ours, golden(checkpoint, case)[f"wave.{index}"], atol=2e-5, what=case)


@pytest.mark.parametrize(("checkpoint", "case", "index"), EVERY_TEXT)
def test_prompts_are_the_official_ones(checkpoint, case, index):
    recorded = golden(checkpoint, case)
    prefill, trailing = model(checkpoint).prefill(requests_of(checkpoint, case)[index])
    unpadded = recorded["attention_mask"][index] == 1
    assert_close(prefill, recorded["prefill_embeds"][index][unpadded], atol=1e-5, what="prefill")
    padding = recorded["tts_pad_embed"][0, 0]
    assert_close(trailing, recorded["trailing_text_hidden"][index][: len(trailing)], atol=1e-5, what="trailing text")
    for left_over in recorded["trailing_text_hidden"][index][len(trailing) :]:
        assert_close(left_over, padding, atol=1e-6, what="padding of trailing text")
