"""Schema of job files: one pydantic class per kind, for TOML and JSON. Unknown keys are refused."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

from models.languages import canonical_language
from models.text.markup import Markup
from models.text.spoken_form import speaks
from registry.voices.names import name_key
from runner import names
from runner.config.analyzer_settings import AnalyzerModel, Backend, OnFailure, ServerUrl, TimeoutSeconds
from runner.config.settings import SamplingSettings
from runner.jobfile.master_spec import MAX_CHAPTERS, MasterTable, TagText

MAX_LINES = 20_000
MAX_LINE_CHARACTERS = 20_000
MAX_TEXT_CHARACTERS = 1_000_000
MAX_DESCRIPTION_CHARACTERS = 4_000
MAX_CANDIDATES = 50
DEFAULT_CANDIDATES = 3
AUTO_TRANSCRIPT = "auto"  # of a lock: a recogniser writes it
GENDER_WORDS = {"male": "male", "female": "female", "nonBinary": "non-binary", "unknown": "neutral"}
# A phonetic pangram: every English phoneme once, which shows a voice better than a greeting does.
DEFAULT_CANDIDATE_TEXT = (
    "That quick beige fox jumped in the air over each thin dog. "
    "Look out, I shout, for he's foiled you again, creating chaos."
)

_CONTROL_CHARACTERS = frozenset(map(chr, (*range(9), 11, 12, *range(14, 32), 127)))


def _speakable(text: str) -> str:
    if not text.strip():
        raise ValueError("there is no text to speak")
    return _without_controls(text)


def _without_controls(text: str) -> str:
    for index, character in enumerate(text):
        if character in _CONTROL_CHARACTERS:
            raise ValueError(f"the text holds the control character {character!r} at position {index + 1}")
    return text


def _language(text: str) -> str:
    return canonical_language(text)


def _model(text: str) -> str:
    if not text.isprintable() or text != text.strip():
        raise ValueError("a model is a short name, a repository id or a folder")
    return text


def _said(text: str) -> str:
    if not speaks(text):
        raise ValueError("there is no word to speak in it: no letter and no digit")
    return text


Text = Annotated[str, Field(min_length=1), pydantic.AfterValidator(_speakable)]
LineText = Annotated[  # white space alone is a pause, as a paragraph without a word is
    str, Field(min_length=1, max_length=MAX_LINE_CHARACTERS), pydantic.AfterValidator(_without_controls)
]
SaidText = Annotated[LineText, pydantic.AfterValidator(_said)]
JobText = Annotated[
    str,
    Field(min_length=1, max_length=MAX_TEXT_CHARACTERS),
    pydantic.AfterValidator(_without_controls),
    pydantic.AfterValidator(_said),
]
Description = Annotated[Text, Field(max_length=MAX_DESCRIPTION_CHARACTERS)]
Language = Annotated[str, Field(max_length=100), pydantic.AfterValidator(_language)]
ModelName = Annotated[str, Field(min_length=1, max_length=500), pydantic.AfterValidator(_model)]
NewVoiceName = Annotated[str, pydantic.AfterValidator(names.new_voice_name)]
VoiceReferenceText = Annotated[str, Field(max_length=200), pydantic.AfterValidator(names.voice_reference)]
Identifier = Annotated[str, pydantic.AfterValidator(names.identifier)]
JobName = Annotated[str, Field(min_length=1, max_length=255)]
RelativePath = Annotated[str, pydantic.AfterValidator(names.relative_path)]
FileName = Annotated[str, pydantic.AfterValidator(names.plain_file_name)]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]
PauseSeconds = Annotated[float, Field(ge=0, le=600, allow_inf_nan=False)]
StartSeconds = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]
PartName = Annotated[str, Field(min_length=1, max_length=200)]
BookName = Annotated[str, pydantic.AfterValidator(names.voice_name)]
SourceFormat = Literal["fountain", "fdx", "epub", "markdown", "html", "text", "pdf", "srt", "vtt"]
Narrate = Literal["all", "action", "none"]
CastChoice = Annotated[str, pydantic.AfterValidator(names.relative_path)]
AudioFormat = Literal["wav", "flac", "mp3", "opus", "ogg", "vorbis"]


class _Part(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", populate_by_name=True, protected_namespaces=())


class _Job(_Part):
    """Keys of every kind of job."""

    id: Identifier | None = Field(None, description="Makes the drop idempotent; names the outbox folder.")
    model: ModelName | None = Field(None, description="Short name, repository id or folder of the model.")
    language: Language | None = Field(None, description="ISO 639-1, BCP-47, an English name, or auto.")
    seed: Seed | None = Field(None, description="Without it, seeds are derived from the content.")
    priority: int = Field(0, ge=-100, le=100, description="Higher goes first.")
    metadata: dict[str, Any] = Field(default_factory=dict, description="Any table; echoed in the receipt.")
    sampling: SamplingSettings | None = Field(None, description="How tokens are sampled.")
    fresh: bool = Field(False, description="Draw a new seed instead of reusing a take.")

    def references(self) -> tuple[str, ...]:
        """Files that this job names, relative to the job file."""
        return ()

    def voice_made(self) -> str | None:
        """Name of the voice that gets a version from this job, as far as its file says."""
        return None

    def names_needed(self) -> set[str]:
        """Keys of the voices and jobs that this job speaks with, locks from or exports."""
        return set()


class Character(_Part):
    """Person who speaks; composed into a description."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    gender: Literal["male", "female", "nonBinary", "unknown"]
    age_range: Annotated[str, Field(min_length=1, max_length=100)]
    summary: Annotated[str, Field(min_length=1, max_length=2_000)]
    voice_traits: list[Annotated[str, Field(min_length=1, max_length=200)]] = Field(default_factory=list, max_length=50)

    def description(self) -> str:
        """Description from which the voice is designed, word for word as VoxAlta composes it.

        The period after the summary is always added, even after a summary that ends in one: locks made by the Swift
        tools contain exactly this text, and voices are compared by it.
        """
        traits = f" Voice traits: {', '.join(self.voice_traits)}." if self.voice_traits else ""
        return f"A {GENDER_WORDS[self.gender]} voice, {self.age_range}. {self.summary}.{traits}"


