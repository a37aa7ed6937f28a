"""What is remembered: voices, versions, jobs and takes, in SQLite."""
