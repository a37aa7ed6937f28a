"""Settings of the whole suite."""

import os

from hypothesis import HealthCheck, settings

# Test processes run side by side on tiny matrices, for which a second BLAS thread only waits: half the CPU time.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# Hundreds of processes start here: what Python compiled of the project for one of them is kept for the others.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# What this machine's user has set for the program, the hub or a proxy is not what is tested.
FOREIGN = ("VOICEJOBS_", "ACERVO_", "HF_", "HUGGING", "TRANSFORMERS_")
OURS = ("VOICEJOBS_SHARED", "VOICEJOBS_MLX_AUDIO_PYTHON")
for name in list(os.environ):
    if name not in OURS and (name.startswith(FOREIGN) or name.lower().endswith("_proxy")):
        del os.environ[name]

# How long a generated input takes tells of the machine, which may be slow and busy.
settings.register_profile("any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# A check of a change must not fail by chance: generated inputs are the same in every run there, and new ones elsewhere.
settings.register_profile("check-of-a-change", settings.get_profile("any-machine"), derandomize=True, database=None)
settings.load_profile("check-of-a-change" if os.environ.get("CI") else "any-machine")
