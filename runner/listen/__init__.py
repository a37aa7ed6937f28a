"""Takes -> when their words are spoken and what is heard in them, by a process that listens."""
