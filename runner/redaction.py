"""Text that leaves the program → the same text without tokens and passwords. Pure."""

from __future__ import annotations

import re

REDACTED = "[redacted]"

_SECRETS = re.compile(
    r"""
      \b hf_[A-Za-z0-9]{8,}                                     # Hugging Face
    | \b (?: ghp | gho | ghs | ghu ) _ [A-Za-z0-9]{20,}         # GitHub
    | \b github_pat_ \w{20,}
    | \b sk- [A-Za-z0-9_-]{20,}                                 # several services
    | \b AKIA [0-9A-Z]{16} \b                                   # AWS
    | (?<![\w-]) (?=[\w-]*eyJ) [\w-]{13,} \. [\w-]{10,} \. [\w-]{10,}   # JSON web tokens, and what they stick to
    """,
    re.VERBOSE,
)
_AFTER_A_NAME = re.compile(
    r"""( (?: authorization ["']? \s{0,20} [:=] \s{0,20} ["']? (?: bearer | basic | token )? \s{0,20}
          | \b bearer \s{1,20}
          | (?: token | password | passwd | secret | api[_-]?key ) ["']? \s{0,20} [:=] \s{0,20} ["']?
          ) )
        ( [^\s"'&,;)}\]]{6,} )""",
    re.VERBOSE | re.IGNORECASE,
)
_ITS_NAMES = re.compile("authorization|bearer|token|passw|secret|api[_-]?key", re.IGNORECASE)  # quick to rule out
_IN_A_URL = re.compile(r"(\b[a-z][a-z0-9+.-]{0,30}://)[^/\s:@]+:[^/\s@]+@", re.IGNORECASE)


def redact(text: str) -> str:
    """`text` with everything that looks like a credential replaced."""
    if "://" in text:
        text = _IN_A_URL.sub(rf"\1{REDACTED}@", text)
    if _ITS_NAMES.search(text):
        text = _AFTER_A_NAME.sub(lambda match: match[1] + REDACTED, text)
    return _SECRETS.sub(REDACTED, text)
