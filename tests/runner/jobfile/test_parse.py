"""Job files: what is accepted, and how the rest is refused."""

import json
import re
import tracemalloc
from pathlib import Path

import jsonschema
import pytest

from runner.errors import JobFileInvalid
from runner.jobfile.parse import content_sha256, job_schema, parse_job, spec_from_json, spec_to_json
from runner.jobfile.specs import DesignSpec, ExportSpec, LockSpec, SynthesizeSpec
from runner.jobfile.syntax import tomllib

DESIGN = 'kind = "design"\nvoice = "elena"\ndescription = "A warm voice."\n'
LOCK = 'kind = "lock"\nvoice = "elena"\nfrom = { job = "elena-design", candidate = 2 }\n'
SPEAK = 'kind = "synthesize"\nvoice = "elena"\ntext = "Hello."\n'
CHARACTER = '[character]\nname = "E"\ngender = "{}"\nage_range = "30-40"\nsummary = "Calm"\n'


def parse(text: str, *, file_name: str = "job.toml"):
    return parse_job(text.encode("utf-8", "surrogatepass"), file_name=file_name)


def refusal(text: str, *, file_name: str = "job.toml") -> str:
    with pytest.raises(JobFileInvalid) as caught:
        parse(text, file_name=file_name)
    return caught.value.message


def test_a_date_is_no_text_but_may_stand_in_the_metadata():
    assert "text = 2026-01-31: expected text in quotes." in refusal(SPEAK.replace('"Hello."', "2026-01-31"))
    assert parse(SPEAK + "[metadata]\nday = 2026-01-31\n").metadata == {"day": "2026-01-31"}


def test_a_key_written_one_table_too_high_is_shown_where_it_belongs():
    assert "did you mean 'sampling.temperature'?" in refusal(SPEAK + "tempratur = 1\n")


def test_a_design_job_has_three_candidates_and_a_text_unless_it_says_otherwise():
    spec = parse(DESIGN)
    assert isinstance(spec, DesignSpec)
    assert (spec.candidates, spec.design_instruction()) == (3, "A warm voice.")
    assert spec.text.startswith("That quick beige fox")


def test_a_lock_job_names_a_candidate_or_brings_a_recording():
    chosen = parse(LOCK)
    assert isinstance(chosen, LockSpec)
    assert chosen.source is not None
    assert (chosen.source.job, chosen.source.candidate, chosen.set_current) == ("elena-design", 2, True)
    own = parse('kind = "lock"\nvoice = "me"\naudio = "takes/me.wav"\ntranscript = "Hi."\nconsent = "self"')
    assert (own.references(), own.consent) == (("takes/me.wav",), "self")


def test_a_synthesize_job_has_lines_or_a_text_or_a_text_file():
    cast = parse('kind = "synthesize"\n[[lines]]\ntext = "Hi."\nvoice = "a@2"\ninstruct = "whispering"\n')
    assert isinstance(cast, SynthesizeSpec)
    assert cast.lines is not None and cast.lines[0].instruct == "whispering"
    assert parse(SPEAK).text == "Hello."
    assert parse(SPEAK.replace('text = "Hello."', 'text_file = "a.txt"')).references() == ("a.txt",)


def test_an_export_job_names_a_voice():
    assert isinstance(parse('kind = "export"\nvoice = "elena@2"\nfile = "elena.vox"'), ExportSpec)


def test_toml_and_json_say_the_same():
    toml = parse(LOCK + 'metadata = { scene = 4 }\nlanguage = "de-AT"\nseed = 7\n')
    text = json.dumps(tomllib.loads(LOCK) | {"metadata": {"scene": 4}, "language": "German", "seed": 7})
    assert parse(text, file_name="job.JSON") == toml


@pytest.mark.parametrize("language", ["en", "EN-us", "English", "auto"])
def test_a_language_is_named_as_people_name_it(language):
    assert parse(f'{SPEAK}language = "{language}"').language in ("english", "auto")


