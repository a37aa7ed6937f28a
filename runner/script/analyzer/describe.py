"""`python -m runner.script.analyzer.describe` < request > answer: questions about parts → their profiles.

The request is JSON: `{"url", "model", "timeout_s", "questions": {digest: text}}`. The answer is a line of JSON:
`{"profiles": {digest: …}, "failure": ""}`; what could not be found out is missing, and `failure` says why.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, ClassVar, Protocol

from models.processes.one_answer import answer_one
from runner.script.analyzer.answer import AnswerRefused, profile_in
from runner.script.analyzer.chat import Chat, ChatFailed, Message
from runner.script.analyzer.prompt import SYSTEM
from runner.script.cast.profile import Analyzer, Profile

MODULE = "runner.script.analyzer.describe"
LONGEST_S = 6 * 3600
MOST_MEMORY_BYTES = 2 << 30


class Answers(Protocol):
    """Whoever answers questions: `analyzer` is its name in `[analyzer] backend`."""

    analyzer: ClassVar[Analyzer]

    def answer(self, messages: Sequence[Message]) -> str:
        """Text of the model's answer. Raises ChatFailed."""
        ...


def describe(model: Answers, asked: dict[str, Any], *, longest_s: float = LONGEST_S) -> dict[str, Any]:
    """The answer to a request; no question is begun after so many seconds."""
    profiles: dict[str, Any] = {}
    failure, ends_s = "", time.monotonic() + longest_s
    for digest, text in asked["questions"].items():
        if time.monotonic() >= ends_s:
            break
        try:
            profiles[digest] = asdict(_described(model, text))
        except AnswerRefused as refused:
            failure = failure or f"the model's answer cannot be used: {refused}"
        except ChatFailed as failed:
            failure = str(failed)
            break  # the next question would fare no better
    return {"profiles": profiles, "failure": failure}


def _described(model: Answers, text: str) -> Profile:
    """The profile of one part; an answer that cannot be used is asked for once more, with what was wrong with it."""
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}]
    said = model.answer(messages)
    try:
        return profile_in(said, analyzer=model.analyzer)
    except AnswerRefused as refused:
        again = f"That cannot be used: {refused}. Reply again, with the JSON object alone."
        messages += [{"role": "assistant", "content": said[:8_000]}, {"role": "user", "content": again}]
        return profile_in(model.answer(messages), analyzer=model.analyzer)


def _by_server(asked: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    chat = Chat(url=asked["url"], model=asked["model"], timeout_s=asked["timeout_s"])
    return describe(chat, asked), b""


def main() -> int:
    return answer_one(_by_server, longest_s=LONGEST_S, most_memory_bytes=MOST_MEMORY_BYTES)


if __name__ == "__main__":
    sys.exit(main())
