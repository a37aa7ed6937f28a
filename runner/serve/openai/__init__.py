"""The paths under /v1 → speech, voices and models as programs made for OpenAI ask for them."""
