"""When work happens: job files, inbox, worker, outbox, command line."""
