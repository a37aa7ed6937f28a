"""The ledger: jobs, their lines, requests, what is ready, and the takes that were made."""
