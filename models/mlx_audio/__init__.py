"""The engine on the package mlx-audio: other speech models than Qwen3-TTS, behind the same protocol."""
