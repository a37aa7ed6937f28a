"""Voices: immutable versions, names, aliases with a log, candidates, tombstones."""
