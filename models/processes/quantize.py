"""`python -m models.processes.quantize SOURCE TARGET --bits N`: a checkpoint → its quantised copy, in its own process.

Prints one line of JSON: `{"folder": …}` or `{"error": {"code", "message", "hint"}}`.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from models.store.shared_directory import hold_for_loading
from registry.errors import VoiceJobsError


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--bits", type=int, required=True)
    arguments = parser.parse_args()
    try:
        folder = quantize(arguments.source, arguments.target, bits=arguments.bits)
    except VoiceJobsError as error:
        sys.stdout.write(json.dumps({"error": {"code": error.code, "message": error.message, "hint": error.hint}}))
        return 1
    sys.stdout.write(json.dumps({"folder": str(folder)}))
    return 0


def quantize(source: Path, target: Path, *, bits: int) -> Path:
    """The quantised copy of `source` at `target`; nobody can move or remove the source meanwhile."""
    from models.qwen3_tts.quantize import quantize_checkpoint

    lock = hold_for_loading(source)
    try:
        return quantize_checkpoint(source, target, bits=bits)
    finally:
        if lock is not None:
            lock.release()


if __name__ == "__main__":
    sys.exit(main())
