"""Memory of an instance: voices, versions, jobs and takes, in SQLite."""
