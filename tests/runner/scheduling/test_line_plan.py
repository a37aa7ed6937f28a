"""Seeds, file names and the cutting of texts."""

from __future__ import annotations

import pytest

from runner.scheduling.line_plan import Ordinals, derived_seed, line_files, merged_sampling, retry_seed

CONTENT = {"text": "Hello.", "voice_digest": "abc", "instruct": None}


def test_a_seed_follows_from_content_job_seed_and_ordinal_alone():
    seed = derived_seed(CONTENT, job_seed=None, ordinal=0)
    assert seed == derived_seed(dict(reversed(CONTENT.items())), job_seed=None, ordinal=0)
    others = [
        derived_seed({**CONTENT, "text": "Hello!"}, job_seed=None, ordinal=0),
        derived_seed(CONTENT, job_seed=0, ordinal=0),
        derived_seed(CONTENT, job_seed=None, ordinal=1),
    ]
    assert len({seed, *others}) == 4
    assert all(0 <= other < 2**31 for other in others)


def test_the_first_attempt_has_the_line_s_own_seed_and_each_retry_another():
    assert retry_seed(7, attempt=1) == 7
    assert len({retry_seed(7, attempt=attempt) for attempt in range(1, 6)}) == 5


def test_equal_lines_are_counted_and_others_do_not_disturb_the_count():
    ordinals = Ordinals()
    other = {**CONTENT, "text": "Bye."}
    assert [ordinals.next(content) for content in (CONTENT, other, CONTENT)] == [0, 0, 1]


@pytest.mark.parametrize(
    ("ids", "files"),
    [
        ([None, None], ["line-1.wav", "line-2.wav"]),
        (["s1-004", None], ["s1-004.wav", "line-2.wav"]),
        (["a", "A"], ["a.wav", "A_2.wav"]),
        (
            ["track", "CON", "result.1", "line-2", "com1.x"],
            [f"_{n}.wav" for n in ("track", "CON", "result.1", "line-2", "com1.x")],
        ),
        (["stra\u00dfe", "STRASSE"], ["stra\u00dfe.wav", "STRASSE_2.wav"]),
    ],
    ids=["numbers", "ids", "case", "special", "folding"],
)
def test_file_names_come_from_ids_and_numbers_and_never_collide(ids, files):
    assert line_files(ids, extension="wav") == files


def test_many_lines_sort_by_name():
    files = line_files([None] * 120, extension="ogg")
    assert files == sorted(files)


def test_the_later_sampling_layer_wins_and_unset_keys_do_not_count():
    assert merged_sampling({"top_k": 50, "top_p": 1}, None, {"top_k": 20, "top_p": None}) == {"top_k": 20, "top_p": 1}
