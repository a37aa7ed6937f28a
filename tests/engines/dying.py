"""Engines whose process dies: over the model, or over the first line."""

import os

from tests.engines.noop import NoopEngine


class DyingEngine(NoopEngine):
    def render(self, _line, _progress):
        os.abort()


def open_engine(choice):
    return DyingEngine(choice)


def open_at_once(_choice):
    os.abort()
