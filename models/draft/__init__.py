"""The draft engine: eSpeak NG behind the engine protocol."""
