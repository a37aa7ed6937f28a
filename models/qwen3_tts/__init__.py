"""Qwen3-TTS on MLX: text and a voice in, 24 kHz speech out."""
