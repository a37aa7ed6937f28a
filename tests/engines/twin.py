"""The tone engine under another name: a second model for tests that swap."""

from tests.engines.noop import open_engine

__all__ = ["open_engine"]
