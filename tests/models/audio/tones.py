"""Tones, and the pitch of a waveform."""

import numpy as np

RATE_HZ = 24_000


def tone(*, duration_s=0.5, frequency_hz=440.0, rate_hz=RATE_HZ, amplitude=0.5):
    time_s = np.arange(round(duration_s * rate_hz)) / rate_hz
    return (amplitude * np.sin(2 * np.pi * frequency_hz * time_s)).astype(np.float32)


def loudest_hz(waveform):
    return np.abs(np.fft.rfft(waveform)).argmax() * RATE_HZ / waveform.size