class DesignSpec(_Job):
    """Make N candidate recordings of a voice from its description."""

    kind: Literal["design"]
    voice: NewVoiceName = Field(description="The name that the voice will be locked under.")
    description: Description | None = Field(None, description="How the voice sounds, in plain words.")
    character: Character | None = Field(None, description="Instead of a description: who speaks.")
    text: SaidText = Field(DEFAULT_CANDIDATE_TEXT, description="What the candidates say.")
    candidates: int = Field(DEFAULT_CANDIDATES, ge=1, le=MAX_CANDIDATES, description="How many to make.")

    def design_instruction(self) -> str:
        """Description, as written or as composed from the character."""
        if self.character is not None:
            return self.character.description()
        assert self.description is not None  # parse_job has checked that one of the two is there
        return self.description


class CandidateSource(_Part):
    """Reference to a candidate of a design job."""

    job: JobName = Field(description="The exact name of the design job.")
    candidate: int = Field(ge=1, le=MAX_CANDIDATES, description="Counted from 1.")


class LockSpec(_Job):
    """Make one recording and its transcript the next immutable version of a voice."""

    kind: Literal["lock"]
    voice: NewVoiceName = Field(description="The voice that gets a new version.")
    source: CandidateSource | None = Field(None, alias="from", description="A candidate of a design job.")
    audio: RelativePath | None = Field(None, description="A recording beside the job file.")
    transcript: SaidText | None = Field(
        None, description="The exact words spoken in the recording; auto: as a recogniser hears them."
    )
    embedding_only: bool = Field(
        False, description="Keep the sound of the voice alone, without a transcript and its manner of speaking."
    )
    profile: Literal["outetts"] | None = Field(
        None, description="outetts: also make a speaker profile, by which OuteTTS speaks with the same version."
    )
    consent: Literal["self", "granted", "unknown"] | None = Field(
        None, description="Whose voice it is; needed to export a cloned voice."
    )
    pronunciations: dict[str, str] = Field(
        default_factory=dict, description="How this voice pronounces certain words: whole words, upper or lower case."
    )
    set_current: bool = Field(True, description="Whether the alias `current` moves to the new version.")

    def references(self) -> tuple[str, ...]:
        return (self.audio,) if self.audio else ()

    def voice_made(self) -> str | None:
        return self.voice

    def names_needed(self) -> set[str]:
        return {name_key(name) for name in (self.voice, *([self.source.job] if self.source else []))}


class LineSpec(_Part):
    """Line of a synthesize job; its own keys take precedence over the job's."""

    text: LineText
    id: Identifier | None = Field(None, description="Used in file names and for re-runs.")
    voice: VoiceReferenceText | None = None
    model: ModelName | None = None
    instruct: Description | None = Field(None, description="How it is spoken: whispering, …")
    language: Language | None = None
    seed: Seed | None = None
    sampling: SamplingSettings | None = None
    pause_after_s: PauseSeconds | None = Field(
        None, description="Silence after the line in the track; of a line without a word, the whole pause."
    )
    start_s: StartSeconds | None = Field(
        None, description="Where in the track it begins; later, where the lines before it take longer."
    )


