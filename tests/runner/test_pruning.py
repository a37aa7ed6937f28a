"""Pruning old answers."""

from __future__ import annotations

from runner.pruning import prune
from tests.runner.bench import START_S, speak


def test_old_jobs_leave_ledger_and_outbox_and_their_names_are_free_again(bench):
    bench.drop("hello.toml", speak("One."))
    bench.run()
    later_s = START_S + bench.now_s + 1
    done = prune(bench.instance, bench.context.database, older_than_s=later_s)
    assert done.jobs == ("hello",)
    assert done.freed_bytes > 0
    assert list(bench.instance.outbox.iterdir()) == []
    bench.drop("hello.toml", speak("Two."))
    bench.run()
    assert bench.status("hello") == "done"


def test_a_dry_run_and_younger_jobs_change_nothing(bench):
    bench.drop("hello.toml", speak("One."))
    bench.run()
    later_s = START_S + bench.now_s + 1
    assert prune(bench.instance, bench.context.database, older_than_s=later_s, dry_run=True).jobs == ("hello",)
    assert prune(bench.instance, bench.context.database, older_than_s=START_S).jobs == ()
    assert bench.status("hello") == "done"
