"""Ended jobs, a full disk, a dead engine → notices to receivers outside, delivered at least once."""
