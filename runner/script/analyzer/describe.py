"""`python -m runner.script.analyzer.describe` < request > answer: questions about parts → their profiles.

The request is JSON: `{"url", "model", "timeout_s", "questions": {digest: text}}`. The answer is a line of JSON:
`{"profiles": {digest: …}, "failure": ""}`; what could not be found out is missing, and `failure` says why.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Any

from models.processes.one_answer import answer_one
from runner.script.analyzer.answer import AnswerRefused, profile_in
from runner.script.analyzer.chat import Chat, ChatFailed
from runner.script.analyzer.prompt import SYSTEM
from runner.script.cast.profile import Profile

MODULE = "runner.script.analyzer.describe"
LONGEST_S = 6 * 3600
MOST_MEMORY_BYTES = 2 << 30


def describe(asked: dict[str, Any]) -> dict[str, Any]:
    """The answer to a request."""
    chat = Chat(url=asked["url"], model=asked["model"], timeout_s=asked["timeout_s"])
    profiles: dict[str, Any] = {}
    failure = ""
    for digest, text in asked["questions"].items():
        try:
            profiles[digest] = asdict(_described(chat, text))
        except AnswerRefused as refused:
            failure = failure or f"the model's answer cannot be used: {refused}"
        except ChatFailed as failed:
            failure = str(failed)
            break  # the next question would fare no better
    return {"profiles": profiles, "failure": failure}


def _described(chat: Chat, text: str) -> Profile:
    """The profile of one part; an answer that cannot be used is asked for once more, with what was wrong with it."""
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}]
    said = chat.answer(messages)
    try:
        return profile_in(said)
    except AnswerRefused as refused:
        again = f"That cannot be used: {refused}. Reply again, with the JSON object alone."
        messages += [{"role": "assistant", "content": said[:8_000]}, {"role": "user", "content": again}]
        return profile_in(chat.answer(messages))


def main() -> int:
    return answer_one(lambda asked: (describe(asked), b""), longest_s=LONGEST_S, most_memory_bytes=MOST_MEMORY_BYTES)


if __name__ == "__main__":
    sys.exit(main())