@pytest.mark.parametrize(
    "voice", ["ryan", "preset:ryan", "elena@2", "elena@warm", "élena.v-1_x", "e@sha256:" + "0" * 64]
)
def test_a_line_is_spoken_by_a_preset_or_any_version_of_a_voice(voice):
    assert parse(SPEAK.replace("elena", voice)).voice == voice


@pytest.mark.parametrize(
    "voice", ["", "a b", "a/b", "..", "a" * 65, "elena@0", "elena@01", "elena@", "@1", "e@sha256:xy"]
)
def test_a_voice_that_nobody_can_have_is_refused(voice):
    assert "line 2" in refusal(SPEAK.replace("elena", voice))


@pytest.mark.parametrize("name", ["ryan", "Ryan", "anna", "ono_anna", "uncle_fu", "preset:x", "elena@2"])
@pytest.mark.parametrize("text", [DESIGN, LOCK], ids=["design", "lock"])
def test_a_new_voice_takes_no_name_of_a_preset_and_no_version(text, name):
    assert f"voice = '{name}'" in refusal(text.replace('"elena"', f'"{name}"'))


def test_names_are_kept_in_one_unicode_form():
    assert parse(DESIGN.replace("elena", "e\u0301lena")).voice == "\u00e9lena"


@pytest.mark.parametrize(
    ("gender", "word"), [("male", "male"), ("female", "female"), ("nonBinary", "non-binary"), ("unknown", "neutral")]
)
def test_a_character_is_composed_into_the_description(gender, word):
    text = 'kind = "design"\nvoice = "e"\n' + CHARACTER.format(gender)
    assert parse(text).design_instruction() == f"A {word} voice, 30-40. Calm."
    traits = parse(text.replace("Calm", "Calm.") + 'voice_traits = ["a", "b c"]\n')
    assert traits.design_instruction() == f"A {word} voice, 30-40. Calm... Voice traits: a, b c.".replace("...", "..")


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ('kind = "desing"', "line 1, column 1", "did you mean 'design'?"),
        ('voice = "x"', "job.toml:", "kind is missing"),
        (DESIGN + 'descripton = "x"', "line 4, column 1", "did you mean 'description'?"),
        (SPEAK + '[sampling]\n  topp = 1.0', "line 5, column 3", "did you mean 'top_p'?"),
        (SPEAK + 'format = "wave"', "line 4, column 1", "did you mean 'wav'?"),
        (SPEAK + "priority = 101", "line 4, column 1", "priority = 101"),
        (SPEAK + "seed = -1", "line 4, column 1", "seed = -1"),
        (SPEAK + 'seed = "1"', "line 4, column 1", "seed = '1'"),
        (SPEAK + "fresh = 1", "line 4, column 1", "fresh = 1"),
        (SPEAK + 'language = "klingonese"', "line 4, column 1", "not a language"),
        (SPEAK + "metadata = { x = nan }", "line 4, column 14", "metadata.x is nan"),
        (SPEAK + 'text_file = "a.txt"', "line 4, column 1", "cannot be used together"),
        ('kind = "synthesize"\nvoice = "a"', "job.toml:", "lines or text or text_file is missing"),
        ('kind = "synthesize"\ntext = "a"', "job.toml:", "voice is missing"),
        ('kind = "synthesize"\n[[lines]]\ntext = "a"', "line 2, column 1", "lines[0] has no voice"),
        (SPEAK.replace("Hello.", "  "), "line 3, column 1", "no word to speak"),
        (SPEAK.replace("Hello.", "a\\u0000b"), "line 3, column 1", "control character"),
        ('kind = "design"\nvoice = "e"', "job.toml:", "description or character is missing"),
        (DESIGN + CHARACTER.format("male"), "line 4, column 1", "cannot be used together"),
        (DESIGN + "candidates = 0", "line 4, column 1", "candidates = 0"),
        (LOCK + 'transcript = "x"', "line 4, column 1", "transcript belongs with audio"),
        (LOCK + 'consent = "mine"', "line 4, column 1", "expected self, granted, unknown"),
        ('kind = "lock"\nvoice = "e"\naudio = "a.wav"', "line 3, column 1", "audio needs a transcript"),
        (LOCK.replace("candidate = 2", "candidat = 2"), "line 3", "did you mean 'candidate'?"),
        ('kind = "export"\nvoice = "e"\nfile = "a/b.vox"', "line 3, column 1", "without a folder"),
    ],
)  # fmt: skip
def test_a_refusal_names_the_place_the_key_and_the_nearest_choice(text, place, said):
    message = refusal(text)
    assert place in message
    assert said in message


