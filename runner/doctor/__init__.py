"""Checks of an instance and its machine."""
