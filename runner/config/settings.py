"""voicejobs.toml, the environment and flags → one frozen `Settings`; and back, as a commented default file.

Precedence: flag > environment > voicejobs.toml > default. An unknown key or variable names the nearest known one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

from models.languages import canonical_language
from registry.errors import nearest
from runner.config.analyzer_settings import AnalyzerSettings
from runner.config.engine_settings import EnginesSettings
from runner.config.hook_settings import HookSettings
from runner.config.serve_settings import ServeSettings
from runner.config.source_positions import nearest_position, repeated_toml_key, toml_positions
from runner.config.validation_messages import Problem, dotted, problems_in
from runner.errors import SettingsInvalid

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SETTINGS_FILE = "voicejobs.toml"
ENVIRONMENT_PREFIX = "VOICEJOBS_"

# Variables of ours that are not settings; any other VOICEJOBS_… that names no key is an error.
NOT_SETTINGS = (
    "VOICEJOBS_ROOT",  # the instance
    "VOICEJOBS_CACHE_DIR",  # where measurements of this machine are kept
    "VOICEJOBS_CRASH_AT",  # tests
    "VOICEJOBS_SHARED",  # tests
    "VOICEJOBS_MLX_AUDIO_PYTHON",  # benchmarks
)
NOT_SETTINGS_PREFIX = "VOICEJOBS_TEST_"  # switches of the test suite and its helper processes

Seconds = Annotated[float, Field(ge=0, le=10 * 365 * 86_400, allow_inf_nan=False)]
Bytes = Annotated[int, Field(ge=0, le=2**62)]
SHORTEST_CAP_S = 0.08  # of a line: a codec frame
LEAST_ENGINE_BYTES = 64_000_000  # of a process that has loaded nothing yet


def _engine_limit(limit_bytes: int) -> int:
    if 0 < limit_bytes < LEAST_ENGINE_BYTES:
        raise ValueError(f"no engine starts with less than {LEAST_ENGINE_BYTES}; 0 = 85 % of the machine's memory")
    return limit_bytes


def _default_sampling(sampling: SamplingSettings) -> SamplingSettings:
    if sampling.max_seconds is not None and sampling.max_seconds < SHORTEST_CAP_S:
        raise ValueError(f"max_seconds is {sampling.max_seconds:g}; a line cut below {SHORTEST_CAP_S} s holds no sound")
    return sampling


class SamplingSettings(pydantic.BaseModel, frozen=True, extra="forbid"):
    """Sampling of tokens; a missing key takes the model's own value."""

    temperature: float | None = Field(None, ge=0.0001, le=5, allow_inf_nan=False, description="0.9 is usual")
    top_k: int | None = Field(None, ge=0, le=100_000, description="0 = no limit")
    top_p: float | None = Field(None, gt=0, le=1, allow_inf_nan=False, description="1 = no limit")
    repetition_penalty: float | None = Field(
        None, ge=0.5, le=5, allow_inf_nan=False, description="1 = none, 1.05 is usual"
    )
    max_seconds: float | None = Field(
        None,
        gt=0,
        le=3_600,
        allow_inf_nan=False,
        description="longest audio of one line; unset = derived from its text",
    )


