"""The engine around a network: its sound as the protocol wants it."""

from types import SimpleNamespace

import numpy as np
import pytest

from models.mlx_audio.engine import MlxAudioEngine
from models.mlx_audio.load import LoadedModel
from models.protocol import PresetVoice, SpeechDone, SpeechPiece, SpeechWork
from models.store.families import Family


class Shouting:
    """A network whose sound is far too loud."""

    def generate(self, text, *, stream=False, **_):
        parts = 4 if stream else 1
        for _ in range(parts):
            square = np.sign(np.sin(np.arange(44_100 // parts) / 5))
            yield SimpleNamespace(audio=4 * square, token_count=len(text))


@pytest.fixture
def engine(tmp_path):
    model = LoadedModel(
        network=Shouting(),
        family=Family(name="shouting"),
        folder=tmp_path,
        presets=("default",),
        arguments=frozenset({"text", "stream"}),
        native_hz=44_100,
        fingerprint="",
        package_version="1",
    )
    return MlxAudioEngine(model, name="lab/shouting")


@pytest.mark.parametrize(("live", "answers"), [(False, 1), (True, 3)])
def test_sound_is_within_full_scale_also_after_it_was_resampled(engine, live, answers):
    work = SpeechWork(id="a", text="Hello there.", voice=PresetVoice(name="default"), seed=1, live=live)
    found = list(engine.speak([work], progress=lambda _id, _frames: True))
    assert len(found) >= answers and isinstance(found[-1], SpeechDone)
    assert all(isinstance(one, SpeechPiece) for one in found[:-1])
    sound = np.concatenate([one.waveform for one in found])
    assert sound.dtype == np.float32 and np.abs(sound).max() == 1.0
    assert sound.size / 24_000 == pytest.approx(1, abs=0.01)


def test_live_speech_of_a_network_that_streams_is_a_take_of_its_own(engine):
    facts = engine.facts()
    assert facts.live_render_version.startswith(facts.render_version)
    assert facts.live_render_version != facts.render_version
