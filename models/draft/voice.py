"""A description, a preset or a lock → the parameters of a draft voice; and those parameters ↔ bytes.

A draft voice is a variant of eSpeak NG, a pitch, a range, a rate, and a colour: five bands raised or lowered, which
keeps voices apart that eSpeak has too few variants for.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from models.draft.languages import accents_in
from models.errors import InvalidClonePrompt, PromptModelMismatch

FORMAT = "voicejobs-draft-voice"
FORMAT_VERSION = 1
LONGEST_PROMPT_BYTES = 10_000
LOWEST_HZ, HIGHEST_HZ = 50.0, 400.0
SLOWEST_WPM, FASTEST_WPM = 80, 450  # limits of eSpeak without time stretching


@dataclass(frozen=True, kw_only=True)
class DraftVoice:
    """Everything that makes a draft voice. Equal values sound equal."""

    variant: str
    pitch_hz: float  # median, in an ordinary sentence
    range: int = 50  # 0 … 99; 50 is ordinary, less is flatter
    rate_wpm: int = 170
    colour: str = ""  # "" or a sign for each of five bands, low to high, as "+--+-"
    accents: Mapping[str, str] = field(default_factory=dict)  # canonical language -> voice of eSpeak

    def to_bytes(self) -> bytes:
        """Canonical JSON: equal voices give equal bytes."""
        values = {"format": FORMAT, "version": FORMAT_VERSION, **dataclasses.asdict(self)}
        return json.dumps(values, sort_keys=True, separators=(",", ":")).encode("ascii")

    @staticmethod
    def from_bytes(content: bytes) -> DraftVoice:
        """The voice. Raises PromptModelMismatch for another engine's prompt, InvalidClonePrompt for a broken one."""
        values = _json_object(content)
        if values.pop("version", None) != FORMAT_VERSION:
            raise InvalidClonePrompt("The draft voice was made by another version of the draft engine.")
        try:
            voice = DraftVoice(**values)
            _check(voice)
        except (TypeError, ValueError, AttributeError) as error:
            raise InvalidClonePrompt(f"The draft voice is damaged: {error}.", hint="Lock the voice again.") from error
        return voice


ALIKE_SEMITONES = 1.0


def sound_alike(first: bytes, second: bytes) -> bool:
    """Whether two draft voices have one timbre, and nearly one pitch. Raises as `DraftVoice.from_bytes`."""
    one, other = DraftVoice.from_bytes(first), DraftVoice.from_bytes(second)
    if (one.variant, one.colour) != (other.variant, other.colour):
        return False
    return abs(12 * math.log2(one.pitch_hz / other.pitch_hz)) < ALIKE_SEMITONES


def _json_object(content: bytes) -> dict[str, Any]:
    try:
        values = json.loads(content) if len(content) <= LONGEST_PROMPT_BYTES else None
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
        raise PromptModelMismatch(
            "The voice was not locked with the draft engine.",
            hint="Speak it with the model that made it, or lock a draft voice.",
        )
    return values


def _check(voice: DraftVoice) -> None:
    if re.fullmatch(r"[\w -]{1,40}", voice.variant, re.ASCII) is None:
        raise ValueError(f"variant {voice.variant!r}")
    if re.fullmatch(r"(?:[+-]{5})?", voice.colour) is None:
        raise ValueError(f"colour {voice.colour!r}")
    if not LOWEST_HZ <= voice.pitch_hz <= HIGHEST_HZ:
        raise ValueError(f"pitch {voice.pitch_hz} Hz")
    if not (0 <= voice.range <= 99 and SLOWEST_WPM <= voice.rate_wpm <= FASTEST_WPM):
        raise ValueError(f"range {voice.range} or rate {voice.rate_wpm}")
    for language, name in voice.accents.items():
        if re.fullmatch(r"[a-z0-9-]{2,30}", name) is None:
            raise ValueError(f"accent {name!r} of {language!r}")


