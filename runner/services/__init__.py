"""Services: an instance kept at work by the system's own supervisor."""
