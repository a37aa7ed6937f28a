"""Books and screenplays: a source → lines with speakers → a cast → the jobs that speak it."""
