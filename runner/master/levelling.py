"""Chapters and a preset → the gains that bring them to its level: for each voice first, then for each chapter."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from models.audio.levels import LevelMeter, Levels
from models.audio.limiter import limited
from models.audio.loudness import LoudnessMeter
from models.audio.sound import Samples
from runner.master.chapter_sound import ChapterSound, cut, resampled, with_channels
from runner.master.presets import Preset

VOICES_LUFS = -23.0  # that all voices are brought to, before their chapters get their level
MOST_GAIN_DB = 40.0  # more would lift nothing but noise
NEAR_ENOUGH_DB = 0.1
MOST_ROUNDS = 3
LONG_S = 60.0
ROOM_TONE = 10 ** (-72 / 20)


@dataclass(frozen=True, kw_only=True)
class OutputForm:
    """Form of a finished file's sound."""

    sample_rate_hz: int
    channels: int


@dataclass(frozen=True, kw_only=True)
class LevelledChapter:
    """A chapter with everything that is done to it; `rendered` does it."""

    number: int  # from 1
    sound: ChapterSound
    voice_gains: Mapping[str, float]
    start: int  # frames of the source that stay
    stop: int
    before_s: float  # silence that is added
    after_s: float
    gain_db: float
    is_silent: bool

    @property
    def title(self) -> str:
        return self.sound.title

    @property
    def duration_s(self) -> float:
        return (self.stop - self.start) / self.sound.sample_rate_hz + self.before_s + self.after_s

    def rendered(
        self, form: OutputForm, *, ceiling_db: float | None, trim_db: float = 0.0, room_tone: bool = False
    ) -> Iterator[Samples]:
        """The finished sound in blocks `(n, C)`; without a ceiling nothing is limited."""
        rate_hz = self.sound.sample_rate_hz
        blocks: Iterable[Samples] = cut(self.sound.blocks(self.voice_gains), start=self.start, stop=self.stop)
        blocks = resampled(with_channels(blocks, form.channels), rate_hz, form.sample_rate_hz, channels=form.channels)
        blocks = _between_silences(blocks, form, before_s=self.before_s, after_s=self.after_s)
        gain_db = self.gain_db + trim_db
        if gain_db:
            blocks = _with_gain(blocks, gain_db)
        if ceiling_db is not None:
            blocks = limited(blocks, sample_rate_hz=form.sample_rate_hz, ceiling_db=ceiling_db)
        return _with_room_tone(blocks, seed=self.number) if room_tone else iter(blocks)


def _with_gain(blocks: Iterable[Samples], gain_db: float) -> Iterator[Samples]:
    gain = np.float32(10 ** (gain_db / 20))
    return (block * gain for block in blocks)


def _between_silences(
    blocks: Iterable[Samples], form: OutputForm, *, before_s: float, after_s: float
) -> Iterator[Samples]:
    yield np.zeros((round(before_s * form.sample_rate_hz), form.channels), np.float32)
    yield from blocks
    yield np.zeros((round(after_s * form.sample_rate_hz), form.channels), np.float32)


def _with_room_tone(blocks: Iterable[Samples], *, seed: int) -> Iterator[Samples]:
    """Sound with the hiss of a quiet room, always the same one."""
    random = np.random.default_rng(seed)
    for block in blocks:
        yield block + np.float32(ROOM_TONE) * random.standard_normal(block.shape, np.float32)


def voice_gains(chapters: Sequence[ChapterSound], *, on_progress: Callable[[], None]) -> dict[str, float]:
    """Factor for each voice that makes all of them equally loud, over all chapters; empty for one voice alone."""
    if len(frozenset().union(*(chapter.voices for chapter in chapters))) < 2:
        return {}
    meters: dict[str, LoudnessMeter] = {}
    for chapter in chapters:
        for voice, block in chapter.parts():
            if voice:
                meter = meters.setdefault(voice, LoudnessMeter(chapter.sample_rate_hz, channels=chapter.channels))
                meter.add(block)
            on_progress()
    found = {voice: lufs for voice, meter in meters.items() if (lufs := meter.integrated_lufs()) is not None}
    if not found:
        return {}
    usual = sum(found.values()) / len(found)  # of voices that say too little to be measured
    return {voice: _factor(VOICES_LUFS - found.get(voice, usual)) for voice in meters}


