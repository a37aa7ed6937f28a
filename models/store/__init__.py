"""The shared model directory: which models are known, which are whole, where they are, who uses them."""
