"""What a test hears in a waveform: its median pitch and its long-term spectrum."""

import numpy as np

RATE_HZ = 24_000
WINDOW = 1_200  # 50 ms: four periods of the lowest voice
HOP = 480
LAGS = range(RATE_HZ // 450, RATE_HZ // 60)
BAND_EDGES_HZ = np.geomspace(100, 8_000, 25)


def pitch_track_hz(waveform):
    """The pitch of every voiced frame: the first strong peak of the normalised autocorrelation."""
    loud = 0.5 * np.sqrt(np.mean(waveform**2))
    found = []
    for start in range(0, len(waveform) - WINDOW - LAGS.stop, HOP):
        stretch = waveform[start : start + WINDOW + LAGS.stop].astype(np.float64)
        frame = stretch[:WINDOW]
        if np.sqrt(np.mean(frame**2)) < loud:
            continue
        energy = np.cumsum(np.concatenate([[0], stretch**2]))
        energies = energy[WINDOW:] - energy[:-WINDOW]
        likeness = np.correlate(stretch, frame, "valid") / np.sqrt(energies * (frame @ frame) + 1e-12)
        inner = likeness[LAGS.start : LAGS.stop]
        peaks = (inner[1:-1] >= inner[:-2]) & (inner[1:-1] > inner[2:]) & (inner[1:-1] > 0.88 * inner.max())
        if inner.max() > 0.6 and peaks.any():
            found.append(RATE_HZ / (LAGS.start + 1 + int(np.argmax(peaks))))
    return np.array(found)


def median_pitch_hz(waveform):
    return float(np.median(pitch_track_hz(waveform)))


def long_term_spectrum_db(waveform):
    """Level in 24 logarithmic bands from 100 Hz to 8 kHz, without the overall level."""
    frames = np.lib.stride_tricks.sliding_window_view(waveform, 1024)[::512] * np.hanning(1024)
    power = np.mean(np.abs(np.fft.rfft(frames)) ** 2, axis=0)
    frequencies_hz = np.fft.rfftfreq(1024, 1 / RATE_HZ)
    centres_hz = np.sqrt(BAND_EDGES_HZ[1:] * BAND_EDGES_HZ[:-1])
    nearest = [int(np.argmin(np.abs(frequencies_hz - centre_hz))) for centre_hz in centres_hz]
    edges = np.searchsorted(frequencies_hz, BAND_EDGES_HZ)
    bands = [
        power[low:high].mean() if high > low else power[at]
        for low, high, at in zip(edges, edges[1:], nearest, strict=False)
    ]
    levels_db = 10 * np.log10(np.array(bands) + 1e-12)
    return levels_db - levels_db.mean()


def semitones_between(one_hz, other_hz):
    return abs(12 * np.log2(one_hz / other_hz))


def spectral_distance_db(one, other):
    return float(np.sqrt(np.mean((one - other) ** 2)))
