"""Talker and code predictor in MLX, their caches, and the loop that makes codec frames."""
