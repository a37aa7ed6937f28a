"""voicejobs.toml, environment and flags become settings."""

import re
import typing
from pathlib import Path

import pydantic
import pytest

from runner.config.settings import (
    IN_THE_FILE_ALONE,
    NOT_SETTINGS,
    NOT_SETTINGS_PREFIX,
    SETTINGS_FILE,
    Settings,
    default_file,
    environment_name,
    load_settings,
    setting_keys,
    tomllib,
)
from runner.errors import SettingsInvalid
from runner.jobfile.specs import SPEC_CLASSES


@pytest.fixture
def settings_file(tmp_path):
    def write(text: str):
        path = tmp_path / SETTINGS_FILE
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_an_empty_file_means_the_defaults(settings_file):
    assert load_settings(settings_file("")) == Settings()


def test_a_flag_wins_over_the_environment_over_the_file_over_the_default(settings_file):
    path = settings_file('settle_s = 2\nmodel = "draft"\nlanguage = "de"\n')
    environment = {"VOICEJOBS_SETTLE_S": "3", "VOICEJOBS_MODEL": "from-environment"}
    settings = load_settings(path, environment=environment, flags={"settle_s": "4.5", "model": None})
    assert (settings.settle_s, settings.model, settings.language) == (4.5, "from-environment", "german")
    assert settings.scan_interval_s == 2.0


def test_every_key_can_be_set_through_the_environment():
    assert environment_name(("sampling", "top_k")) == "VOICEJOBS_SAMPLING_TOP_K"
    assert len({environment_name(key) for key in setting_keys()}) == len(list(setting_keys()))
    assert not {environment_name(key) for key in setting_keys()} & set(NOT_SETTINGS)


def test_a_table_is_merged_key_by_key(settings_file):
    path = settings_file("[sampling]\ntemperature = 0.7\ntop_k = 20\n")
    settings = load_settings(path, environment={"VOICEJOBS_SAMPLING_TOP_K": "30"})
    assert (settings.sampling.temperature, settings.sampling.top_k) == (0.7, 30)


@pytest.mark.parametrize(
    ("text", "place", "near"),
    [
        ("settle = 1\n", "line 1, column 1", "settle_s"),
        ('\n\n  model_dir = "x"\n', "line 3, column 3", "models_dir"),
        ("[sampling]\ntemprature = 1.0\n", "line 2, column 1", "temperature"),
        ('inbox = "a"\n[samplin]\n', "line 2, column 1", "sampling"),
    ],
)
def test_an_unknown_key_names_its_place_and_the_nearest_known_one(settings_file, text, place, near):
    with pytest.raises(SettingsInvalid) as caught:
        load_settings(settings_file(text))
    assert place in str(caught.value)
    assert f"did you mean {near!r}?" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('settle_s = "1"\n', "settle_s = '1'"),
        ("settle_s = -1\n", "settle_s = -1"),
        ("settle_s = nan\n", "settle_s = nan"),
        ("max_takes = 0\n", "max_takes = 0"),
        ("max_takes = true\n", "max_takes = True"),
        ('format = "wave"\n', "did you mean 'wav'?"),
        ("offline = 1\n", "offline = 1"),
        ("scan_interval_s = 0\n", "expected at least 0.01 and at most 86400."),
        ("[sampling]\ntop_p = 2\n", "expected more than 0 and at most 1."),
        ("[sampling]\nmax_seconds = 4000\n", "expected more than 0 and at most 3600."),
        ("[sampling]\nmax_seconds = 0.01\n", "holds no sound"),
        ("engine_memory_limit_bytes = 1\n", "no engine starts with less than 64000000"),
        ("model = [\n", "end of document"),
        ("a = 1\na = 2\n", "line 2"),
    ],
)
def test_a_wrong_value_is_an_error_that_shows_it(settings_file, text, said):
    with pytest.raises(SettingsInvalid, match=re.escape(said)):
        load_settings(settings_file(text))


