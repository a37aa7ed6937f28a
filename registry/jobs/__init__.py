"""The ledger: jobs, their lines, requests, dependencies, ready jobs, and the takes that were made."""
