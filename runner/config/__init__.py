"""voicejobs.toml -> settings, paths, logs; the places and sentences of what is wrong in a person's file."""
