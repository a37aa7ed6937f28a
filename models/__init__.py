"""How speech is made: the shared model directory, audio, engines."""