# Variant: the median pitch of an English sentence is `base * 2 ** ((pitch - 50) / 50) + fixed + by_range * range` Hz.
# Measured with eSpeak NG 1.52; within 4 % over its whole scale.
CALIBRATION: Mapping[str, tuple[float, float, float]] = {
    "f1": (127, 31, 0.43),
    "f5": (145, 35, 0.49),
    "Alicia": (164, 48, 0.75),
    "Andrea": (188, 34, 0.42),
    "steph": (156, 17, 0.20),
    "belinda": (188, 25, 0.32),
    "linda": (187, 25, 0.33),
    "grandma": (102, 60, 0.88),
    "shelby": (86, 53, 0.93),
    "m2": (76, 15, 0.21),
    "m7": (62, 25, 0.41),
    "m8": (52, 21, 0.27),
    "Andy": (72, 14, 0.21),
    "Gene2": (89, 16, 0.21),
    "Lee": (73, 14, 0.18),
    "boris": (67, 20, 0.34),
    "iven2": (61, 23, 0.34),
    "michel": (69, 21, 0.31),
    "norbert": (69, 19, 0.30),
    "travis": (64, 20, 0.42),
}


LIVELIEST = 0.45  # Hz of median per step of range; variants beyond it would sing, and lose their pitch to the text


def espeak_range(voice: DraftVoice) -> int:
    """eSpeak's range setting that makes a variant about as lively as the others, if it can then have its pitch."""
    base, fixed, by_range = CALIBRATION.get(voice.variant, CALIBRATION["norbert"])
    needed = (voice.pitch_hz - fixed - 2 * base) / by_range  # at twice its own pitch a variant is at its highest
    return round(min(max(voice.range * min(1.0, LIVELIEST / by_range), needed), 99))


def espeak_pitch(voice: DraftVoice, *, factor: float = 1.0) -> int:
    """eSpeak's pitch setting that gives `voice.pitch_hz`, where speech comes out at `factor` of what we expect."""
    base, fixed, by_range = CALIBRATION.get(voice.variant, CALIBRATION["norbert"])
    scaled_hz = max(voice.pitch_hz / factor - fixed - by_range * espeak_range(voice), 1.0)
    return min(max(round(50 + 50 * math.log2(scaled_hz / base)), 0), 99)


WOMEN_FROM_HZ = 165.0  # with a margin to 160, which no female voice goes below
MEN_UP_TO_HZ = 126.0  # with a margin to 130, which no male voice goes above


def drift(voice: DraftVoice, measured_hz: float) -> float:
    """Factor by which a line has left the register of its voice; 1 when it has not."""
    if voice.pitch_hz >= WOMEN_FROM_HZ and measured_hz < WOMEN_FROM_HZ:
        return measured_hz / (WOMEN_FROM_HZ * 1.02)
    if voice.pitch_hz <= MEN_UP_TO_HZ and measured_hz > MEN_UP_TO_HZ:
        return measured_hz / (MEN_UP_TO_HZ / 1.02)
    return 1.0


# Timbres (variant, colour) of which any two differ by at least 5 dB of long-term spectrum at equal pitch.
_FEMALE = (
    *(("f5", "----+"), ("belinda", "++--+"), ("shelby", "+-++-"), ("f1", "-+---"), ("Alicia", "-++++")),
    *(("linda", "--+-+"), ("steph", "+---+"), ("grandma", "+-++-"), ("Andrea", "++-+-"), ("shelby", "+---+")),
    *(("linda", "+-++-"), ("steph", "---+-"), ("belinda", "-++--")),
)
_MALE = (
    *(("Andy", "-++--"), ("m8", "+-+--"), ("michel", "++-+-"), ("norbert", "-+-+-"), ("Lee", "-+--+")),
    *(("Gene2", "+-+--"), ("boris", "-+++-"), ("iven2", "-++--"), ("m2", "+--++"), ("Lee", "+++--")),
    *(("norbert", "++--+"), ("m8", "----+"), ("Andy", "---++"), ("iven2", "-+-++"), ("boris", "+-+-+")),
    ("Gene2", "-+-++"),
)
_TIMBRES = {"female": _FEMALE, "male": _MALE}
Palette: TypeAlias = tuple[tuple[str, str, float], ...]  # (variant, colour, pitch in Hz)


