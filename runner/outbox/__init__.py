"""Takes and outcomes -> audio files, tracks, captions and receipts in the outbox."""