def numbers_in(annotation, place="", around=()):
    """(place, facts about it) of every number in a tree of models."""
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        for name, field in annotation.model_fields.items():
            yield from numbers_in(field.annotation, f"{place}.{name}", field.metadata)
    elif annotation in (int, float):
        yield place, around
    elif typing.get_origin(annotation) is typing.Annotated:
        inner, *more = typing.get_args(annotation)
        yield from numbers_in(inner, place, (*around, *more))
    else:
        for part in typing.get_args(annotation):
            yield from numbers_in(part, place, around)


@pytest.mark.parametrize("model", [Settings, *SPEC_CLASSES.values()])
def test_every_number_that_a_person_writes_has_a_range(model):
    for place, around in numbers_in(model):
        facts = [fact for one in around for fact in (one, *getattr(one, "metadata", ()))]
        for low, high in (("ge", "gt"), ("le", "lt")):
            assert any(hasattr(fact, low) or hasattr(fact, high) for fact in facts), place


def test_a_file_that_is_no_utf8_is_an_error(tmp_path):
    (tmp_path / SETTINGS_FILE).write_bytes(b"model = '\xff'")
    with pytest.raises(SettingsInvalid, match="not UTF-8"):
        load_settings(tmp_path / SETTINGS_FILE)


def test_an_unknown_variable_of_ours_names_the_nearest_known_one(settings_file):
    with pytest.raises(SettingsInvalid, match=r"VOICEJOBS_SETLE_S.*Did you mean VOICEJOBS_SETTLE_S"):
        load_settings(settings_file(""), environment={"VOICEJOBS_SETLE_S": "1"})


@pytest.mark.parametrize("name", [*NOT_SETTINGS, "VOICEJOBS_TEST_ANYTHING", "HOME"])
def test_variables_that_are_no_settings_are_left_alone(settings_file, name):
    assert load_settings(settings_file(""), environment={name: "x"}) == Settings()


def test_every_variable_that_the_program_reads_is_known():
    root = Path(__file__).parents[3]
    sources = [path for room in ("runner", "registry", "models", "benchmarks") for path in (root / room).rglob("*.py")]
    named = {name for path in sources for name in re.findall(r"(?<!_)\bVOICEJOBS_[A-Z_]+[A-Z]\b", path.read_text())}
    known = {*NOT_SETTINGS, *map(environment_name, setting_keys())}
    assert {name for name in named if not name.startswith(NOT_SETTINGS_PREFIX)} - known == set()


def test_an_empty_variable_is_as_good_as_none(settings_file):
    assert load_settings(settings_file(""), environment={"VOICEJOBS_MODEL": ""}) == Settings()


def test_a_wrong_variable_or_flag_is_named(settings_file):
    with pytest.raises(SettingsInvalid, match="environment variable VOICEJOBS_SETTLE_S: settle_s = 'soon'"):
        load_settings(settings_file(""), environment={"VOICEJOBS_SETTLE_S": "soon"})
    with pytest.raises(SettingsInvalid, match="--set: format = 'wavv'"):
        load_settings(settings_file(""), flags={"format": "wavv"})


def test_the_written_default_file_changes_nothing(settings_file):
    assert load_settings(settings_file(default_file())) == Settings()


def test_the_written_default_file_holds_every_key_with_its_default():
    uncommented = re.sub(r"^#(?! )", "", default_file(), flags=re.MULTILINE)
    values = tomllib.loads(uncommented)
    assert Settings.model_validate(values) == Settings()
    assert set(values) == set(Settings.model_fields) - set(IN_THE_FILE_ALONE)
    assert all(key[-1] in default_file() for key in setting_keys())


def test_settings_cannot_be_changed_after_loading():
    with pytest.raises(ValueError, match="frozen"):
        Settings().model = "x"


def test_the_language_may_be_written_as_in_jobs(tmp_path):
    path = tmp_path / SETTINGS_FILE
    path.write_text('language = "pt-BR"\n')
    assert load_settings(path).language == "portuguese"
    path.write_text('language = "englisch"\n')
    with pytest.raises(SettingsInvalid, match="line 1, column 1"):
        load_settings(path)
