"""A take → how a listener would rate its speech, its background and the whole, 1 to 5, by the network DNSMOS.

Microsoft's network is in the wheel `speechmos`; onnxruntime runs it, and nothing else of the wheel is used.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from models.audio.files import resample
from models.protocol import SAMPLE_RATE_HZ, Waveform

RATE_HZ, WINDOW_SAMPLES = 16_000, 144_160  # 9.01 s, to which shorter sound is repeated
NETWORK = Path("dnsmos_models", "sig_bak_ovr.onnx")
# From what the network gives to the ratings: coefficients of the wheel's own `dnsmos.py`.
SCALES = {
    "speech": (-0.08397278, 1.22083953, 0.0052439),
    "background": (-0.13166888, 1.60915514, -0.39604546),
    "overall": (-0.06766283, 1.11546468, 0.04602535),
}


@functools.cache
def network_path() -> Path | None:
    """The network's file; None where it, or what runs it, is not installed."""
    found = importlib.util.find_spec("speechmos")
    if found is None or not found.submodule_search_locations or importlib.util.find_spec("onnxruntime") is None:
        return None
    path = Path(found.submodule_search_locations[0]) / NETWORK
    return path if path.is_file() else None


class NoiseRater:
    """The loaded network."""

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session: Any = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def rated(self, waveform: Waveform) -> Mapping[str, float] | None:
        """Ratings of `(S,)` at 24 kHz, the mean over its windows; None of nothing."""
        sound = resample(waveform, SAMPLE_RATE_HZ, RATE_HZ)
        if not sound.size:
            return None
        count = max(1, sound.size // WINDOW_SAMPLES)
        windows = np.resize(sound, count * WINDOW_SAMPLES).reshape(count, WINDOW_SAMPLES)
        raw = np.array([self._session.run(None, {"input_1": window[None]})[0][0] for window in windows])
        means = {name: np.polyval(scale, raw[:, at]).mean() for at, (name, scale) in enumerate(SCALES.items())}
        return {name: round(float(mean), 2) for name, mean in means.items()}
