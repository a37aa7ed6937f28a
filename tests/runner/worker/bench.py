"""A worker on a bench: an instance in a temporary folder, an engine in the same process, and a clock set by hand."""

import json
import os
from concurrent.futures import wait

import soundfile

from runner.config.instance import Instance
from runner.config.settings import Settings
from runner.inbox.scanner import InboxScanner
from runner.reading_process import ReadingProcess
from runner.worker.books.local_analysis import LocalAnalysis
from runner.worker.context import open_context
from runner.worker.worker import build_worker
from tests.engines.inline import InlineEngine
from tests.patience import PATIENCE_S

MODEL = "tests.engines.noop:open_engine"
START_S = 1_800_000_000.0
LOOK_S = 0.02


class Bench:
    waits_for_plans = waits_for_readings = waits_for_masters = waits_for_scripts = True

    def __init__(self, root, *, engine=None, **settings):
        values = {"model": MODEL, "settle_s": 0.0, "min_free_bytes": 0, "scan_interval_s": 0.01, **settings}
        self.instance = Instance(root, Settings(**values))
        self.engine = engine or InlineEngine()
        self.now_s = 100.0
        self.start()

    def start(self):
        """Begin as a new process would."""
        self.context = open_context(self.instance, clock=lambda: START_S + self.now_s)
        self.worker = build_worker(self.context, self.engine, InboxScanner(self.instance))
        self.worker.recover(self.now_s)

    def restart(self):
        self.worker.scripts.clear()
        self.worker.transcribes.clear()
        self.worker.masters.clear()
        self.context.database.close()
        self.engine = InlineEngine()
        self.start()

    def drop(self, name, text, *, age_s=0.0):
        path = self.instance.inbox / name
        path.write_text(text, encoding="utf-8")
        mtime_s = START_S - age_s
        os.utime(path, (mtime_s, mtime_s))

    def tick(self, times=1, *, step_s=1.0):
        """So many steps of the worker, each with what its threads have to do: how fast that is must not matter."""
        for _ in range(times):
            self.tick_without_rest(step_s=step_s)
            self.worker.take_writer_thread.rest()
            for active in self.worker.in_flight.jobs.values():
                if active.is_reading:
                    active.lock_task.reading.wait(PATIENCE_S)
            if (reading := self.worker.drops.scanner._reader._large) is not None and self.waits_for_readings:
                wait([reading], PATIENCE_S)
            if (importing := self.worker.dispatcher.exchange._reading) is not None:
                wait([importing[1]], PATIENCE_S)
            for script in self.worker.scripts._scripts.values():
                if script.future is not None:
                    wait([script.future] if self.waits_for_scripts else [], PATIENCE_S)
                elif isinstance(script.process, ReadingProcess):
                    script.process.wait_for_end(PATIENCE_S)
            self.wait_for_hearings()
            if self.waits_for_masters:
                wait([each.future for each in self.worker.masters._masters.values() if each.future], PATIENCE_S)
            if (batch := self.worker.finisher_thread._batch) is not None:
                wait([batch], PATIENCE_S)

    def wait_for_hearings(self):
        """Until nothing is heard any more, or the engine has its turn first."""
        listen, turns = self.worker.listen, self.worker.turns
        for _ in range(round(PATIENCE_S / LOOK_S)):
            waiting = {*self.worker.lock_jobs.hearings._waiting, *self.worker.in_flight.verifier._waiting}
            waiting |= {hearing.future for hearing in self.worker.transcribes._hearings.values()}
            asking = [script.process for script in self.worker.scripts._scripts.values()]
            waiting |= {each.future for each in asking if isinstance(each, LocalAnalysis)}
            if not wait(waiting, LOOK_S).not_done:
                return
            turns.tick(self.now_s)
            if listen.wanted_bytes is not None and not listen.may_hear and self.engine.state != "stopped":
                return

    def tick_without_rest(self, *, step_s=1.0):
        """One step; takes of the engine may still be on their way to the disk."""
        self.worker.look_at_inbox()  # a slow machine scans more seldom
        self.worker.tick(self.now_s)
        self.now_s += step_s

    def run(self, *, at_most=300):
        """Tick until nothing is left to do."""
        for _ in range(at_most):
            self.tick()
            if self.worker.is_drained():
                return
            self.wait_for_threads()
        raise AssertionError("the work did not end")

    def wait_for_threads(self):
        """Takes and tracks of long lines, and models that are fetched."""
        wait([item.encoding for item in self.worker.in_flight.results.accepted], PATIENCE_S)
        wait(self.worker.finisher_thread._making, PATIENCE_S)
        if (planning := self.worker.dispatcher.plan_thread._future) is not None and self.waits_for_plans:
            wait([planning], PATIENCE_S)
        for pursuit in self.worker.loader._pursuits.values():
            if pursuit.thread is not None:
                pursuit.thread.join(PATIENCE_S)

    def drop_folder(self, name, **files):
        """A folder: its job file `job.toml` and whatever else, by name with _ for the dot."""
        folder = self.instance.inbox / name
        folder.mkdir()
        for file, text in files.items():
            (folder / file.replace("_", ".")).write_text(text, encoding="utf-8")
        for path in (*folder.iterdir(), folder):
            os.utime(path, (START_S, START_S))

    def receipt(self, job, name="result.json"):
        return json.loads((self.instance.outbox / job / name).read_text(encoding="utf-8"))

    def status(self, job):
        return self.receipt(job)["status"]

    def files(self, job):
        return sorted(path.name for path in (self.instance.outbox / job).iterdir())

    def audio(self, job, file):
        samples, _ = soundfile.read(self.instance.outbox / job / file)
        return samples


def design(voice="elena", **more):
    extra = "".join(f"{key} = {json.dumps(value)}\n" for key, value in more.items())
    return f'kind = "design"\nvoice = "{voice}"\ndescription = "A warm female voice."\nlanguage = "en"\n{extra}'


def lock(voice="elena", *, job="elena-design", candidate=1, **more):
    extra = "".join(f"{key} = {json.dumps(value)}\n" for key, value in more.items())
    return f'kind = "lock"\nvoice = "{voice}"\nfrom = {{ job = "{job}", candidate = {candidate} }}\n{extra}'


def speak(*texts, voice="ryan", **more):
    extra = "".join(f"{key} = {json.dumps(value)}\n" for key, value in more.items())
    lines = "".join(f"[[lines]]\ntext = {json.dumps(text, ensure_ascii=False)}\n" for text in texts)
    return f'kind = "synthesize"\nvoice = "{voice}"\n{extra}{lines}'