def _palette(timbres: tuple[tuple[str, str], ...], *slots_hz: float) -> Palette:
    """Every timbre at every pitch, in an order in which neighbours differ in both. Slots are over 2 semitones apart."""
    return tuple(
        (*timbres[(turn + slot) % len(timbres)], pitch_hz)
        for turn in range(len(timbres))
        for slot, pitch_hz in enumerate(slots_hz)
    )


def _interleaved(one: Palette, other: Palette) -> Palette:
    return tuple(entry for pair in zip(one, other, strict=False) for entry in pair)  # as long as both last


# Female stays well above 160 Hz, male well below 130 Hz.
_SLOTS_HZ: Mapping[tuple[str, str], tuple[float, ...]] = {
    ("female", "low"): (168, 199, 231),
    ("female", ""): (169, 199, 232, 269),
    ("female", "high"): (202, 235, 273),
    ("male", "low"): (74, 88, 103),
    ("male", ""): (76, 91, 106, 123),
    ("male", "high"): (89.5, 106, 123),
}
PALETTES: Mapping[tuple[str, str], Palette] = {
    **{(gender, pitch): _palette(_TIMBRES[gender], *slots_hz) for (gender, pitch), slots_hz in _SLOTS_HZ.items()},
    **{
        ("", pitch): _interleaved(
            _palette(_TIMBRES["male"], *_SLOTS_HZ["male", pitch]),
            _palette(_TIMBRES["female"], *_SLOTS_HZ["female", pitch]),
        )
        for pitch in ("low", "", "high")
    },
    ("child", ""): _palette(_FEMALE, 238, 276),
    ("neutral", "low"): _palette(_MALE, 104, 124),
    ("neutral", ""): _interleaved(_palette(_MALE, 124), _palette(_FEMALE, 170)),
    ("neutral", "high"): _palette(_FEMALE, 170, 198),
}


@dataclass(frozen=True, kw_only=True)
class Traits:
    """Traits of a voice that the draft engine understands in a description."""

    gender: str = ""  # "female" | "male" | "child" | "neutral" | ""
    pitch: str = ""  # "low" | "high" | ""
    rate_wpm: int = 170
    range: int = 50


_GENDERS = {
    "neutral": r"non-?binary|androgynous|gender-?neutral|neutral (?:voice|gender)",
    "female": r"female|wom[ae]n|girl|lady|ladies|feminine|she|her|mother|mum|mom|aunt|sister|daughter|wife|queen"
    r"|princess|witch|grandmother|grandma|actress|heroine|soprano|contralto|mezzo|mrs|ms|miss",
    "male": r"male|m[ae]n|boy|guy|gentlem[ae]n|masculine|he|his|him|father|dad|uncle|brother|son|husband|king|prince"
    r"|wizard|grandfather|grandpa|actor|hero|tenor|baritone|bass|mr|sir|lad|bloke",
}
_CHILD = r"child|childlike|kid|toddler|infant|little (?:girl|boy)|young (?:girl|boy)|schoolgirl|schoolboy"
_TEEN = r"teen|teens|teenage|teenaged|teenager|adolescent|youth|youthful|girlish|boyish"
_OLD = (
    r"old|older|elderly|aged|ancient|senior|wizened|grandmother|grandma|grandfather|grandpa"
    r"|sixties|seventies|eighties|nineties"
)
_LOW = (
    r"deep|low-?pitched|low[ -](?:pitch|voice|register|tone)|low,|bass|baritone|contralto|gravelly|husky|booming"
    r"|resonant|rumbling|sonorous"
)
_HIGH = (
    r"high-?pitched|high[ -](?:pitch|voice|register|tone)|high,|shrill|squeaky|soprano|tenor|bright|piping|chirpy"
    r"|light voice"
)
_SLOW = (
    r"slow|slowly|slower|unhurried|leisurely|languid|measured|deliberate|drawling|drawl|ponderous|sleepy|tired|weary"
)
_FAST = r"fast|faster|quick|quickly|rapid|rapidly|brisk|briskly|hurried|hasty|breathless|rushed|fast-paced|speedy|hyper"
_FLAT = r"monotone|monotonous|flat|robotic|deadpan|emotionless|calm|stoic|dry|cold|bored|toneless"
_LIVELY = (
    r"expressive|lively|animated|dramatic|cheerful|excited|energetic|enthusiastic|playful|theatrical|bubbly|passionate"
)


