"""The paths under /api/jobs and /api/events → jobs of the ledger, their files, and their changes."""
