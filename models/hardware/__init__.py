"""What this machine computes with: BLAS, dtype, backend, rows at a time, memory of the accelerator."""
