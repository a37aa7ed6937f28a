"""Names that people give to voices, jobs, lines and files → checked names. Pure.

Names compare by `registry.voices.names.name_key`. Every check returns the checked value, or raises ValueError with
a sentence that says what is allowed.
"""

from __future__ import annotations

import re
import unicodedata

from registry.voices.names import DIGEST_PREFIX, NAME, NUMBER, PRESET, PRESET_PREFIX, VoiceReference, name_key

# Speakers that the CustomVoice models come with; `anna` is the Swift tools' name of `ono_anna`.
PRESET_NAMES = ("ryan", "aiden", "vivian", "serena", "uncle_fu", "dylan", "eric", "anna", "ono_anna", "sohee")

_IDENTIFIER = re.compile(r"\w[\w.-]{0,63}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{8,64}")
_UNSAFE_IN_FILE_NAMES = re.compile(r'[\x00-\x1f\x7f-\x9f/\\:*?"<>|\ud800-\udfff\ufffe\uffff]')
MAX_PATH_BYTES = 1_024
MAX_COMPONENT_BYTES = 255
MAX_JOB_NAME_BYTES = 150  # leaves room for "-12345" and for ".result.json.tmp" within 255 bytes

SPEECH_REQUEST = re.compile(r"speech-[0-9a-f]{20}(-\d+)?")

SURROGATE = re.compile(r"[\ud800-\udfff]")


def voice_name(name: str) -> str:
    """Name of a voice in NFC, without version or alias."""
    name = unicodedata.normalize("NFC", name)
    if not NAME.fullmatch(name) or not name.strip("."):
        raise ValueError("a voice name is 1 to 64 letters, digits, _, - or . (not dots alone)")
    return name


def preset_name(name: str) -> str:
    """Name of a voice that a model brings along, in NFC, with any printable characters."""
    name = unicodedata.normalize("NFC", name)
    if not PRESET.fullmatch(name) or not name.isprintable():
        raise ValueError("a preset is named as its model names it: 1 to 64 printable characters, no space at the ends")
    return name


def new_voice_name(name: str) -> str:
    """Name under which a voice may be designed or locked: any but a preset's."""
    name = voice_name(name)
    if name_key(name) in PRESET_NAMES:
        raise ValueError(f"{name!r} is a preset voice; choose another name, such as {name + '-2'!r}")
    return name


def alias_name(alias: str) -> str:
    """Alias in NFC: spelled like a voice name, and never a number."""
    alias = unicodedata.normalize("NFC", alias)
    if not NAME.fullmatch(alias) or not alias.strip(".") or _is_number(alias):
        raise ValueError("an alias is 1 to 64 letters, digits, _, - or ., and not a number")
    return alias


def _is_number(alias: str) -> bool:
    return alias.isdigit() or NUMBER.fullmatch(alias) is not None


def may_be_preset(reference: VoiceReference) -> bool:
    """True for `preset:ryan` and for a bare `ryan`."""
    return reference.preset or name_key(str(reference)) in PRESET_NAMES


def parse_voice_reference(text: str) -> VoiceReference:
    """Reference parsed from `elena`, `elena@2`, `elena@warm`, `elena@sha256:…`, `ryan` or `preset:ryan`."""
    if text.startswith(PRESET_PREFIX):
        return VoiceReference(name=preset_name(text.removeprefix(PRESET_PREFIX)), preset=True)
    name, at, after = text.partition("@")
    name = voice_name(name)
    if not at:
        return VoiceReference(name=name)
    if after.isascii() and after.isdigit():
        if after.startswith("0") or len(after) > 9:
            raise ValueError("a version is a number from 1, without leading zeros: name@1")
        return VoiceReference(name=name, number=int(after))
    if after.startswith(DIGEST_PREFIX):
        if not _DIGEST.fullmatch(after):
            raise ValueError("a digest is sha256: and up to 64 lower-case hexadecimal digits")
        return VoiceReference(name=name, digest=after.removeprefix(DIGEST_PREFIX))
    return VoiceReference(name=name, alias=alias_name(after))


def voice_reference(text: str) -> str:
    """Voice reference, checked and in NFC, as text."""
    return str(parse_voice_reference(text))


def identifier(text: str) -> str:
    """`id` of a job or a line in NFC: it becomes part of file names."""
    text = unicodedata.normalize("NFC", text)
    if not _IDENTIFIER.fullmatch(text):
        raise ValueError("an id is 1 to 64 letters, digits, _, - or ., and starts with a letter, digit or _")
    return text


def relative_path(text: str) -> str:
    """Path of a file below the job file's folder, with `/` between its parts."""
    reason = _path_problem(text)
    if reason:
        raise ValueError(f"{reason}; a path is relative to the job file and stays inside the inbox")
    return text


def _path_problem(text: str) -> str:
    parts = text.split("/")
    if not text or len(text.encode("utf-8", "surrogatepass")) > MAX_PATH_BYTES:
        return f"a path has 1 to {MAX_PATH_BYTES} bytes"
    if text.startswith(("/", "~")) or re.match(r"[A-Za-z]:", text):
        return "the path is absolute"
    if ".." in parts:
        return "the path goes upward (..)"
    if "\\" in text or any(ord(character) < 32 or ord(character) == 127 for character in text):
        return "the path holds a backslash or a control character"
    if any(part in ("", ".") or part.startswith(".") for part in parts):
        return "the path has an empty or hidden part"
    if any(len(part.encode("utf-8", "surrogatepass")) > MAX_COMPONENT_BYTES for part in parts):
        return f"a part of the path is longer than {MAX_COMPONENT_BYTES} bytes"
    return ""


def plain_file_name(text: str) -> str:
    """File name without any folder."""
    if "/" in text:
        raise ValueError("expected a file name without a folder")
    return relative_path(text)


def printable_name(name: str) -> str:
    """`name` with all unprintable characters replaced: for messages, logs and receipts."""
    text = SURROGATE.sub("\N{REPLACEMENT CHARACTER}", name)  # bytes that are not UTF-8, as Python keeps them in names
    return "".join(character if character.isprintable() else "�" for character in text)


def speech_request_name(digest: str) -> str:
    """Name of the job of a request for speech, from the digest of what it sounds like."""
    return f"speech-{digest[:20]}"


def is_speech_request(job_name: str) -> bool:
    """Whether the server made a job for a request for speech."""
    return SPEECH_REQUEST.fullmatch(job_name) is not None


def job_name_from(dropped_name: str) -> str:
    """Name of a job and its outbox folder, made from the name of the file or folder that was dropped.

    Never empty, hidden, over-long or able to leave a folder; `hello.toml` → `hello`.
    """
    stem = re.sub(r"\.(toml|json|vox)$", "", dropped_name, flags=re.IGNORECASE)
    stem = unicodedata.normalize("NFC", printable_name(stem))
    stem = _UNSAFE_IN_FILE_NAMES.sub("_", stem).replace("�", "_").strip().lstrip(".").rstrip(". ")
    stem = stem.encode()[:MAX_JOB_NAME_BYTES].decode("utf-8", "ignore").rstrip(". ")
    return stem or "job"
