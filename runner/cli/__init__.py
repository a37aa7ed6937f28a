"""The command line."""

from runner.cli.program import main

__all__ = ["main"]
