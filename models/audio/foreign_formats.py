"""A recording that libsndfile does not read (m4a, webm, video, amr) → a WAV file, by the system's converter.

This module starts processes and touches the disk. The converter reads one local file of the kind that its first bytes
say, for as long as a recording may last.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.errors import InvalidReferenceAudio
from models.protocol import SAMPLE_RATE_HZ

MAX_WAV_BYTES = 200 << 20
LONGEST_CONVERSION_S = 60.0
CONVERTED_PER_SECOND = 60.0  # seconds of sound, at least: converters are ten times as fast
SPEECH_BYTES_PER_SECOND = 2 * SAMPLE_RATE_HZ
CHANNELS = "2"  # at most: a video may have more, which ffmpeg brings together


@dataclass(frozen=True)
class ForeignFormat:
    """A kind of file, the name of ffmpeg's reader for it, and whether Apple's converter reads it."""

    kind: str
    ffmpeg: str
    apple: bool = True


_MPEG4 = ForeignFormat("an MPEG-4 file (m4a, mp4, mov, 3gp)", "mov")
_FIRST_BYTES: Sequence[tuple[int, bytes, ForeignFormat]] = (
    (4, b"ftyp", _MPEG4),
    (4, b"moov", _MPEG4),
    (4, b"wide", _MPEG4),
    (0, b"\x1aE\xdf\xa3", ForeignFormat("a Matroska or WebM file", "matroska", apple=False)),
    (0, b"#!AMR", ForeignFormat("an AMR recording", "amr")),
    (0, b"\x30\x26\xb2\x75", ForeignFormat("a Windows Media file", "asf", apple=False)),
    (8, b"AVI ", ForeignFormat("an AVI video", "avi", apple=False)),
    (0, b"FLV\x01", ForeignFormat("a Flash video", "flv", apple=False)),
    (0, b"\xff\xf1", ForeignFormat("an AAC recording", "aac")),
    (0, b"\xff\xf9", ForeignFormat("an AAC recording", "aac")),
)
Which = Callable[[str], str | None]


def foreign_format(content: bytes) -> ForeignFormat | None:
    """Format of a file that needs a converter, by its first bytes; None for all others."""
    return next((found for at, first, found in _FIRST_BYTES if content[at : at + len(first)] == first), None)


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """Bounds of a conversion, and the form of its result."""

    longest_s: float  # of a longer file, the beginning and a second more than this
    is_speech: bool = False  # one channel at 24 kHz do

    @property
    def most_bytes(self) -> int:
        return max(MAX_WAV_BYTES, round(self.longest_s + 2) * SPEECH_BYTES_PER_SECOND if self.is_speech else 0)

    @property
    def limit_s(self) -> float:
        """Time that the converter may take."""
        return max(LONGEST_CONVERSION_S, self.longest_s / CONVERTED_PER_SECOND)


def converted(
    source: Path | bytes, found: ForeignFormat, *, name: str, longest_s: float, which: Which = shutil.which
) -> bytes:
    """The sound of a file as WAV, as `converted_file`."""
    with converted_file(source, found, Conversion(longest_s=longest_s), name=name, which=which) as wav:
        return wav.read_bytes()


@contextlib.contextmanager
def converted_file(
    source: Path | bytes, found: ForeignFormat, wanted: Conversion, *, name: str, which: Which = shutil.which
) -> Iterator[Path]:
    """The sound of a file as a WAV file, there while the block lasts.

    Raises InvalidReferenceAudio when there is no converter, or none can read it.
    """
    failures = []
    with tempfile.TemporaryDirectory(prefix="voicejobs-convert-") as folder:
        wav, path = Path(folder) / "sound.wav", source if isinstance(source, Path) else Path(folder) / "recording"
        if isinstance(source, bytes):
            path.write_bytes(source)
        for command in _commands(path, wav, found, wanted, which=which):
            failure = _run(command, wav, wanted)
            if failure is None:
                yield wav
                return
            failures.append(f"{Path(command[0]).name}: {failure}")
    if failures:
        hint = "Does it have sound? Play it, or convert it to WAV yourself."
        raise InvalidReferenceAudio(f"{name} is {found.kind} that cannot be read ({'; '.join(failures)}).", hint=hint)
    needed = "neither afconvert nor ffmpeg is" if found.apple else "ffmpeg is not"
    raise InvalidReferenceAudio(
        f"{name} is {found.kind}, which is read by the system's converter, and {needed} installed.",
        hint="Install ffmpeg, or convert it elsewhere (ffmpeg -i FILE out.wav).",
    )


def _commands(path: Path, wav: Path, found: ForeignFormat, wanted: Conversion, *, which: Which) -> list[list[str]]:
    source, target = os.fspath(path.absolute()), os.fspath(wav)
    commands = []
    if found.apple and (afconvert := which("afconvert")):
        form = ["-d", f"LEI16@{SAMPLE_RATE_HZ}", "-c", "1"] if wanted.is_speech else ["-d", "LEI16"]
        commands.append([afconvert, "-f", "WAVE", *form, source, target])
    if ffmpeg := which("ffmpeg"):
        # The reader is named, and only files are opened: a playlist in disguise must not lead elsewhere.
        reads = ["-nostdin", "-y", "-loglevel", "error", "-protocol_whitelist", "file", "-f", found.ffmpeg]
        form = ["-ac", "1", "-ar", str(SAMPLE_RATE_HZ)] if wanted.is_speech else ["-ac", CHANNELS]
        writes = ["-map", "0:a:0", "-t", f"{wanted.longest_s + 1:g}", *form, "-c:a", "pcm_s16le", "-f", "wav"]
        commands.append([ffmpeg, *reads, "-i", source, *writes, "-fs", str(wanted.most_bytes), target])
    return commands


def _run(command: Sequence[str], wav: Path, wanted: Conversion) -> str | None:
    """Reason why a converter made no file, or None."""
    wav.unlink(missing_ok=True)
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=wanted.limit_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"not done after {wanted.limit_s:g} s"
    except OSError as error:
        return error.strerror or type(error).__name__
    if done.returncode != 0 or not wav.is_file():
        said = done.stderr[-2000:].decode("utf-8", "replace").strip().splitlines()[-1:]
        return said[0][:200] if said else f"exit code {done.returncode}"
    return None if wav.stat().st_size <= wanted.most_bytes + (1 << 20) else "it holds too much sound"
