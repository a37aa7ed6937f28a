"""Models in the caches of other tools: found, moved into the shared directory, moved back."""
