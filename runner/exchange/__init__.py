"""Voices in and out of the registry: .vox archives and other tools' files."""
