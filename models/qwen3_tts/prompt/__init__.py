"""A speech request -> tokens, prompt embeddings and the rules of sampling."""
