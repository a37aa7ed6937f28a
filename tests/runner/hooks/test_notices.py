"""What a worker tells its receivers: each at least once, and no job waits for any of them."""

import pytest

from registry.jobs import hook_deliveries
from runner.doctor.findings import PROBLEM, WARNING
from runner.doctor.hook_checks import HOOK_CHECKS
from tests.patience import wait_until
from tests.runner.worker.bench import START_S, design, speak

ALL = ["job.done", "job.partial", "job.failed", "candidates.ready", "disk.low", "engine.dead"]
CHOICES = [("candidates.ready", "play.elena.design"), ("candidates.ready", "play.marcus.design")]
REQUEST = "speech-0123456789abcdef0123"


@pytest.fixture
def told(make_bench, receiver):
    """A bench whose receiver is told of everything."""
    bench = make_bench(hooks=[{"on": ALL, "url": receiver.url}])
    yield bench
    bench.worker.close()


def waiting(bench):
    with bench.context.database.read() as session:
        question = "SELECT type, attempts, error, next_s, given_up_s FROM hook_delivery ORDER BY id"
        return session.rows(question)


def later(bench, seconds):
    bench.now_s += seconds
    bench.worker.finisher.notices.wake()


def test_the_end_of_a_job_is_told_with_its_receipt(told, receiver):
    told.drop("hello.toml", speak("Hello."))
    told.run()
    receiver.wait_for(1)
    assert [notice["type"] for notice in receiver.notices] == ["job.done"]
    assert receiver.notices[0]["data"] == told.receipt("hello")
    wait_until(lambda: waiting(told) == [], what="a forgotten notice")


def test_candidates_and_failures_are_told_and_rejections_and_the_servers_requests_are_not(told, receiver):
    told.drop("elena-design.toml", design(candidates=1))
    told.engine.lose = lambda work: getattr(work, "text", "") == "Deadly."
    told.drop("broken.toml", speak("Deadly."))
    told.drop("rejected.toml", 'kind = "sing"\n')
    told.drop(f"{REQUEST}.toml", speak("Said by the server."))
    told.run()
    assert told.status(REQUEST) == "done"
    receiver.wait_for(4)
    assert sorted((each["type"], each["data"].get("job")) for each in receiver.notices) == [
        ("candidates.ready", "elena-design"),
        ("engine.dead", None),
        ("job.done", "elena-design"),
        ("job.failed", "broken"),
    ]


PLAY = "INT. CAR - NIGHT\n\nELENA\nI will.\n\nMARCUS\nYou said that.\n\nELENA\nI did.\n"


@pytest.mark.parametrize(
    ("keys", "told_of"), [("", [("job.done", "play")]), ('cast = "ask"\n', CHOICES)], ids=["auto", "ask"]
)
def test_of_a_script_one_notice_is_sent_and_of_its_jobs_only_candidates_to_choose_from(told, receiver, keys, told_of):
    told.drop_folder(
        "play", job_toml=f'kind = "script"\nsource = "p.fountain"\nshare_below = 0\n{keys}', p_fountain=PLAY
    )
    told.run()
    receiver.wait_for(len(told_of))
    wait_until(lambda: waiting(told) == [], what="delivered notices")
    assert sorted((each["type"], each["data"].get("job")) for each in receiver.notices) == told_of


def test_a_receiver_is_told_only_of_what_it_wants(make_bench, make_receiver):
    wants_done, wants_failed = make_receiver(), make_receiver()
    hooks = [{"on": ["job.done"], "url": wants_done.url}, {"on": ["job.failed"], "url": wants_failed.url}]
    bench = make_bench(hooks=hooks)
    bench.drop("hello.toml", speak("Hello."))
    bench.run()
    wants_done.wait_for(1)
    bench.worker.finisher.notices.settle(at_most_s=60)
    assert wants_failed.requests == []
    bench.worker.close()


def test_a_receiver_that_fails_and_comes_back_is_told_once_under_the_same_id(told, receiver):
    receiver.status = 503
    told.drop("hello.toml", speak("Hello."))
    told.run()
    told.worker.finisher.notices.settle(at_most_s=60)
    (row,) = waiting(told)
    assert (row["attempts"], row["error"]) == (1, "it answered 503")
    assert row["next_s"] <= START_S + told.now_s + 5
    later(told, 5)
    receiver.wait_for(2)
    told.worker.finisher.notices.settle(at_most_s=60)
    receiver.status = 200
    later(told, 10)
    receiver.wait_for(3)
    wait_until(lambda: waiting(told) == [], what="a forgotten notice")
    assert len(set(receiver.ids)) == 1
    assert receiver.requests[0][2] == receiver.requests[2][2]