class SynthesizeSpec(_Job):
    """Speak lines with locked or preset voices."""

    kind: Literal["synthesize"]
    voice: VoiceReferenceText | None = Field(
        None, description="name, name@N, name@alias, a preset's name, or preset:NAME; needed unless every line has one."
    )
    format: AudioFormat | None = Field(None, description="wav, flac, mp3, opus, ogg (the same as opus) or vorbis.")
    mp3_bitrate: int | None = Field(None, ge=8, le=320, description="Constant bit rate of mp3 in kbit/s.")
    sample_rate: int | None = Field(None, ge=8_000, le=96_000, description="Of the files, in Hz; default 24000.")
    loudness: float | None = Field(
        None, ge=-60, le=-5, allow_inf_nan=False, description="LUFS that every line is levelled to; unset: as spoken."
    )
    track: bool = Field(True, description="Whether the lines are joined into a track with captions, too.")
    instruct: Description | None = Field(None, description="How lines without an instruct are spoken.")
    pause_after_s: PauseSeconds | None = Field(None, description="Pause after lines that set none.")
    lines: list[LineSpec] | None = Field(None, min_length=1, max_length=MAX_LINES)
    text: JobText | None = Field(None, description="Instead of lines: one text.")
    text_file: RelativePath | None = Field(None, description="Instead of lines: a UTF-8 file.")
    verify: Literal["off", "basic", "asr"] | None = Field(
        None, description="How takes are judged: off, basic, or asr, which compares what a recogniser hears."
    )
    min_similarity: float | None = Field(
        None, ge=0, le=1, description="Takes that sound less like their lock are made again; 0 = any do."
    )
    captions: Literal["lines", "words"] | None = Field(
        None, description="lines: one caption a line, words: with a time for each word, and words.json; default lines."
    )
    markup: Markup | None = Field(
        None, description="How texts are read: plain, markdown, html or ssml. Unset: by the file's name, or <speak>."
    )

    def without_texts(self) -> SynthesizeSpec:
        """Spec without lines and text, which are megabytes for a book, for use once the lines are in the ledger."""
        return self.model_copy(update={"lines": None, "text": None})

    def references(self) -> tuple[str, ...]:
        return (self.text_file,) if self.text_file else ()

    def names_needed(self) -> set[str]:
        return _voice_keys(self.voice, *(line.voice for line in self.lines or ()))


class ExportSpec(_Job):
    """Write a voice into the outbox as a `.vox` file."""

    kind: Literal["export"]
    voice: VoiceReferenceText
    file: FileName | None = Field(None, description="Name of the file; by default the voice's name.")

    def names_needed(self) -> set[str]:
        return _voice_keys(self.voice)


class ImportSpec(_Job):
    """Import a voice from a `.vox` file, or clone-prompt file, beside the job file."""

    kind: Literal["import"]
    file: RelativePath
    voice: NewVoiceName | None = Field(None, description="Its name here; by default its name in the file.")
    consent: Literal["self", "granted", "unknown"] | None = Field(
        None, description="Whose voice it is, when the file does not say."
    )
    transcript: SaidText | None = Field(
        None, description="The words spoken in a recording that comes without a transcript."
    )
    set_current: bool = True

    def references(self) -> tuple[str, ...]:
        return (self.file,)

    def voice_made(self) -> str | None:
        return self.voice


class RelockSpec(_Job):
    """Rebuild a version's clone prompt for another model, as the next version."""

    kind: Literal["relock"]
    voice: VoiceReferenceText
    set_current: bool = Field(False, description="Whether `current` moves to the new version; by default it does not.")

    def voice_made(self) -> str | None:
        return names.parse_voice_reference(self.voice).name

    def names_needed(self) -> set[str]:
        return _voice_keys(self.voice)


class TranscribeSpec(_Job):
    """Write down what is said in a recording, and when."""

    kind: Literal["transcribe"]
    audio: RelativePath = Field(description="The recording beside the job file.")

    def references(self) -> tuple[str, ...]:
        return (self.audio,)


class AnalyzerTable(_Part):
    """How parts of a script get their descriptions; what is not given is as in voicejobs.toml."""

    backend: Backend | None = Field(None, description="rules: by the words; openai: by a server; mlx: by a model here.")
    url: ServerUrl | None = Field(None, description="Server with OpenAI's API, as http://127.0.0.1:11434/v1.")
    model: AnalyzerModel | None = Field(None, description="openai: the server's; mlx: a folder or hub repository.")
    timeout_s: TimeoutSeconds | None = Field(None, description="Longest time for a whole answer.")
    on_failure: OnFailure | None = Field(None, description="rules: with a warning; fail: the script fails.")


