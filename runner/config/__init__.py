"""voicejobs.toml, environment and flags → settings, paths and logs; mistakes in a file → places and sentences."""
