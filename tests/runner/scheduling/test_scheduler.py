"""Whose turn it is."""

from __future__ import annotations

from runner.scheduling.scheduler import Choice, in_order


def order(*choices: Choice, loaded: str | None = None, now_s: float = 1000) -> list[int]:
    return [choice.id for choice in in_order(choices, loaded=loaded, now_s=now_s, max_wait_s=900)]


def job(number: int, *, priority: int = 0, model: str = "draft", since_s: float = 990) -> Choice:
    return Choice(id=number, priority=priority, model=model, waits_since_s=since_s)


def test_jobs_go_in_the_order_of_their_claims():
    assert order(job(2), job(1), job(3)) == [1, 2, 3]


def test_a_higher_priority_goes_first_also_when_its_model_is_not_loaded():
    assert order(job(1), job(2, priority=5, model="big"), loaded="draft") == [2, 1]


def test_the_loaded_model_s_jobs_go_first_among_equals():
    assert order(job(1, model="big"), job(2), job(3, model="big"), job(4), loaded="draft") == [2, 4, 1, 3]


def test_a_job_that_waited_too_long_goes_next_whatever_its_model_and_priority():
    assert order(job(1), job(2, model="big", priority=-9, since_s=50), loaded="draft") == [2, 1]


def test_of_the_overdue_the_oldest_goes_first():
    assert order(job(1, since_s=60), job(2, since_s=50, model="big"), loaded="draft") == [2, 1]


def test_a_live_job_goes_before_all_others():
    live = Choice(id=9, priority=-5, model="big", waits_since_s=999, live=True)
    assert order(job(1, priority=9), job(2, since_s=50), live, loaded="draft") == [9, 2, 1]
