"""Names of presets → what finished files should measure: targets for mastering, and rules for judging."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from runner.master.request import Split

Range = tuple[float | None, float | None]  # the least and the most; None where there is no limit

LIMIT_MARGIN_DB = 0.5  # encoding with losses raises peaks


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Levels and form that a distributor asks for."""

    name: str
    rms_db: float | None = None  # the target; or that of the loudness, with one and with more channels
    lufs: Mapping[bool, float] | None = None  # by whether it is mono
    tolerance: float = 0.0  # of the loudness
    ceiling_db: float = 0.0  # of the true peak, before encoding
    sample_rate_hz: int | None = None  # of the files; None: as the sources
    split: Split = "none"
    head_s: float | None = None  # silence before and after a chapter; None: as it is
    tail_s: float | None = None
    formats: tuple[str, ...] = ("wav",)
    ranges: Mapping[str, Range]  # by rule
    constant_rate: bool = False  # an MP3 must have one

    @property
    def changes_levels(self) -> bool:
        return self.rms_db is not None or self.lufs is not None

    def target_lufs(self, *, channels: int) -> float | None:
        """Loudness of a file with so many channels; None where the preset goes by another measure."""
        return self.lufs[channels == 1] if self.lufs is not None else None

    def range_of(self, rule: str, *, channels: int) -> Range | None:
        """Limits of a rule; None when the preset has no such rule."""
        target = self.target_lufs(channels=channels)
        if rule == "loudness" and target is not None:
            return target - self.tolerance, target + self.tolerance
        return self.ranges.get(rule)


PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            name="acx",
            rms_db=-20.0,
            ceiling_db=-3.0 - LIMIT_MARGIN_DB,
            sample_rate_hz=44_100,
            split="chapters",
            head_s=0.75,
            tail_s=2.0,
            formats=("mp3",),
            ranges={
                "rms": (-23.0, -18.0),
                "peak": (None, -3.0),
                "noise-floor": (None, -60.0),
                "head": (0.5, 1.0),
                "tail": (1.0, 5.0),
                "sample-rate": (44_100, 44_100),
                "bit-rate": (192, None),
                "channels": (1, 2),
                "duration": (None, 120 * 60.0),
            },
            constant_rate=True,
        ),
        Preset(
            name="ebu",
            lufs={True: -23.0, False: -23.0},
            tolerance=0.5,
            ceiling_db=-1.0 - LIMIT_MARGIN_DB,
            sample_rate_hz=48_000,
            ranges={"true-peak": (None, -1.0)},
        ),
        Preset(
            name="podcast",
            lufs={True: -19.0, False: -16.0},
            tolerance=1.0,
            ceiling_db=-1.0 - LIMIT_MARGIN_DB,
            sample_rate_hz=44_100,
            formats=("mp3",),
            ranges={"true-peak": (None, -1.0), "channels": (1, 2)},
        ),
        Preset(
            name="audiobook",
            lufs={True: -19.0, False: -19.0},
            tolerance=1.0,
            ceiling_db=-3.0 - LIMIT_MARGIN_DB,
            sample_rate_hz=44_100,
            split="chapters",
            head_s=0.5,
            tail_s=1.5,
            formats=("m4b",),
            ranges={"true-peak": (None, -3.0)},
        ),
        Preset(name="none", ranges={}),
    )
}
_VALUES = {
    "rms": "rms_db",
    "peak": "peak_db",
    "true-peak": "true_peak_db",
    "loudness": "integrated_lufs",
    "noise-floor": "noise_floor_db",
    "head": "head_s",
    "tail": "tail_s",
    "sample-rate": "sample_rate_hz",
    "bit-rate": "bit_rate_kbps",
    "constant-rate": "constant_rate",
    "channels": "channels",
    "duration": "duration_s",
}


def judged(preset: Preset, measured: Mapping[str, Any], *, channels_of_all: int | None = None) -> dict[str, Any]:
    """A measured file as an entry of `mastering.json`: with its rules, and whether it keeps them all.

    `channels_of_all`: where a set of files must agree, the number that the first one has.
    """
    rules = list(_rules(preset, measured, channels_of_all=channels_of_all))
    return {**measured, "rules": rules, "passed": all(rule["passed"] for rule in rules)}


def _rules(preset: Preset, measured: Mapping[str, Any], *, channels_of_all: int | None) -> Iterator[dict[str, Any]]:
    for rule, key in _VALUES.items():
        value = measured[key]
        if rule == "constant-rate":
            if preset.constant_rate:
                yield {"rule": rule, "value": value, "limit": True, "passed": value is True}
            continue
        limits = preset.range_of(rule, channels=measured["channels"])
        if limits is None:
            continue
        if rule == "channels" and channels_of_all in (1, 2):
            limits = (channels_of_all, channels_of_all)  # all mono, or all stereo
        least, most = limits
        passed = value is not None and (least is None or value >= least) and (most is None or value <= most)
        yield {"rule": rule, "value": value, "limit": [least, most], "passed": passed}


def limit_text(limit: Any) -> str:
    """A rule's limit in words."""
    if limit is True:
        return "must be"
    least, most = limit
    if least == most:
        return f"must be {least:g}"
    if least is None:
        return f"at most {most:g}"
    return f"at least {least:g}" if most is None else f"{least:g} to {most:g}"
