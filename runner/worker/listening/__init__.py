"""Recordings that jobs bring → what is heard in them, in threads."""
