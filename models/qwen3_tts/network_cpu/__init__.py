"""Talker and code predictor in NumPy, with bfloat16 weights multiplied by machine code made at run time."""
