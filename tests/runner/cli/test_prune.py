"""Pruning old answers."""

from __future__ import annotations

from runner.cli.chosen_jobs import Chosen
from runner.cli.prune import prune_jobs, remove_jobs
from tests.runner.worker.bench import START_S, design, lock, speak


def test_old_jobs_leave_ledger_and_outbox_and_their_names_are_free_again(bench):
    bench.drop("hello.toml", speak("One."))
    bench.run()
    later_s = START_S + bench.now_s + 1
    done = prune_jobs(bench.instance, bench.context.database, older_than_s=later_s)
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
    assert prune_jobs(bench.instance, bench.context.database, older_than_s=later_s, dry_run=True).jobs == ("hello",)
    assert prune_jobs(bench.instance, bench.context.database, older_than_s=START_S).jobs == ()
    assert bench.status("hello") == "done"


def test_a_design_that_an_open_lock_needs_is_not_pruned(bench):
    bench.drop("d.toml", design(candidates=1, text="One, two, three, four and five."))
    bench.run()
    bench.drop("l.toml", lock(job="d"))
    bench.worker.look_at_inbox()
    bench.worker.drops.tick(bench.now_s)
    later_s = START_S + bench.now_s + 1
    assert prune_jobs(bench.instance, bench.context.database, older_than_s=later_s).jobs == ()


def test_named_jobs_are_removed_at_any_age_and_open_ones_are_not(bench):
    for name in ("a", "b"):
        bench.drop(f"{name}.toml", speak("One.", id=name))
    bench.run()
    bench.drop("c.toml", speak("Three."))
    bench.tick_without_rest()
    chosen = Chosen(names=["a", "c", "nobody"])
    assert remove_jobs(bench.instance, bench.context.database, chosen) == ["a"]
    assert [error.code for error in chosen.errors] == ["job-not-found", "job-in-use"]
    assert not (bench.instance.outbox / "a").exists()
    bench.drop("a.toml", speak("Other.", id="a"))
    bench.run()
    assert bench.status("a") == "done"
