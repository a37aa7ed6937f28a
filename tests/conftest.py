"""Settings of the whole suite."""

import os

from hypothesis import settings

# Test processes run side by side on tiny matrices, for which a second BLAS thread only waits: half the CPU time.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# Hundreds of processes start here: what Python compiled of the project for one of them is kept for the others.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A check of a change must not fail by chance: generated inputs are the same in every run there, and new ones elsewhere.
settings.register_profile("check-of-a-change", derandomize=True, deadline=None, database=None)
if os.environ.get("CI"):
    settings.load_profile("check-of-a-change")
