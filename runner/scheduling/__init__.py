"""Claimed drops -> jobs in the ledger; a job -> its lines; whose work is next."""
