"""Bytes and rows on the disk: the SQLite file, its schema and migrations, objects by digest, work folders."""
