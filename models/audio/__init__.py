"""Waveforms and audio files: read, written, converted, streamed, judged."""
