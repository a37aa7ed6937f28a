"""An engine client on a bench: real processes, and a clock that the test sets."""

import select
import time

import psutil

from models.protocol import ModelChoice, PresetVoice, SpeechWork
from runner.engine.client import EngineReady
from tests.patience import PATIENCE_S

NOOP = ModelChoice(engine="tests.engines.noop:open_engine", model="noop")
MISBEHAVING = ModelChoice(engine="tests.engines.misbehaving:open_engine", model="misbehaving")


class Bench:
    """A client with a clock of its own: waiting for the engine costs real time, deadlines pass by decree."""

    def __init__(self, client):
        self.client = client
        self.now_s = 1000.0
        self.events = []

    def pass_time(self, seconds):
        """Let `seconds` go by in ticks of at most one second."""
        for _ in range(int(seconds)):
            self.now_s += 1
            self.events += self.client.tick(self.now_s)

    def wait_for(self, kind, *, count=1):
        """Tick without letting time pass until `count` events of `kind` were seen; returns the last."""
        give_up_s = time.monotonic() + PATIENCE_S
        while len(found := [event for event in self.events if isinstance(event, kind)]) < count:
            assert time.monotonic() < give_up_s, f"waited in vain for {kind}: {self.events}"
            self.wait_for_news()
            self.events += self.client.tick(self.now_s)
        return found[-1]

    def wait_for_news(self):
        if (descriptor := self.client.fileno()) is not None:
            select.select([descriptor], [], [], 0.2)

    def wait_for_the_end_of(self, pid):
        """Tick without letting time pass until the process is gone, and reaped."""
        give_up_s = time.monotonic() + PATIENCE_S
        while psutil.pid_exists(pid):
            assert time.monotonic() < give_up_s, f"the process {pid} lives on"
            self.wait_for_news()
            self.events += self.client.tick(self.now_s)

    def loaded(self, choice):
        self.client.load(choice)
        self.wait_for(EngineReady)
        return self

    def say(self, text, *, live=False, **options):
        voice = PresetVoice(name="ryan")
        work = SpeechWork(id=options.pop("id", text), text=text, voice=voice, seed=1, live=live)
        self.client.submit(work, **options)
        return work
