"""`python -m runner.script.analyzer.language_model` < request > answer: as `describe`, by a model on this machine.

The request names the model's `folder`, and `turn_s`: how long to go on asking. mlx-lm computes, llguidance holds the
answers to the schema; the most likely token is taken each time, so that the same book gets the same cast.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from models.processes.one_answer import answer_one
from models.store.foreign_checkpoint import loading_problems
from runner.errors import ExtraMissing
from runner.script.analyzer.chat import ChatFailed, Message
from runner.script.analyzer.describe import LONGEST_S, describe
from runner.script.analyzer.prompt import bounded_schema
from runner.script.cast.profile import Analyzer

MODULE = "runner.script.analyzer.language_model"
PACKAGES = ("mlx_lm", "llguidance")
MOST_TOKENS = 2_048
MOST_PROMPT_TOKENS = 32_000


def check_installed() -> None:
    """Raises ExtraMissing."""
    missing = [name.replace("_", "-") for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ExtraMissing('[analyzer] with backend = "mlx"', extra="analyzer", packages=missing)


class LanguageModel:
    """A model in memory, with its tokenizer and the grammar of its answers."""

    analyzer: ClassVar[Analyzer] = "mlx"

    def __init__(self, folder: Path, *, timeout_s: float) -> None:
        """Load the model in a folder. Raises ChatFailed and ExtraMissing."""
        check_installed()
        for name, problem in loading_problems(folder):
            raise ChatFailed(f"{folder / name} {problem}")
        os.environ["HF_HUB_OFFLINE"] = "1"
        llguidance, mlx_lm = import_module("llguidance"), import_module("mlx_lm")
        try:
            self._model, self._tokenizer = mlx_lm.load(str(folder), tokenizer_config={"trust_remote_code": False})[:2]
            self._vocabulary = import_module("llguidance.hf").from_tokenizer(self._tokenizer._tokenizer)
        except Exception as error:  # the edge of a library: it raises what its parts raise
            raise ChatFailed(f"{folder} cannot be loaded: {type(error).__name__}: {str(error)[:300]}") from error
        self._grammar = llguidance.LLMatcher.grammar_from_json_schema(
            bounded_schema(), defaults={"whitespace_flexible": False}
        )
        self.timeout_s = timeout_s

    def answer(self, messages: Sequence[Message]) -> str:
        """Text of the model's answer: JSON, or its beginning where it found no end. Raises ChatFailed."""
        import mlx.core as mx

        masks = import_module("llguidance.numpy")
        ends_s = time.monotonic() + self.timeout_s
        matcher = import_module("llguidance").LLMatcher(self._vocabulary, self._grammar)
        cache = import_module("mlx_lm.models.cache").make_prompt_cache(self._model)
        tokens = self._prompt(messages)
        said: list[int] = []
        mask = masks.allocate_token_bitmask(1, self._vocabulary.vocab_size)
        while len(said) < MOST_TOKENS:
            logits = self._model(mx.array([tokens]), cache=cache)[:, -1, :]
            scores = np.array(logits.astype(mx.float32))
            masks.fill_next_token_bitmask(matcher, mask)
            masks.apply_token_bitmask_inplace(scores, mask)
            token = int(scores.argmax())
            if not matcher.consume_token(token):
                raise ChatFailed(f"its answer cannot be held to the schema: {matcher.get_error()}")
            said.append(token)
            if matcher.is_stopped():
                break
            if time.monotonic() > ends_s:
                raise ChatFailed(f"it had not answered after {self.timeout_s:g} s")
            tokens = [token]
        return str(self._tokenizer.decode(said, skip_special_tokens=True))

    def _prompt(self, messages: Sequence[Message]) -> list[int]:
        """Tokens of the messages, by the model's own template where it has one."""
        if getattr(self._tokenizer, "chat_template", None):
            found: Any = self._tokenizer.apply_chat_template(
                [dict(message) for message in messages],
                add_generation_prompt=True,
                tokenize=True,
                return_dict=False,
                enable_thinking=False,
            )
        else:
            found = self._tokenizer.encode("\n\n".join(message["content"] for message in messages) + "\n\n")
        if len(found) > MOST_PROMPT_TOKENS:
            raise ChatFailed(f"a question of {len(found)} tokens is too long for it")
        return [int(token) for token in found]


def _by_model(asked: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    try:
        model = LanguageModel(Path(asked["folder"]), timeout_s=asked["timeout_s"])
    except ChatFailed as failed:
        return {"profiles": {}, "failure": str(failed)}, b""
    return describe(model, asked, longest_s=asked["turn_s"]), b""


def main() -> int:
    return answer_one(_by_model, longest_s=LONGEST_S, most_memory_bytes=None)


if __name__ == "__main__":
    sys.exit(main())
