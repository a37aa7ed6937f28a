"""The version of this program, as pyproject.toml has it; it stands in receipts and locks."""

VERSION = "0.1.0"