class Settings(pydantic.BaseModel, frozen=True, extra="forbid"):
    """Everything that can be set for an instance. Paths are relative to its root."""

    inbox: str = Field("inbox", min_length=1, description="folder where job files are dropped")
    outbox: str = Field("outbox", min_length=1, description="folder where audio and receipts appear")
    state_dir: str = Field(
        ".voicejobs", min_length=1, description="database, takes and logs; on a local disk, never a network mount"
    )
    models_dir: str = Field("", description='the shared model directory; "" = the platform\'s own')
    model: str = Field("default", min_length=1, description='model for jobs that name none; "draft" needs no download')
    language: Annotated[str, pydantic.AfterValidator(canonical_language)] = Field(
        "auto", min_length=1, description="language for jobs that name none"
    )
    format: Literal["wav", "flac", "mp3", "opus", "ogg", "vorbis"] = Field(
        "wav", description="wav, flac, mp3, opus, ogg (opus by an older name) or vorbis"
    )
    wav_encoding: Literal["pcm16", "pcm24", "float"] = Field("pcm16", description="pcm16, pcm24 or float")
    settle_s: Seconds = Field(1.0, description="how long a dropped file must not change before it is claimed")
    scan_interval_s: Annotated[float, Field(ge=0.01, le=86_400, allow_inf_nan=False)] = Field(
        2.0, description="time between full scans of the inbox"
    )
    watch_events: bool = Field(True, description="scan when file events arrive; false = only at intervals")
    orphan_after_s: Seconds = Field(86_400, description="age at which an unused file leaves the inbox")
    max_wait_s: Seconds = Field(900, description="a job that waited this long goes next, whatever its model")
    min_free_bytes: Bytes = Field(500_000_000, description="nothing is claimed while less disk space is free")
    max_takes: int = Field(3, ge=1, le=100, description="attempts at a line whose takes fail the quality gates")
    verify: Literal["off", "basic", "asr"] = Field(
        "basic",
        description="how takes are judged: off, basic (their sound), asr (a recogniser compares them with the text)",
    )
    min_similarity: float = Field(
        0.0, ge=0, le=1, description="takes that sound less like their lock are made again; 0 = any do"
    )
    recogniser: str = Field(
        "",
        description='what hears takes: "pocketsphinx" (coarse, English), "faster-whisper:small", '
        '"mlx-audio:REPOSITORY"; "" = nothing',
    )
    aligner: str = Field(
        "",
        description='what times words for captions: "mlx-audio:REPOSITORY" of a Qwen3-ForcedAligner; "" = eSpeak NG',
    )
    takes_max_bytes: Bytes = Field(10_000_000_000, description="size above which old takes are deleted")
    unload_after_s: Seconds = Field(300, description="idle time before the engine exits and frees its memory")
    engine_memory_limit_bytes: Annotated[Bytes, pydantic.AfterValidator(_engine_limit)] = Field(
        0, description="0 = 85 % of the machine's memory"
    )
    batch: int = Field(0, ge=0, le=1_024, description="lines rendered together; 0 = chosen for this machine")
    dtype: Literal["auto", "float32", "bfloat16", "float16", "int8", "int4"] = Field(
        "auto",
        description="auto (the checkpoint's own; float32 on a CPU), float32, bfloat16, float16; or int8, int4: "
        "the weights of a plain checkpoint are quantised while it is loaded",
    )
    migrate: Literal["auto", "off"] = Field("auto", description="adopt models from legacy caches: auto, off")
    offline: bool = Field(False, description="true = no network, ever")
    memory_factor: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] = Field(
        1.5, description="free memory required before a model is loaded, as a multiple of its size"
    )
    memory_check: Literal["warn", "refuse"] = Field("warn", description="warn or refuse when memory is short")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="debug, info, warning or error")
    pronunciations: str = Field(
        "", description='a TOML file of lines such as Nguyen = "Win"; "" = none. Whole words, upper or lower case'
    )
    formulation: Literal["auto", "llvm", "numpy", "mlx"] = Field(
        "auto", description="backend on a CPU: auto (llvm where installed, else numpy), llvm, numpy or mlx"
    )
    blas: str = Field(
        "auto", min_length=1, description="BLAS library for MLX on a CPU: auto, wheel, openblas, mkl or a file"
    )
    sampling: Annotated[SamplingSettings, pydantic.AfterValidator(_default_sampling)] = Field(
        default_factory=SamplingSettings,
        description="how tokens are sampled; a missing key takes the model's own value",
    )
    serve: ServeSettings = Field(default_factory=ServeSettings, description="the server, `voicejobs serve`")
    analyzer: AnalyzerSettings = Field(
        default_factory=AnalyzerSettings, description="how parts of scripts get their descriptions"
    )
    engines: EnginesSettings = Field(
        default_factory=EnginesSettings, description="engines in environments of their own, see docs/engines.md"
    )
    hooks: list[HookSettings] = Field(
        default_factory=list, max_length=20, description="who is told when something happens"
    )


