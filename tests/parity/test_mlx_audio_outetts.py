"""Speaker profiles of OuteTTS beside those of mlx-audio: the same numbers for the same sound."""

import numpy as np
import pytest

from models.voices.outetts_profile import features_of, make_profile, plain_text

pytest.importorskip("mlx_audio", reason="mlx-audio is an optional dependency")

import mlx.core as mx

pytestmark = pytest.mark.peers

SECONDS = 3.0
CODES = np.stack([np.arange(225), np.arange(225)[::-1]])
WORDS = [("Not", 0.1, 0.4), ("a", 0.41, 0.5), ("word", 0.62, 1.1), ("of", 1.1, 1.3), ("it.", 1.4, 2.93)]


class CountingCodec:
    """Codes that are the number of their frame, in place of a network's."""

    sr = 24_000

    def encode(self, _audio, **_options):
        return mx.array(CODES)[None]


def sound(seed):
    """Voiced and noisy parts, at changing levels and pitches."""
    draw = np.random.default_rng(seed)
    at_s = np.arange(round(SECONDS * 24_000)) / 24_000
    pitch_hz = 90 + 200 * draw.random() + 40 * np.sin(2 * np.pi * at_s * draw.random())
    voiced = np.sin(2 * np.pi * np.cumsum(pitch_hz) / 24_000) * (np.sin(2 * np.pi * 1.3 * at_s) > 0)
    return (0.4 * voiced + 0.05 * draw.standard_normal(at_s.size)).astype(np.float32)


@pytest.mark.parametrize("seed", range(8))
def test_segments_and_features_are_those_of_mlx_audio(seed):
    from mlx_audio.tts.models.outetts.audio_processor import AudioProcessor, Features

    theirs = AudioProcessor.__new__(AudioProcessor)
    theirs.features, theirs.audio_codec = Features(), CountingCodec()
    waveform = sound(seed)
    words = [{"word": text, "start": start_s, "end": end_s} for text, start_s, end_s in WORDS]
    made = theirs.create_speaker_from_dict(
        {"audio": {"bytes": mx.array(waveform)[None, None]}, "text": "Not a word of it.", "words": words}
    )
    assert make_profile(waveform, WORDS, CODES, transcript="Not a word of it.") == made


def test_features_of_noise_are_those_of_mlx_audio():
    from mlx_audio.tts.models.outetts.audio_processor import Features

    for seed in range(50):
        waveform = np.random.default_rng(seed).standard_normal(2_000 + 97 * seed).astype(np.float32) * 0.1
        assert features_of(waveform) == Features().extract_audio_features(mx.array(waveform)[None], 24_000)


@pytest.mark.parametrize("text", ["“Quoted”, ‘so’", "a\n\n b\t…", "dash – dash — dash", " x\x07\x9f "])
def test_texts_are_normalised_as_mlx_audio_does(text):
    from mlx_audio.tts.models.outetts.prompt_processor import PromptProcessor

    assert plain_text(text) == PromptProcessor.text_normalizations(text)
