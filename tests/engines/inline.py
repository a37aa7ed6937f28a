"""An engine client without a process: the same methods and events, one piece of work a tick, at once.

Tests of the worker use it where the process itself is not what they are about.
"""

import dataclasses

from models.processes.wire import LoadFailed
from models.protocol import SpeechDone
from runner.engine.client import EngineLost, EngineReady
from tests.engines.noop import NoopEngine

RENDER_S = 0.001  # on every machine, since the runner gives a fast engine more work at once


class InlineEngine:
    """`answers_per_tick` None: everything in flight is answered by the next tick."""

    def __init__(self, engine_for=NoopEngine, *, answers_per_tick=None):
        self.engine_for = engine_for
        self.answers_per_tick = answers_per_tick
        self.state, self.choice, self.facts = "stopped", None, None
        self.loads, self.submitted, self.cancelled = [], [], []
        self.unloads = 0
        self.waiting = {}
        self.engine = None
        self.lose = None  # called with the work about to be done; True: the engine dies over it
        self.load_error = None

    @property
    def in_flight(self):
        return tuple(self.waiting)

    def fileno(self):
        return None

    def load(self, choice):
        self.loads.append(choice.model)
        self.choice, self.facts, self.state = choice, None, "loading"

    def submit(self, work, *, expected_s=0.0):  # noqa: ARG002
        assert self.state == "ready"
        assert work.id not in self.waiting
        self.submitted.append(work)
        self.waiting[work.id] = work

    def cancel(self, work_id):
        self.cancelled.append(work_id)

    def tick(self, now_s):  # noqa: ARG002
        if self.state == "loading":
            return [self._loaded()]
        events = []
        for work in list(self.waiting.values())[: self.answers_per_tick]:
            if self.lose is not None and self.lose(work):
                return [*events, self._die(work)]
            del self.waiting[work.id]
            events.append(self._do(work))
        return events

    def _loaded(self):
        if self.load_error is not None:
            self.state, self.choice = "empty", None
            return LoadFailed(**self.load_error)
        self.engine = self.engine_for(self.choice)
        self.state, self.facts = "ready", self.engine.facts()
        return EngineReady(facts=self.facts)

    def _die(self, work):
        lost = EngineLost(reason="died", detail="It died.", in_flight=tuple(self.waiting), started=(work.id,))
        self.waiting.clear()
        self.state, self.choice, self.facts = "stopped", None, None
        return lost

    def _do(self, work):
        if hasattr(work, "transcript"):
            return self.engine.lock(work)
        answer = next(iter(self.engine.speak([work], progress=lambda _id, _frames: True)))
        return dataclasses.replace(answer, render_s=RENDER_S) if isinstance(answer, SpeechDone) else answer

    def unload(self):
        self.state, self.choice, self.facts = "stopped", None, None
        self.unloads += 1

    def stop(self, grace_s=0.0):  # noqa: ARG002
        self.state = "stopped"
