"""A job file on disk, or values → a checked job → a drop in the inbox."""
