"""The version of this program, as in pyproject.toml; receipts and locks record it."""

VERSION = "0.1.0"
