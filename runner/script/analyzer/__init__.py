"""Analyzer: what a document shows of its parts → their descriptions, by a language model that somebody runs."""