IN_THE_FILE_ALONE = ("hooks",)  # neither the environment nor a flag sets them
TABLES: dict[str, type[pydantic.BaseModel]] = {
    "sampling": SamplingSettings,
    "serve": ServeSettings,
    "analyzer": AnalyzerSettings,
    "engines": EnginesSettings,
}


def setting_keys() -> Iterator[tuple[str, ...]]:
    """Every key that can be set, as a path: `("settle_s",)`, `("sampling", "top_k")`, …"""
    return (key for key in _keys_in(Settings) if key[0] not in IN_THE_FILE_ALONE)


def _keys_in(table: type[pydantic.BaseModel]) -> Iterator[tuple[str, ...]]:
    for name, field in table.model_fields.items():
        key, kind = field.alias or name, field.annotation
        if isinstance(kind, type) and issubclass(kind, pydantic.BaseModel):
            yield from ((key, *inner) for inner in _keys_in(kind))
        else:
            yield (key,)


def environment_name(key: tuple[str, ...]) -> str:
    """Environment variable that sets `key`: `VOICEJOBS_SAMPLING_TOP_K`."""
    return ENVIRONMENT_PREFIX + "_".join(key).upper().replace("-", "_")


def load_settings(
    path: Path, *, environment: Mapping[str, str] | None = None, flags: Mapping[str, Any] | None = None
) -> Settings:
    """Settings of the file at `path`, overridden by `environment`, overridden by `flags` (None = not given).

    Raises SettingsInvalid, naming every wrong key, its place and the nearest known one.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SettingsInvalid(f"{path} cannot be read: {error.strerror}.", hint="Check its permissions.") from error
    values = _checked_file(content, name=str(path))
    _merge(values, _from_environment(environment or {}))
    given = {key: value for key, value in (flags or {}).items() if value is not None}
    _merge(values, _converted(given, place=lambda _: "--set: "))
    return Settings.model_validate(values)


def _checked_file(content: bytes, *, name: str) -> dict[str, Any]:
    try:
        text = content.decode("utf-8-sig")
        values: dict[str, Any] = tomllib.loads(text)
    except UnicodeDecodeError as error:
        raise SettingsInvalid(f"{name} is not UTF-8 (byte {error.start}).", hint="Save it as UTF-8.") from None
    except tomllib.TOMLDecodeError as error:
        hint = f"Correct {name}."
        if repeated := repeated_toml_key(text, str(error)):
            problem = Problem(repeated[0], f"the key {dotted(repeated[0])!r} appears twice.")
            raise SettingsInvalid(_located(problem, name=name, position=repeated[1]), hint=hint) from None
        raise SettingsInvalid(f"{name}: not valid TOML: {error}.", hint=hint) from None
    except RecursionError:
        raise SettingsInvalid(f"{name} is nested too deeply.", hint=f"Correct {name}.") from None
    try:
        Settings.model_validate(values, strict=True)
    except pydantic.ValidationError as error:
        positions = toml_positions(text)
        lines = [
            _located(problem, name=name, position=nearest_position(positions, problem.path))
            for problem in problems_in(error, Settings, raw=values)
        ]
        raise SettingsInvalid("\n".join(lines), hint=f"Correct {name}.") from None
    return values


def _located(problem: Problem, *, name: str, position: tuple[int, int] | None) -> str:
    place = f", line {position[0]}, column {position[1]}" if position else ""
    return f"{name}{place}: {problem.text}"


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    keys = {environment_name(key): key for key in setting_keys()}
    values: dict[str, Any] = {}
    for name in sorted(environment):
        if not name.startswith(ENVIRONMENT_PREFIX) or name in NOT_SETTINGS or name.startswith(NOT_SETTINGS_PREFIX):
            continue
        if name not in keys:
            near = nearest(name, [*keys, *NOT_SETTINGS])
            example = f"{SETTINGS_FILE} lists every key; the variable of settle_s is VOICEJOBS_SETTLE_S."
            hint = f"Did you mean {near[0]}?" if near else example
            raise SettingsInvalid(f"The environment variable {name} is not a setting.", hint=hint)
        if environment[name] != "":
            _merge(values, _nested(keys[name], environment[name]))
    return _converted(values, place=lambda path: f"environment variable {environment_name(path)}: ")


def _nested(key: tuple[str, ...], value: Any) -> dict[str, Any]:
    for part in reversed(key):
        value = {part: value}
    return dict(value)


def _converted(values: dict[str, Any], *, place: Callable[[tuple[str, ...]], str]) -> dict[str, Any]:
    """Check `values` alone, text allowed for numbers and switches; returns them with their proper types."""
    try:
        checked = Settings.model_validate(_with_lists(values))
    except pydantic.ValidationError as error:
        problems = problems_in(error, Settings, raw=values)
        texts = [f"{place(tuple(map(str, problem.path)))}{problem.text}" for problem in problems]
        raise SettingsInvalid("\n".join(texts)) from None
    return checked.model_dump(exclude_unset=True, by_alias=True)


def _with_lists(values: dict[str, Any]) -> dict[str, Any]:
    """Values of which those of lists may be text with commas between, as flags and the environment give them."""
    split = dict(values)
    for name, table in TABLES.items():
        if isinstance(inner := values.get(name), dict):
            split[name] = {key: _split(value) if _is_list(table, key) else value for key, value in inner.items()}
    return split


def _is_list(table: type[pydantic.BaseModel], key: str) -> bool:
    field = table.model_fields.get(key)
    return field is not None and isinstance(field.get_default(call_default_factory=True), list)


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _merge(values: dict[str, Any], over: Mapping[str, Any]) -> None:
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(values.get(key), dict):
            _merge(values[key], value)
        else:
            values[key] = value


DEFAULT_FILE_HEAD = """\
# The settings of one voicejobs instance; this file marks its root.
# Every key is listed with its default. To change one, remove the # in front of it.
# The environment overrides this file (settle_s: VOICEJOBS_SETTLE_S), and flags override both.
"""


EXAMPLE_OF_HOOKS = """\
# who is told when something happens; as many as you like, see docs/hooks.md:
#   [[hooks]]
#   on = ["job.done", "job.failed"]
#   url = "https://ntfy.sh/my-topic"
#   template = "{{data.job}}: {{data.status}}"
"""


def default_file() -> str:
    """Text of a voicejobs.toml in which every key is present, commented out, with its default.

    `#key = value` is a key to uncomment; `# text` is prose.
    """
    lines = [DEFAULT_FILE_HEAD]
    for name, field in Settings.model_fields.items():
        if name not in (*TABLES, *IN_THE_FILE_ALONE):
            lines += [f"# {field.description}", f"#{name} = {_toml_value(field.default)}", ""]
    for name, table in TABLES.items():
        lines += [f"# {Settings.model_fields[name].description}", f"#[{name}]"]
        lines += [*_table_lines(name, table), ""]
    return "\n".join([*lines, EXAMPLE_OF_HOOKS])


def _table_lines(name: str, table: type[pydantic.BaseModel]) -> Iterator[str]:
    for key, field in table.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if default is None:
            yield f"# {key} = …   ({field.description}; unset by default)"
        elif isinstance(default, dict):  # its own table, after the keys of this one
            yield f"\n# {field.description}\n#[{name}.{key}]"
            yield from (f"#{inner} = {_toml_value(value)}" for inner, value in default.items())
        elif isinstance(default, pydantic.BaseModel):
            yield f"\n# {field.description}\n#[{name}.{field.alias or key}]"
            yield from _table_lines(f"{name}.{field.alias or key}", type(default))
        else:
            yield f"# {field.description}\n#{key} = {_toml_value(default)}"


def _toml_value(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_toml_value, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and value >= 10_000:
        return f"{value:_}"
    return f'"{value}"' if isinstance(value, str) else str(value)
