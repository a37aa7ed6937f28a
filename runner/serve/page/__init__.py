"""Requests of browsers → pages about jobs and voices, and forms that become job files or the ledger's own requests."""
