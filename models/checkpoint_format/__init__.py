"""A Qwen3-TTS checkpoint as files: its configs, its tensors by name and shape, and whether they fit one another."""
