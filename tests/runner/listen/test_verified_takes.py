"""Takes that a recogniser compares with their text: real speech, faults put into it, and languages it does not know."""

import pytest

from registry.jobs.requests import add_request
from registry.jobs.values import CANCEL
from tests.engines.bad_speech import open_engine as open_bad_speech
from tests.engines.inline import InlineEngine

TEXT = "A gentle breeze moved the curtains while the children slept in the garden."
RECOGNISER = {"verify": "asr", "recogniser": "pocketsphinx"}


@pytest.fixture
def bench_with(make_bench):
    return lambda **settings: make_bench(engine=InlineEngine(open_bad_speech), **settings)


def job(*lines, language="en", **more):
    keys = "".join(f'{key} = "{value}"\n' for key, value in more.items())
    texts = "".join(
        f'[[lines]]\ntext = "{text}"\n' + (f'instruct = "{instruct}"\n' if instruct else "") for text, instruct in lines
    )
    return f'kind = "synthesize"\nvoice = "ryan"\nlanguage = "{language}"\n{keys}{texts}'


def run(bench, text):
    bench.drop("said.toml", text)
    run_all(bench)
    return bench.receipt("said")


def run_all(bench):
    for _ in range(1_000):
        bench.tick()
        if bench.worker.is_drained():
            return
        bench.wait_for_threads()
    raise AssertionError("the work did not end")


FAULTS = ["drop words", "babble", "repeat", "go silent", "another text"]


@pytest.mark.parametrize("faults", [FAULTS[:2], pytest.param(FAULTS[2:], marks=pytest.mark.slow)], ids=len)
def test_each_wrong_take_is_made_again_and_the_right_one_kept_with_what_was_heard(bench_with, faults):
    bench = bench_with(**RECOGNISER)
    receipt = run(
        bench, job((TEXT, ""), *((f"{TEXT}{'!' * (number + 1)}", fault) for number, fault in enumerate(faults)))
    )
    assert receipt["status"] == "done"
    lines = receipt["lines"]
    assert [line["attempts"] for line in lines] == [1, *(2 for _ in faults)]
    heard = lines[0]["quality"]["heard"]
    assert heard["transcript"].startswith("a gentle breeze")
    assert heard["distance"] < 0.3
    assert heard["recogniser"].startswith("pocketsphinx")


def test_the_best_of_wrong_takes_is_kept_and_the_receipt_says_where_it_is_wrong(bench_with):
    bench = bench_with(**RECOGNISER, max_takes=2)
    receipt = run(bench, job((TEXT, "always drop words")))
    (line,) = receipt["lines"]
    assert line["quality"]["failed_gates"] == ["misheard"]
    worst = line["quality"]["heard"]["worst"]
    assert "moved the curtains" in worst["expected"]
    assert 0 < worst["start_s"] <= worst["end_s"] <= line["duration_s"]
    assert "misheard" in receipt["warnings"][0]


@pytest.mark.parametrize(
    ("settings", "language", "warning"),
    [
        ({"verify": "asr"}, "en", "no recogniser is set"),
        (RECOGNISER, "de", "pocketsphinx does not know 'german'. It knows english"),
        ({"verify": "asr", "recogniser": "faster-whisper:/nowhere"}, "en", "faster-whisper"),
    ],
    ids=["none", "language", "broken"],
)
def test_what_cannot_be_heard_is_said_once_and_the_lines_are_spoken(bench_with, settings, language, warning):
    receipt = run(bench_with(**settings), job((TEXT, ""), (f"{TEXT}!", ""), language=language))
    assert receipt["status"] == "done"
    assert len(receipt["warnings"]) == 1
    assert warning in receipt["warnings"][0]


def test_a_sentence_after_the_text_is_noticed_without_a_recogniser(bench_with):
    receipt = run(bench_with(), job((TEXT, "add a sentence"), (f"{TEXT}!", "always add a sentence")))
    again, always = receipt["lines"]
    assert (again["attempts"], again["quality"]["failed_gates"]) == (2, [])
    assert (always["attempts"], always["quality"]["failed_gates"]) == (3, ["runs-on"])
    assert "heard" not in again["quality"]


def test_off_listens_to_nothing_and_the_job_wins_over_the_setting(bench_with):
    bench = bench_with(**RECOGNISER)
    receipt = run(bench, job((TEXT, "another text"), verify="off"))
    assert receipt["lines"][0]["attempts"] == 1
    assert "heard" not in receipt["lines"][0]["quality"]
    assert bench.worker.listen._pipe is None


def test_a_take_that_nobody_heard_is_heard_when_it_is_used_again_and_keeps_its_mark(bench_with):
    bench = bench_with(recogniser="pocketsphinx")
    text = job((TEXT, "always another text"), (f"{TEXT}!", ""))
    run(bench, text)
    bench.drop("again.toml", f'verify = "asr"\n{text}')
    run_all(bench)
    receipt = bench.receipt("again")
    wrong, right = receipt["lines"]
    assert (wrong["reused"], right["reused"]) == (True, True)
    assert wrong["quality"]["failed_gates"] == ["misheard"]
    assert (right["quality"]["failed_gates"], right["quality"]["heard"]["distance"] < 0.3) == ([], True)
    assert "misheard" in receipt["warnings"][0]
    bench.worker.listen.close()  # what was heard once is known
    bench.drop("third.toml", f'verify = "asr"\n{text}')
    run_all(bench)
    assert bench.receipt("third")["lines"][0]["quality"] == wrong["quality"]


def test_a_job_that_is_cancelled_while_its_take_is_heard_ends_at_once_and_others_go_on(bench_with):
    bench = bench_with(**RECOGNISER)
    bench.drop("said.toml", job((TEXT, "")))
    while not len(bench.worker.in_flight.verifier):
        bench.tick_without_rest()
    with bench.context.database.write() as session:
        add_request(session, "said", CANCEL, now_s=bench.context.clock())
    bench.tick_without_rest(step_s=2)
    bench.tick_without_rest(step_s=2)
    assert len(bench.worker.in_flight.verifier) == 0
    bench.drop("next.toml", job((f"{TEXT}!", "")))
    run_all(bench)
    assert (bench.status("said"), bench.status("next")) == ("cancelled", "done")
