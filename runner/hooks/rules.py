"""A job that ended, or trouble → which receivers are told, in which words, signed how, and when again. Pure."""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from registry.jobs.values import Job, JobStatus
from runner.config.hook_settings import PLACEHOLDER, HookSettings
from runner.names import is_speech_request

FIRST_PAUSE_S, LONGEST_PAUSE_S = 5.0, 3_600.0
GIVEN_UP_AFTER_S = 86_400.0
TIMEOUT_S = 10.0  # of one attempt
SECRET_PREFIX = "whsec_"
JOB_EVENTS = {
    JobStatus.DONE: "job.done",
    JobStatus.PARTIAL: "job.partial",
    JobStatus.FAILED: "job.failed",
}


def keys_of(hooks: Sequence[HookSettings]) -> list[str]:
    """A name for each hook, the same after a restart or a change of its words; two of one receiver are told apart."""
    seen: Counter[str] = Counter()
    keys = []
    for hook in hooks:
        receiver = json.dumps([hook.url, hook.command])
        key = hashlib.sha256(receiver.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        seen[key] += 1
        keys.append(key if seen[key] == 1 else f"{key}-{seen[key]}")
    return keys


def events_of(job: Job, *, script: str | None = None) -> list[str]:
    """Events that the end of a job is; the server's own requests for speech are none.

    Of a job that belongs to a `script`, whose file's JSON this is, only candidates that somebody has to choose from.
    """
    outcome = job.outcome or job.status
    if outcome not in JOB_EVENTS or is_speech_request(job.name):
        return []
    has_candidates = job.kind == "design" and outcome in (JobStatus.DONE, JobStatus.PARTIAL)
    candidates = ["candidates.ready"] if has_candidates else []
    if script is not None:
        return candidates if json.loads(script).get("cast") == "ask" else []
    return [JOB_EVENTS[outcome], *candidates]


def pause_s(attempts: int) -> float:
    """Pause after this many failed attempts."""
    return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(attempts - 1, 20))


def notice(type_: str, at_s: float, data: bytes) -> dict[str, Any]:
    """The JSON object that receivers get."""
    when = datetime.datetime.fromtimestamp(at_s, datetime.timezone.utc)
    return {"type": type_, "timestamp": when.isoformat(timespec="milliseconds"), "data": json.loads(data)}


def body_of(hook: HookSettings, content: Mapping[str, Any]) -> tuple[bytes, str]:
    """The body of a notice and its media type."""
    if not hook.template:
        return json.dumps(content, ensure_ascii=False).encode("utf-8", "replace"), "application/json"
    return filled(hook.template, content).encode("utf-8", "replace"), "text/plain; charset=utf-8"


def filled(template: str, content: Mapping[str, Any]) -> str:
    """A template with its placeholders filled in; what is absent is empty, or null as JSON."""

    def fill(found: re.Match[str]) -> str:
        value: Any = content
        for part in found[1].split("."):
            if isinstance(value, list) and part.isascii() and part.isdigit() and int(part[:9]) < len(value):
                value = value[int(part[:9])]
            else:
                value = value.get(part) if isinstance(value, Mapping) else None
        if found[2]:
            return json.dumps(value, ensure_ascii=False)
        if isinstance(value, Mapping | list | bool):
            return json.dumps(value, ensure_ascii=False)
        return "" if value is None else str(value)

    return PLACEHOLDER.sub(fill, template)


def secret_bytes(text: str) -> bytes:
    """The key in `whsec_…`. Raises ValueError."""
    encoded = text.strip()
    try:
        key = base64.b64decode(encoded.removeprefix(SECRET_PREFIX), validate=True)
    except ValueError:
        key = b""
    if not encoded.startswith(SECRET_PREFIX) or not key:
        raise ValueError(f"a secret is {SECRET_PREFIX} and base64")
    return key


def signature_headers(key: bytes | None, *, webhook_id: str, now_s: float, body: bytes) -> dict[str, str]:
    """Headers of Standard Webhooks (https://www.standardwebhooks.com), with the signature where there is a key."""
    headers = {"webhook-id": webhook_id, "webhook-timestamp": str(int(now_s))}
    if key is not None:
        signed = f"{webhook_id}.{int(now_s)}.".encode() + body
        digest = hmac.new(key, signed, hashlib.sha256).digest()
        headers["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
    return headers
