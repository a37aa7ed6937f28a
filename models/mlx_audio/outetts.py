"""A recording and its transcript → a speaker profile of OuteTTS: words timed without a recogniser, codes by mlx-audio.

mlx-audio would have the recording transcribed by Whisper first; here its words are known, in any language.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from models.draft.espeak import find_library
from models.errors import InvalidReferenceAudio, UnsupportedRequest
from models.listen.word_times import word_times
from models.protocol import LockWork, Waveform
from models.voices.outetts_profile import make_profile


def profile_of(work: LockWork) -> dict[str, Any]:
    """The profile. Raises UnsupportedRequest without a transcript, InvalidReferenceAudio where no word is heard."""
    waveform = work.waveform
    assert waveform is not None
    if not work.transcript:
        raise UnsupportedRequest(
            "OuteTTS needs the words of a recording; its sound alone is not enough.", hint="Give its transcript."
        )
    times = word_times(waveform, text=work.transcript, language=work.language, library=find_library())
    if not times:
        raise InvalidReferenceAudio("No word was found in the recording.", hint="Lock a recording of speech.")
    words = [(word.text, word.start_s, word.end_s) for word in times]
    return make_profile(waveform, words, _codes(waveform), transcript=work.transcript)


def _codes(waveform: Waveform) -> Any:
    """Codes `(2, T)` of the recording, levelled as mlx-audio does."""
    import mlx.core as mx

    codec = importlib.import_module("mlx_audio.tts.models.outetts.dac_interface").DacInterface()
    codes = codec.encode(mx.array(waveform)[None, None])
    return np.asarray(codes)[0, :2]
