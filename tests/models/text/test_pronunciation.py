"""Pronunciations: whole words, any case, longest first; per instance and per voice; part of what a take is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.text.pronunciation import Respellings, checked_table, respelled
from registry.errors import InvalidInput
from runner.doctor.checks import CHECKS
from tests.runner.worker.bench import Bench, design, lock, speak

TABLE = {"Nguyen": "Win", "SQL": "sequel", "New York": "Noo Yawk", "York": "Yawk", "C++": "see plus plus"}


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("Mr. Nguyen wrote NGUYEN, nguyen.", "Mr. Win wrote Win, Win."),
        ("MySQL and SQLite, but SQL!", "MySQL and SQLite, but sequel!"),
        ("New York is not York.", "Noo Yawk is not Yawk."),
        ("I like C++; (C++)", "I like see plus plus; (see plus plus)"),
        ("Nguyens and O'Nguyen-SQL", "Nguyens and O'Win-sequel"),
        ("nothing here", "nothing here"),
    ],
)
def test_whole_words_are_respelled_in_any_case_longest_first(text, spoken):
    assert respelled(text, TABLE) == spoken


def test_what_an_entry_wrote_is_left_alone():
    assert respelled("a b", {"a": "b", "b": "a"}) == "b a"


def test_scripts_without_spaces_need_no_word_boundary():
    assert respelled("我在重庆工作", {"重庆": "虫庆"}) == "我在虫庆工作"


def test_composed_and_decomposed_letters_are_the_same_word():
    assert respelled("Zoe\u0308 came", {"Zoë": "Zo-ee"}) == "Zo-ee came"


def test_backslashes_are_no_escapes():
    assert respelled("x", {"x": "\\1 \\g<0>"}) == "\\1 \\g<0>"


@given(st.text(max_size=40), st.dictionaries(st.text(min_size=1, max_size=5).filter(str.strip), st.text(max_size=5)))
def test_any_table_and_text_are_taken(text, table):
    respelled(text, table)


@pytest.mark.parametrize("table", [{"": "x"}, {"x": ""}, {"x": 3}, {"x": "y" * 300}, {"Ab": "x", "aB": "y"}])
def test_a_table_that_means_nothing_is_refused(table):
    with pytest.raises(InvalidInput):
        checked_table(table)


def test_the_voice_has_the_last_word():
    table = Respellings({"SQL": "ess cue ell", "can": "ken"}, beneath=Respellings({"sql": "sequel", "x": "y"}))
    assert table.spoken("sql x can can't") == "ess cue ell y ken can't"


@given(
    st.text(alphabet="ab' -", max_size=20),
    st.dictionaries(st.text(alphabet="ab' ", min_size=1, max_size=4).filter(str.strip), st.just("own"), max_size=3),
    st.dictionaries(st.text(alphabet="ab' ", min_size=1, max_size=4).filter(str.strip), st.just("general"), max_size=3),
)
def test_two_tables_say_what_one_with_the_entries_of_both_says(text, own, general):
    def key(word):
        return Respellings({word: "x"})._entries

    both = {**{word: "general" for word in general if all(key(word) != key(other) for other in own)}, **own}
    assert Respellings(own, beneath=Respellings(general)).spoken(text) == Respellings(both).spoken(text)


def test_the_longest_entry_wins_whichever_table_has_it():
    table = Respellings({"New": "Nu"}, beneath=Respellings({"New York": "Big Apple"}))
    assert table.spoken("New York, New.") == "Big Apple, Nu."


# ---- through the worker ----------------------------------------------------------------------------------------


@pytest.fixture
def bench(tmp_path, monkeypatch):
    monkeypatch.setenv("VOICEJOBS_TEST_ENGINES", "1")
    made = Bench(tmp_path, pronunciations="words.toml")
    (tmp_path / "words.toml").write_text('Nguyen = "Win"\n', encoding="utf-8")
    yield made
    made.context.database.close()


def lines_of(bench, name, *texts, **how):
    bench.drop(f"{name}.toml", speak(*texts, **how))
    bench.run()
    return bench.receipt(name)["lines"]


def test_an_entry_makes_another_take_only_of_lines_that_it_touches(bench, tmp_path):
    first = lines_of(bench, "one", "Ask Nguyen.", "Ask Elena.")
    (tmp_path / "words.toml").write_text('Nguyen = "Nwen"\n', encoding="utf-8")
    second = lines_of(bench, "two", "Ask Nguyen.", "Ask Elena.")
    assert first[0]["take"] != second[0]["take"]
    assert first[1]["take"] == second[1]["take"]
    assert second[0]["text"] == "Ask Nguyen."


def test_a_locked_voice_brings_its_own_table(bench):
    bench.drop("elena-design.toml", design(candidates=1))
    bench.drop("plain.toml", lock("plain"), age_s=-1)
    bench.drop("elena.toml", lock() + '[pronunciations]\nNguyen = "Noo-yen"\n', age_s=-2)
    bench.run()
    with bench.context.database.read() as session:
        from registry.voices.lookup import resolve

        assert resolve(session, "elena").pronunciations == {"Nguyen": "Noo-yen"}
        assert resolve(session, "elena").digest != resolve(session, "plain").digest
    assert lines_of(bench, "say", "Ask Nguyen.", voice="elena")[0]["status"] == "done"


def test_a_table_that_cannot_be_read_fails_the_job_and_names_the_file(bench, tmp_path):
    (tmp_path / "words.toml").write_text("Nguyen = 3\n", encoding="utf-8")
    bench.drop("one.toml", speak("Ask Nguyen."))
    bench.run()
    error = bench.receipt("one")["error"]
    with pytest.raises(InvalidInput, match="words"):  # which the doctor calls a problem
        list(CHECKS["pronunciations"][1](bench.instance))
    assert "words.toml" in error["message"]
