"""Arguments → commands of voicejobs; results on stdout, messages on stderr, an exit code."""

from runner.cli.program import main

__all__ = ["main"]