def test_every_problem_of_a_file_is_reported_at_once():
    message = refusal(DESIGN + "candidates = 0\nseed = -1\nvioce = 1\n")
    assert [line.split(":")[0] for line in message.splitlines()] == [f"job.toml, line {n}, column 1" for n in (5, 4, 6)]


def test_a_thousand_problems_become_a_short_list():
    message = refusal('kind = "synthesize"\nvoice = "e"\n' + "[[lines]]\n" * 1_000)
    assert len(message.splitlines()) == 21
    assert "980 more problems" in message


def test_two_lines_may_not_share_an_id_whatever_its_case():
    lines = "".join(f'[[lines]]\ntext = "a"\nid = "{name}"\n' for name in ("é1", "x", "E\u03011"))
    assert "lines[0] has the same id" in refusal('kind = "synthesize"\nvoice = "e"\n' + lines)


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "../a", "a/../../b", "a\\\\b", ".claimed/a", "a//b", "./a", "~/a", "C:/a", "a\\u0000", "a" * 256],
)
def test_a_path_that_leaves_the_inbox_is_refused(path):
    assert "line 3, column 1: text_file" in refusal(f'kind = "synthesize"\nvoice = "e"\ntext_file = "{path}"')


@pytest.mark.parametrize("id_", ["", ".", "..", ".hidden", "a/b", "a b", "-x", "x" * 65, "nul\\u0000"])
def test_an_id_that_makes_no_good_file_name_is_refused(id_):
    assert "id = " in refusal(f'{SPEAK}id = "{id_}"')


