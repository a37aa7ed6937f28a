"""A waveform → the file formats of `say`: those of `models.audio.encoder`, AIFF, and M4A where the system can write it.

This module starts processes and touches the disk.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import soundfile

from models.audio.encoder import encode_audio, integers
from models.audio.file_format import FileFormat
from models.errors import EncodingFailed, NoEncoder
from models.protocol import SAMPLE_RATE_HZ, Waveform
from registry.errors import InvalidInput

FORMATS = ("wav", "aiff", "flac", "mp3", "m4a", "ogg")
ALIASES = {"aif": "aiff", "aifc": "aiff", "wave": "wav", "m4af": "m4a", "opus": "ogg"}

# Each takes the WAV file, then the M4A file.
M4A_ENCODERS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("afconvert", "-f", "m4af", "-d", "aac"), ()),
    (("ffmpeg", "-nostdin", "-y", "-loglevel", "error", "-i"), ("-c:a", "aac", "-b:a", "96k")),
)


def format_named(name: str) -> str:
    """One of FORMATS, from a name or a file's extension in any case. Raises InvalidInput."""
    wanted = name.lower().lstrip(".")
    wanted = ALIASES.get(wanted, wanted)
    if wanted not in FORMATS:
        raise InvalidInput(f"Unknown audio format {name!r}.", hint=f"Choose {', '.join(FORMATS)}.")
    return wanted


def m4a_encoder(which: Callable[[str], str | None] = shutil.which) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The system's encoder: its command before and after the name of the WAV file. Raises NoEncoder."""
    for (name, *arguments), after in M4A_ENCODERS:
        path = which(name)
        if path is not None:
            return (path, *arguments), after
    raise NoEncoder(
        "This system cannot write m4a: neither afconvert nor ffmpeg is installed.",
        hint="Install ffmpeg, or choose wav, aiff, flac, mp3 or ogg.",
    )


def encode_as(waveform: Waveform, wanted: str) -> bytes:
    """A mono waveform `(S,)` at 24 kHz as a whole file of one of FORMATS. Raises NoEncoder and EncodingFailed."""
    if wanted == "aiff":
        return _aiff_bytes(waveform)
    if wanted == "m4a":
        return _m4a_bytes(encode_audio(waveform))
    return encode_audio(waveform, FileFormat(format=wanted))


def _aiff_bytes(waveform: Waveform) -> bytes:
    content = io.BytesIO()
    with soundfile.SoundFile(content, "w", SAMPLE_RATE_HZ, 1, "PCM_16", format="AIFF") as file:
        file.write(integers(waveform.clip(-1.0, 1.0), bits=16) << 16)  # libsndfile reads the top bits
    return content.getvalue()


def _m4a_bytes(wav: bytes) -> bytes:
    before, after = m4a_encoder()
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "speech.wav", Path(folder) / "speech.m4a"
        source.write_bytes(wav)
        command = [*before, os.fspath(source), *after, os.fspath(target)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode != 0 or not target.is_file():
            said = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
            raise EncodingFailed(f"{Path(command[0]).name} failed ({done.returncode}): {said[0]}")
        return target.read_bytes()
