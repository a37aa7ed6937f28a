"""A job's keys and the instance's settings → the format of the audio files that it publishes. Pure."""

from __future__ import annotations

from models.audio.file_format import FileFormat
from models.protocol import SAMPLE_RATE_HZ
from runner.config.settings import Settings
from runner.jobfile.specs import JobSpec, SynthesizeSpec


def audio_format_of(spec: JobSpec, settings: Settings) -> FileFormat:
    """The format of a job's audio; other kinds of jobs than `synthesize` make WAV."""
    if not isinstance(spec, SynthesizeSpec):
        return FileFormat(encoding=settings.wav_encoding)
    name = spec.format or settings.format
    return FileFormat(
        format=name,
        encoding=settings.wav_encoding if name == "wav" else "pcm16",
        sample_rate_hz=spec.sample_rate or SAMPLE_RATE_HZ,
        bitrate_kbps=spec.mp3_bitrate,
        loudness_lufs=spec.loudness,
    )
