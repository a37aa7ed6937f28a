"""HTTP requests → jobs dropped into the inbox, questions to the ledger, and audio as it is spoken."""
