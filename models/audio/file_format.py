"""An audio file's format, rate and bit rate → whether that combination exists, and how its files end. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from models.protocol import SAMPLE_RATE_HZ
from registry.errors import InvalidInput

OPUS = ("opus", "ogg")  # the second name is older, and gives the file another ending
FORMATS = ("wav", "flac", "mp3", "opus", "ogg", "vorbis")
ENCODINGS = ("pcm16", "pcm24", "float")
EXTENSIONS = {"vorbis": "ogg"}  # the others are their own
RATES_HZ = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000)
OPUS_RATES_HZ = (8_000, 12_000, 16_000, 24_000, 48_000)
MP3_LOWEST_RATE_HZ, MP3_HIGHEST_RATE_HZ = 8_000, 48_000
# Bit rates of MP3 by the family of the sampling rate: those below 16 kHz, below 32 kHz, and the others.
MP3_LOW_KBPS = (8, 16, 24, 32, 40, 48, 56, 64)
MP3_MIDDLE_KBPS = (*MP3_LOW_KBPS, 80, 96, 112, 128, 144, 160)
MP3_HIGH_KBPS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)


@dataclass(frozen=True, kw_only=True)
class FileFormat:
    """The format of a mono audio file. `loudness_lufs`: the level that each file has, None as spoken."""

    format: str = "wav"
    encoding: str = "pcm16"  # of wav and flac
    sample_rate_hz: int = SAMPLE_RATE_HZ
    bitrate_kbps: int | None = None  # of mp3, constant; None = the encoder's own
    loudness_lufs: float | None = None

    @property
    def extension(self) -> str:
        """Ending of the name of such a file, without a dot."""
        return EXTENSIONS.get(self.format, self.format)

    def check(self) -> None:
        """Raises InvalidInput for a combination that does not exist."""
        if self.format not in FORMATS:
            raise InvalidInput(f"Unknown audio format {self.format!r}.", hint=f"Choose {', '.join(FORMATS)}.")
        if self.encoding not in ENCODINGS:
            raise InvalidInput(f"Unknown audio encoding {self.encoding!r}.", hint=f"Choose {', '.join(ENCODINGS)}.")
        if self.format == "flac" and self.encoding == "float":
            raise InvalidInput("FLAC holds no floating-point samples.", hint="Choose pcm24, or wav.")
        if self.format not in ("wav", "flac") and self.encoding != "pcm16":
            hint = "Leave the encoding out, or choose wav."
            raise InvalidInput(f"{self.format} has no encoding {self.encoding!r}.", hint=hint)
        self._check_rates()

    def _check_rates(self) -> None:
        rates: tuple[int, ...] = RATES_HZ
        if self.format in OPUS:
            rates = OPUS_RATES_HZ
        elif self.format == "mp3":
            rates = tuple(rate for rate in RATES_HZ if MP3_LOWEST_RATE_HZ <= rate <= MP3_HIGHEST_RATE_HZ)
        if self.sample_rate_hz not in rates:
            hint = f"Choose {', '.join(map(str, rates))}."
            raise InvalidInput(f"{self.format} has no sample_rate of {self.sample_rate_hz} Hz.", hint=hint)
        if self.bitrate_kbps is None:
            return
        if self.format != "mp3":
            hint = 'Leave it out, or choose format = "mp3".'
            raise InvalidInput(f"mp3_bitrate does not go with the format {self.format}.", hint=hint)
        if self.bitrate_kbps not in (known := mp3_bitrates(self.sample_rate_hz)):
            hint = f"Choose {', '.join(map(str, known))}; above {known[-1]}, set sample_rate = 44100 as well."
            if known is MP3_HIGH_KBPS:
                hint = f"Choose {', '.join(map(str, known))}."
            raise InvalidInput(
                f"MP3 at {self.sample_rate_hz} Hz has no bit rate of {self.bitrate_kbps} kbit/s.", hint=hint
            )


def mp3_bitrates(sample_rate_hz: int) -> tuple[int, ...]:
    """The bit rates that MP3 has at a sampling rate, in kbit/s."""
    if sample_rate_hz < 16_000:
        return MP3_LOW_KBPS
    return MP3_MIDDLE_KBPS if sample_rate_hz < 32_000 else MP3_HIGH_KBPS
