"""The cast of a document: its parts, who they are by the evidence, and which voice each of them gets."""
