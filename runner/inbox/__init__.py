"""Dropped files → claimed, checked drops."""