def _factor(gain_db: float) -> float:
    return float(10 ** (max(-MOST_GAIN_DB, min(MOST_GAIN_DB, gain_db)) / 20))


def measured(blocks: Iterable[Samples], form: OutputForm) -> Levels:
    """Levels of sound in blocks."""
    meter = LevelMeter(form.sample_rate_hz, channels=form.channels)
    for block in blocks:
        meter.add(block)
    return meter.levels()


def levelled(
    sound: ChapterSound,
    *,
    number: int,
    preset: Preset,
    gains: Mapping[str, float],
    form: OutputForm,
    room_tone: bool = False,
    on_progress: Callable[[], None],
) -> LevelledChapter:
    """A chapter with the gain that brings it to the preset's level, and the silence that the preset wants around it."""
    blocks = with_channels(_told(sound.blocks(gains), on_progress), form.channels)
    levels = measured(blocks, replace(form, sample_rate_hz=sound.sample_rate_hz))
    chapter = _with_silences(sound, levels, number=number, preset=preset, gains=gains)
    if levels.is_silent or not preset.changes_levels:
        return chapter
    chapter = replace(chapter, gain_db=_bounded(_missing_db(preset, levels, form, chapter)))
    for _ in range(MOST_ROUNDS):
        if levels.true_peak_db + chapter.gain_db <= preset.ceiling_db and chapter.duration_s > LONG_S:
            break  # nothing is limited, and silences weigh little
        rendered = chapter.rendered(form, ceiling_db=preset.ceiling_db, room_tone=room_tone)
        ready = measured(_told(rendered, on_progress), form)
        missing_db = _missing_db(preset, ready, form, None)
        if abs(missing_db) <= NEAR_ENOUGH_DB:
            break
        chapter = replace(chapter, gain_db=_bounded(chapter.gain_db + missing_db))
    return chapter


def _told(blocks: Iterable[Samples], on_progress: Callable[[], None]) -> Iterator[Samples]:
    for block in blocks:
        yield block
        on_progress()


def _bounded(gain_db: float) -> float:
    return max(-MOST_GAIN_DB, min(MOST_GAIN_DB, gain_db))


def _missing_db(preset: Preset, levels: Levels, form: OutputForm, chapter: LevelledChapter | None) -> float:
    """Gain from measured levels to the preset's; of RMS, with the silences that the chapter will have."""
    if preset.rms_db is None:
        target, loudness = preset.target_lufs(channels=form.channels), levels.integrated_lufs
        assert target is not None
        return 0.0 if loudness is None else target - loudness
    if chapter is None:
        return preset.rms_db - levels.rms_db
    longer = chapter.duration_s * chapter.sound.sample_rate_hz / max(1, levels.frames)
    return preset.rms_db - (levels.rms_db - 10 * math.log10(max(longer, 1e-6)))


def _with_silences(
    sound: ChapterSound, levels: Levels, *, number: int, preset: Preset, gains: Mapping[str, float]
) -> LevelledChapter:
    rate_hz, start, stop, before_s, after_s = sound.sample_rate_hz, 0, levels.frames, 0.0, 0.0
    if preset.head_s is not None and preset.tail_s is not None and not levels.is_silent:
        start = round(max(0.0, levels.head_s - preset.head_s) * rate_hz)
        stop = levels.frames - round(max(0.0, levels.tail_s - preset.tail_s) * rate_hz)
        before_s, after_s = max(0.0, preset.head_s - levels.head_s), max(0.0, preset.tail_s - levels.tail_s)
    return LevelledChapter(
        number=number,
        sound=sound,
        voice_gains=gains,
        start=start,
        stop=stop,
        before_s=before_s,
        after_s=after_s,
        gain_db=0.0,
        is_silent=levels.is_silent,
    )
