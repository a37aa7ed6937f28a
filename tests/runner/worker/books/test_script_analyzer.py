"""Scripts whose parts a language model describes: kept answers, failures that are warned of, and no hanging."""

import pytest

from runner.script.analyzer import language_model
from tests.runner.script.analyzer.stub_server import StubServer, good
from tests.runner.script.analyzer.tiny_language_model import write_language_model
from tests.runner.worker.bench import Bench
from tests.runner.worker.books.test_script_jobs import PLAY, SCRIPT

LOCAL = '[analyzer]\nbackend = "mlx"\nmodel = "./models/tiny"\n'


@pytest.fixture
def bench(tmp_path, monkeypatch):
    monkeypatch.setenv("VOICEJOBS_TEST_ENGINES", "1")
    return Bench(tmp_path)


def produce(bench, url, name="play", *, text=PLAY, keys=""):
    table = f'[analyzer]\nbackend = "openai"\nurl = "{url}"\nmodel = "tiny"\n{keys}'
    bench.drop_folder(name, job_toml=f"{SCRIPT}share_below = 0\n{table}", play_fountain=text)
    bench.run()
    return bench.receipt(name)


def cast(bench, job="play"):
    return (bench.instance.outbox / job / "cast.toml").read_text(encoding="utf-8")


def test_parts_are_designed_as_the_model_describes_them(bench):
    with StubServer(good(), good(gender="male", summary="A weary man")) as server:
        receipt = produce(bench, server.url)
    assert receipt["status"] == "done" and receipt["warnings"] == []
    assert len(server.requests) == 2 and "Marcus" not in server.requests[0][1]["messages"][0]["content"]
    assert cast(bench).count('analyzer = "openai"') == 2 and "A weary man" in cast(bench)


def test_answers_are_kept_so_that_the_same_book_costs_no_question(bench):
    with StubServer(good(), good(gender="male")) as server:
        produce(bench, server.url)
        before = cast(bench)
        bench.drop_folder(
            "again",
            job_toml=f'{SCRIPT}share_below = 0\nbook = "other"\n[analyzer]\nbackend = "openai"\nurl = "{server.url}"\n'
            'model = "tiny"\n',
            play_fountain=PLAY,
        )
        bench.run()
        assert bench.status("again") == "done" and len(server.requests) == 2
    assert cast(bench, "again").count('analyzer = "openai"') == before.count('analyzer = "openai"') == 2


def test_a_server_that_fails_is_a_warning_and_the_rules_describe_the_parts(bench):
    with StubServer((500, {}, b"out of memory")) as server:
        receipt = produce(bench, server.url)
    assert receipt["status"] == "done"
    (warning,) = receipt["warnings"]
    assert "did not describe ELENA, MARCUS" in warning and "out of memory" in warning
    assert cast(bench).count('analyzer = "rules"') == 2 and len(server.requests) <= 3


def test_a_script_can_be_told_to_fail_with_its_analyzer(bench):
    with StubServer((401, {}, b"no")) as server:
        receipt = produce(bench, server.url, keys='on_failure = "fail"\n')
    assert receipt["status"] == "failed" and receipt["error"]["code"] == "analyzer-failed"
    assert receipt["children"] == []


def test_a_server_that_says_nothing_holds_nobody_up_for_longer_than_its_time(bench):
    with StubServer(good()) as server:
        server.replies[:] = [server.silent]
        receipt = produce(bench, server.url, keys="timeout_s = 1\n")
    assert receipt["status"] == "done" and "had not answered after 1 s" in receipt["warnings"][0]


def test_nothing_is_asked_without_a_url(bench):
    bench.drop_folder("play", job_toml=f'{SCRIPT}[analyzer]\nbackend = "openai"\n', play_fountain=PLAY)
    bench.run()
    receipt = bench.receipt("play")
    assert receipt["status"] == "failed" and "no url" in receipt["error"]["message"]


@pytest.mark.peers
def test_a_model_on_this_machine_describes_the_parts(bench):
    write_language_model(bench.instance.root / "models" / "tiny")
    bench.drop_folder("play", job_toml=f"{SCRIPT}share_below = 0\n{LOCAL}", play_fountain=PLAY)
    bench.run()
    assert bench.receipt("play")["warnings"] == [] and bench.status("play") == "done"
    assert cast(bench).count('analyzer = "mlx"') == 2


def test_a_model_that_is_not_here_is_a_warning_that_names_it_and_the_rules_describe_the_parts(bench):
    pytest.importorskip("mlx_lm")
    bench.drop_folder("play", job_toml=f"{SCRIPT}share_below = 0\n{LOCAL}", play_fountain=PLAY)
    bench.run()
    (warning,) = bench.receipt("play")["warnings"]
    assert "The analyzer ./models/tiny did not describe ELENA, MARCUS" in warning and "There is no folder" in warning
    assert bench.status("play") == "done" and cast(bench).count('analyzer = "rules"') == 2


def test_without_its_packages_a_script_for_a_model_on_this_machine_says_what_to_install(bench, monkeypatch):
    monkeypatch.setattr(language_model, "PACKAGES", ("no_such_package",))
    bench.drop_folder("play", job_toml=f"{SCRIPT}{LOCAL}", play_fountain=PLAY)
    bench.run()
    error = bench.receipt("play")["error"]
    assert error["code"] == "extra-missing" and "mlx-lm" in error["hint"] and "llguidance" in error["hint"]


def test_a_model_is_named(bench):
    bench.drop_folder("play", job_toml=f'{SCRIPT}[analyzer]\nbackend = "mlx"\n', play_fountain=PLAY)
    bench.run()
    assert "no model" in bench.receipt("play")["error"]["message"]


def test_parts_with_voices_are_not_asked_about(bench):
    keys = '[voices]\nELENA = "ryan"\nMARCUS = "anna"\n'
    with StubServer(good()) as server:
        receipt = produce(bench, server.url, keys=keys)
    assert receipt["status"] == "done" and server.requests == []
