"""A checkpoint folder -> configs and weights, checked strictly."""
