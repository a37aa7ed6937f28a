"""Programs that run as child processes, and the bytes that cross their pipes."""
