"""The machine → BLAS, dtype, backends and rows at a time to compute with; memory of the accelerator."""
