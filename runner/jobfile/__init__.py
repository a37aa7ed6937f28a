"""Bytes of a job file → a checked job. Pure."""