def test_after_a_day_a_notice_is_given_up_and_remembered_for_the_doctor(told, receiver):
    receiver.status = 500
    told.drop("hello.toml", speak("Hello."))
    told.run()
    told.worker.finisher.notices.settle(at_most_s=60)
    later(told, 86_400)
    receiver.wait_for(2)
    told.worker.finisher.notices.settle(at_most_s=60)
    (row,) = waiting(told)
    assert row["given_up_s"] is not None
    with told.context.database.read() as session:
        (trouble,) = hook_deliveries.troubles(session)
    assert (trouble.failing, trouble.given_up, trouble.error) == (0, 1, "it answered 500")
    (finding,) = HOOK_CHECKS["hooks"][1](told.instance)
    assert finding[0] == WARNING and receiver.url in finding[1] and "it answered 500" in finding[1]
    later(told, 86_400)
    told.worker.finisher.notices.settle(at_most_s=60)
    assert len(receiver.requests) == 2


def test_a_hanging_receiver_holds_up_no_other_and_no_job(make_bench, make_receiver):
    hanging, other = make_receiver(None), make_receiver()
    bench = make_bench(hooks=[{"on": ALL, "url": each.url} for each in (hanging, other)])
    for number in range(5):
        bench.drop(f"hello-{number}.toml", speak(f"Hello {number}."))
    bench.run()
    other.wait_for(5)
    assert len(hanging.requests) == 1
    bench.worker.close()
    assert len(waiting(bench)) == 5  # what hung is due still, and was not counted as a failure
    assert all(row["attempts"] == 0 for row in waiting(bench))


def test_the_next_runner_tells_what_a_dead_one_could_not(told, receiver):
    receiver.status = None
    told.drop("hello.toml", speak("Hello."))
    told.run()
    receiver.wait_for(1)
    told.worker.close()
    receiver.status = 200
    told.restart()
    told.tick()
    receiver.wait_for(2)
    assert len(set(receiver.ids)) == 1


def test_notices_to_a_receiver_that_is_no_longer_set_are_forgotten(told, make_bench, receiver):
    receiver.status = 500
    told.drop("hello.toml", speak("Hello."))
    told.run()
    told.worker.finisher.notices.settle(at_most_s=60)
    told.worker.close()
    bench = make_bench(hooks=[{"on": ALL, "url": "http://127.0.0.1:9/"}])
    bench.tick()
    assert waiting(bench) == []
    bench.worker.close()


def test_a_clock_that_was_set_back_holds_up_no_notice(told, receiver):
    receiver.status = 500
    told.drop("hello.toml", speak("Hello."))
    told.run()
    told.worker.finisher.notices.settle(at_most_s=60)
    receiver.status = 200
    later(told, -30 * 86_400)
    receiver.wait_for(2)


def test_a_disk_that_gets_full_is_told_once(make_bench, receiver):
    bench = make_bench(hooks=[{"on": ["disk.low"], "url": receiver.url}], min_free_bytes=2**60)
    bench.tick(100)
    receiver.wait_for(1)
    bench.worker.finisher.notices.settle(at_most_s=60)
    (notice,) = receiver.notices
    assert notice["type"] == "disk.low"
    assert notice["data"]["free_bytes"] < notice["data"]["min_free_bytes"] == 2**60
    bench.worker.close()


def test_an_engine_that_dies_again_and_again_is_told_once_in_a_while(told, receiver):
    for _ in range(3):
        told.worker.finisher.notices.tick(told.now_s)
        told.worker.finisher.notices.engine_died(model="draft", reason="died", detail="signal 11", now_s=told.now_s)
    receiver.wait_for(1)
    told.worker.finisher.notices.settle(at_most_s=60)
    told.worker.finisher.notices.engine_died(model="draft", reason="died", detail="signal 11", now_s=told.now_s + 601)
    receiver.wait_for(2)
    assert receiver.notices[0]["data"] == {"model": "draft", "reason": "died", "message": "signal 11"}


def test_the_doctor_names_a_secret_that_cannot_be_read_and_says_how_to_make_one(make_bench, receiver):
    bench = make_bench(hooks=[{"on": ALL, "url": receiver.url, "secret_file": "gone"}])
    found = list(HOOK_CHECKS["hooks"][1](bench.instance))
    assert found[0][0] == PROBLEM and "gone" in found[0][1] and "whsec_" in found[0][2]


def test_without_receivers_no_thread_starts_and_nothing_is_kept(bench):
    bench.drop("hello.toml", speak("Hello."))
    bench.run()
    assert waiting(bench) == []
    assert bench.worker.finisher.notices._threads == []
