"""Formats in which voices travel: clone prompts, .vox archives, diga's store."""
