"""Settings of the whole suite."""

import os

# Test processes run side by side on tiny matrices, for which a second BLAS thread only waits: half the CPU time.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