def says(words: str, text: str) -> bool:
    """Whether `text` has one of `words` (alternatives of a regular expression) as a whole word."""
    return re.search(rf"(?<![\w-])(?:{words})(?!\w)", text) is not None


def _first(patterns: Mapping[str, str], text: str) -> str:
    """The name of the pattern whose words come first in `text`; "" when none does."""
    matches = {name: re.search(rf"(?<![\w-])(?:{words})(?!\w)", text) for name, words in patterns.items()}
    found = {name: match.start() for name, match in matches.items() if match}
    return min(found, key=lambda name: found[name], default="")


def traits_of(description: str) -> Traits:
    """Gender, pitch, pace and liveliness by the words of a description; the age, as a word or number, moves them."""
    text = description.casefold()
    years = _years_in(text)
    is_child = says(_CHILD, text) or (years is not None and years <= 12)
    is_old = says(_OLD, re.sub(r"\d+[ -]years?[ -]old", "", text)) or (years is not None and years >= 60)
    is_teen = says(_TEEN, text) or (years is not None and 13 <= years <= 19)
    pitch = _first({"low": _LOW, "high": _HIGH}, text) or ("low" if is_old else "high" if is_teen else "")
    pace = _first({"slow": _SLOW, "fast": _FAST}, text)
    rate_wpm = {"slow": 130, "": 155 if is_old else 170, "fast": 220}[pace]
    if pace and says(r"(?:very|extremely|really) (?:slow|fast|quick|rapid)\w*", text):
        rate_wpm = {"slow": 110, "fast": 260}[pace]
    mood = _first({"flat": _FLAT, "lively": _LIVELY}, text)
    return Traits(
        gender="child" if is_child else _first(_GENDERS, text),
        pitch="" if is_child else pitch,
        rate_wpm=rate_wpm,
        range={"flat": 25, "": 50, "lively": 75}[mood],
    )


def _years_in(text: str) -> int | None:
    match = re.search(r"(?<![\w.])(\d{1,3})(?=s\b|[-–]| ?years?\b|\b)(?!\.\d)", text)
    return int(match[1]) if match and int(match[1]) <= 120 else None


def designed_voice(description: str, seed: int) -> DraftVoice:
    """One of the voices that fit a description. Consecutive seeds give voices that are easy to tell apart."""
    character = traits_of(description)
    palette = PALETTES[character.gender, character.pitch]
    variant, colour, pitch_hz = palette[seed % len(palette)]
    return DraftVoice(
        variant=variant,
        colour=colour,
        pitch_hz=float(pitch_hz),
        range=character.range,
        rate_wpm=character.rate_wpm,
        accents=accents_in(description),
    )


PRESETS: Mapping[str, DraftVoice] = {
    "ryan": DraftVoice(variant="m7", pitch_hz=106, range=60, rate_wpm=178),
    "aiden": DraftVoice(variant="michel", pitch_hz=119, range=55, rate_wpm=172),
    "vivian": DraftVoice(variant="f5", pitch_hz=228, range=65, rate_wpm=180),
    "serena": DraftVoice(variant="belinda", pitch_hz=192, range=45, rate_wpm=158),
    "uncle_fu": DraftVoice(variant="m8", pitch_hz=84, range=45, rate_wpm=150),
    "dylan": DraftVoice(variant="Andy", pitch_hz=116, range=60, rate_wpm=185),
    "eric": DraftVoice(variant="travis", pitch_hz=110, range=65, rate_wpm=175),
    "ono_anna": DraftVoice(variant="Alicia", pitch_hz=252, range=60, rate_wpm=172),
    "sohee": DraftVoice(variant="f1", pitch_hz=206, range=55, rate_wpm=165),
}
PRESET_ALIASES: Mapping[str, str] = {"anna": "ono_anna"}