HOSTILE = {
    "empty": (b"", "job.toml", "is empty"),
    "blank": (b" \n\t\n", "job.json", "is empty"),
    "utf-16": (SPEAK.encode("utf-16"), "job.toml", "UTF-16"),
    "utf-16 without mark": (SPEAK.encode("utf-16-le"), "job.toml", "NUL"),
    "latin-1": ("voice = 'é'".encode("latin-1"), "job.toml", "not UTF-8"),
    "nul": (b"kind\0", "job.toml", "NUL"),
    "repeated key": (b'{"kind": 1,\n "kind": 2}', "job.json", "line 2, column 2: the key 'kind' appears twice"),
    "repeated key in toml": (b'kind = "x"\n\nkind = "y"', "job.toml", "line 3, column 1: the key 'kind' appears twice"),
    "nan": (b'{"metadata":\n {"NaN": NaN}}', "job.json", "line 2, column 10: NaN"),
    "infinity": (b'{"x": -Infinity}', "job.json", "Infinity"),
    "overflow": (b'{"kind": "export", "seed": 1e999}', "job.json", "seed is inf"),
    "half a character": (b'{"kind": "export", "voice": "\\ud83d"}', "job.json", "surrogate"),
    "half a character in a key": (b'{"\\udc00": 1}', "job.json", "surrogate"),
    "big number": (b'{"seed": 99999999999999999999999}', "job.json", "64 bits"),
    "long number": (b'{"seed": ' + b"9" * 5000 + b"}", "job.json", "digits"),
    "deep list": (b"x = " + b"[" * 100_000, "job.toml", "nested"),
    "deep object": (b'{"x":' * 100_000, "job.json", "nested"),
    "long key": (b"x." * 100_000 + b"x = 1", "job.toml", "parts"),
    "quoted long key": (b'"x" .' * 100_000 + b"x = 1", "job.toml", "parts"),
    "many tables": (b"[[x]]\n" * 100_000, "job.toml", "tables"),
    "large": (b"#" * (9 << 20), "job.toml", "bytes"),
    "list": (b"[1]", "job.json", "a list"),
    "null": (b"null", "job.json", "null"),
    "broken toml": (b"a = [", "job.toml", "not valid TOML"),
    "broken json": (b'{"a"', "job.json", "line 1, column 5: not valid JSON"),
    "open string": (b'{"a": "' + b'\\"' * 500_000, "job.json", "not valid JSON"),
    "open quotes": (b'x = """' + b'\\"""' * 100_000, "job.toml", "not valid TOML"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "file_name", "said"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_careless_or_hostile_file_is_refused_with_a_reason(content, file_name, said):
    with pytest.raises(JobFileInvalid, match=re.escape(said)):
        parse_job(content, file_name=file_name)


def test_dates_of_toml_are_echoed_as_text():
    assert parse(SPEAK + "metadata = { day = 2026-02-11 }").metadata == {"day": "2026-02-11"}


def test_brackets_and_dots_in_texts_do_not_count_as_nesting():
    text = "[{" * 100 + " ".join(["a.b.c"] * 100) + "." * 100
    assert parse(SPEAK.replace("Hello.", text) + "# " + "[" * 100).text == text


def test_the_stored_form_of_a_job_is_read_back_equal():
    for text in (DESIGN, LOCK, SPEAK, SPEAK + "metadata = { b = [1, 2.5], a = true }\n[sampling]\ntop_k = 5\n"):
        assert spec_from_json(spec_to_json(parse(text))) == parse(text)


def test_content_is_the_parsed_job_and_its_files_and_not_its_spelling():
    files = {"a.wav": "1" * 64}
    plain, reordered = parse(SPEAK), parse("# note\nfresh = false\n" + SPEAK)
    plain, reordered, seeded = map(spec_to_json, (plain, reordered, parse(SPEAK + "seed = 1")))
    assert content_sha256(plain, files) == content_sha256(reordered, files)
    assert content_sha256(plain, files) != content_sha256(plain, {"a.wav": "2" * 64})
    assert content_sha256(plain, {}) != content_sha256(seeded, {})


def test_the_schema_is_valid_and_agrees_with_the_checker():
    schema = job_schema()
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    for text in (DESIGN, LOCK, SPEAK, 'kind = "design"\nvoice = "e"\n' + CHARACTER.format("male")):
        validator.validate(tomllib.loads(text))
    for text in (DESIGN + "x = 1", DESIGN + CHARACTER.format("male"), LOCK + "candidates = 1", 'kind = "export"'):
        assert refusal(text)
        assert not validator.is_valid(tomllib.loads(text))


def test_the_schema_tells_a_typo_of_its_own_kind_alone():
    errors = list(jsonschema.Draft202012Validator(job_schema()).iter_errors(tomllib.loads(SPEAK + "modle = 'draft'")))
    assert [error.message for error in errors] == ["Additional properties are not allowed ('modle' was unexpected)"]
    assert job_schema()["$id"]


def test_the_schema_in_the_docs_is_the_one_that_the_command_prints():
    page = Path(__file__).parents[3] / "docs" / "job.schema.json"
    assert json.loads(page.read_text(encoding="utf-8")) == job_schema()


@pytest.mark.parametrize("name", ["job.toml", "job.json"])
def test_a_mark_of_utf_8_before_a_file_means_nothing(name):
    text = SPEAK if name.endswith("toml") else json.dumps(tomllib.loads(SPEAK))
    assert parse_job(b"\xef\xbb\xbf" + text.encode(), file_name=name) == parse(SPEAK)


def test_twenty_thousand_lines_are_the_limit():
    lines = [{"text": "Hello there.", "id": f"l{index}"} for index in range(20_001)]
    job = {"kind": "synthesize", "voice": "elena", "lines": lines[:-1]}
    assert len(parse(json.dumps(job), file_name="job.json").lines) == 20_000
    assert "lines = " in refusal(json.dumps({**job, "lines": lines}), file_name="job.json")


@pytest.mark.parametrize(
    ("content", "file_name", "said"),
    [
        ('{"a": [' + "[[[[[[]]]]]]," * 20_000 + "1]}", "j.json", "tables and lists"),
        ('{"a": [' + '{"b": {}},' * 60_000 + "1]}", "j.json", "tables and lists"),
        ("".join(f"a.b.c.d.e.f.g.h.i.j.k.l.m.n{n} = 1\n" for n in range(20_000)), "j.toml", "dots"),
        ("".join(f"[a.b.c.d.e.f.g.h.t{n}]\n" for n in range(30_000)), "j.toml", "dots"),
        ("a = [" + "{a.b=1}," * 110_000 + "]\n", "j.toml", "tables and lists"),
        ("".join(f"k{n}=1\n" for n in range(310_000)), "j.toml", "300,000 values"),
        ('{"a": ' + '""' * 700_000 + "}", "j.json", "600,000 strings"),
        ("#\n" * 700_000, "j.toml", "600,000 strings and comments"),
        ("a = 1\nb = 0x" + "f" * 5_000, "j.toml", "line 2, column 5: a number has more than 400 digits"),
        ('{"a": 1,\n "b": ' + "9" * 5_000 + "}", "j.json", "line 2, column 7: a number has more than 400 digits"),
        ("a = 1\nb = " + "[" * 30, "j.toml", "line 2, column 29: tables and lists are nested more than 24 deep"),
        ("a = 1\n" + "x." * 40 + "y = 1", "j.toml", "line 2, column 1: a key has more than 24 parts"),
        ('a = 1\nb = """c', "j.toml", "line 2, column 5: not valid TOML: Unterminated string"),
    ],
    ids=[
        "lists",
        "tables",
        "dotted-keys",
        "dotted-headers",
        "inline",
        "keys",
        "strings",
        "comments",
        "hexadecimal",
        "digits",
        "deep",
        "long-key",
        "open",
    ],
)
def test_a_file_that_would_cost_a_parser_much_is_refused_before_it_sees_it(content, file_name, said):
    with pytest.raises(JobFileInvalid, match=said):
        parse_job(content.encode(), file_name=file_name)


@pytest.mark.parametrize(
    "content",
    [
        '{"kind": "synthesize", "' + "k" * 1_000_000 + '": 1, "text": "a", "voice": "b"}',
        '{"kind": "' + "k" * 1_000_000 + '"}',
        '{"kind": "synthesize", "text": "a", "voice": "b", "metadata": {"' + "k" * 1_000_000 + '": NaN}}',
        '{"kind": "synthesize", "text": "a", "voice": "b", "metadata": {"' + "k" * 1_000_000 + '": 1e999}}',
        '{"' + "k" * 1_000_000 + '": 1, "' + "k" * 1_000_000 + '": 1}',
    ],
    ids=["unknown key", "kind", "constant", "value", "twice"],
)
def test_what_a_file_says_at_great_length_is_answered_shortly(content):
    with pytest.raises(JobFileInvalid) as refused:
        parse_job(content.encode(), file_name="j.json")
    assert len(str(refused.value)) < 1_000


def test_of_many_unknown_keys_the_first_are_named_with_their_places():
    lines = [{"text": "a", **{f"k{n}": 1 for n in range(10)}}] * 1_000
    said = refusal(json.dumps({"kind": "synthesize", "voice": "b", "lines": lines}), file_name="j.json")
    assert "line 1, column 62: unknown key 'k0' in lines[0]" in said
    assert "and 9,980 more problems" in said


def test_the_place_of_a_mistake_beside_a_long_text_costs_little_memory():
    text = json.dumps({"kind": "synthesize", "voice": "elena", "text": "é" * 400_000, "sede": 1})
    tracemalloc.start()
    with pytest.raises(JobFileInvalid, match=r"column \d+: .*sede"):
        parse_job(text.encode(), file_name="j.json")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 60e6
