"""Text before it is spoken: sentences and respellings."""