class ScriptSpec(_Job):
    """Read a book or a screenplay, cast its parts, and speak it chapter by chapter."""

    kind: Literal["script"]
    source: RelativePath = Field(description="The book or screenplay beside the job file.")
    format: SourceFormat | None = Field(None, description="What the source is, where its name does not say it.")
    book: BookName | None = Field(None, description="Names the voices: <book>.<part>; by default the job's name.")
    narrator: VoiceReferenceText | None = Field(None, description="Speaks everything that nobody says.")
    narrate: Narrate = Field("all", description="Of a screenplay: all, action, or none.")
    cast: CastChoice = Field("auto", description="auto, ask, none, or a cast.toml beside the job file.")
    share_below: int = Field(3, ge=0, le=10_000, description="Parts with fewer lines share voices; 0 = none do.")
    candidates: int = Field(DEFAULT_CANDIDATES, ge=1, le=MAX_CANDIDATES, description="Recordings to choose from.")
    voices: dict[PartName, VoiceReferenceText] = Field(default_factory=dict, description="Voices of parts, by name.")
    analyzer: AnalyzerTable = Field(default_factory=AnalyzerTable, description="How parts get their descriptions.")
    master: MasterTable | None = Field(None, description="Finished files of the whole book, as the kind master.")

    def references(self) -> tuple[str, ...]:
        cover = self.master.cover if self.master else None
        return tuple(dict.fromkeys(name for name in (self.source, self.cast_file, cover) if name))

    @property
    def cast_file(self) -> str | None:
        """The cast file beside the job file, if `cast` names one."""
        return None if self.cast in ("auto", "ask", "none") else self.cast

    def names_needed(self) -> set[str]:
        return _voice_keys(self.narrator, *self.voices.values())


class NarratorPart(_Part):
    """The narrator of a cast file."""

    voice: VoiceReferenceText | None = None


class CastPart(_Part):
    """A part in a cast file. `voice` and `candidate` are choices; everything else is shown, and not read."""

    model_config = pydantic.ConfigDict(frozen=True, extra="ignore")

    name: PartName
    voice: VoiceReferenceText | None = None
    candidate: int | None = Field(None, ge=1, le=MAX_CANDIDATES)
    shares: PartName | None = None


class CastSpec(_Job):
    """Choose voices for the parts of a script."""

    kind: Literal["cast"]
    job: JobName | None = Field(None, description="The script's job; needed where the file is dropped.")
    book: BookName | None = None
    narrator: NarratorPart = Field(default_factory=NarratorPart)
    parts: list[CastPart] = Field(default_factory=list, max_length=10_000)

    def names_needed(self) -> set[str]:
        return {name_key(self.job)} if self.job else set()


class MasterSpec(MasterTable, _Job):
    """Make finished files of spoken jobs or recordings, a chapter each."""

    kind: Literal["master"]
    source_jobs: list[JobName] | None = Field(
        None, alias="from", min_length=1, max_length=MAX_CHAPTERS, description="Exact names of spoken jobs, in order."
    )
    files: list[RelativePath] | None = Field(
        None, min_length=1, max_length=MAX_CHAPTERS, description="Instead of jobs: recordings beside the job file."
    )
    titles: list[TagText] | None = Field(
        None, description="Titles of the chapters; by default the names of jobs or files."
    )

    def references(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*(self.files or ()), *([self.cover] if self.cover else ()))))

    def names_needed(self) -> set[str]:
        return {name_key(name) for name in self.source_jobs or ()}


def _voice_keys(*references: str | None) -> set[str]:
    return {name_key(names.parse_voice_reference(reference).name) for reference in references if reference}


JobSpec = (
    DesignSpec
    | LockSpec
    | SynthesizeSpec
    | ExportSpec
    | ImportSpec
    | RelockSpec
    | TranscribeSpec
    | ScriptSpec
    | CastSpec
    | MasterSpec
)
SPEC_CLASSES: dict[str, type[JobSpec]] = {
    "design": DesignSpec,
    "lock": LockSpec,
    "synthesize": SynthesizeSpec,
    "export": ExportSpec,
    "import": ImportSpec,
    "relock": RelockSpec,
    "transcribe": TranscribeSpec,
    "script": ScriptSpec,
    "cast": CastSpec,
    "master": MasterSpec,
}
