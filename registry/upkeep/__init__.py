"""Care of the registry: gc, fsck, backup and restore. Loaded on demand."""
