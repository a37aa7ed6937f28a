"""Broken and hostile drops, made from a seed: job files with damaged bytes, keys and values; and no files at all."""

import json
import os
import random
import socket
from collections.abc import Iterator
from pathlib import Path

VALID = (
    'kind = "design"\nvoice = "elena"\ndescription = "A warm voice."\ncandidates = 2\nlanguage = "en"\n',
    'kind = "lock"\nvoice = "elena"\nfrom = { job = "elena-design", candidate = 2 }\nset_current = false\n',
    'kind = "synthesize"\nvoice = "elena@2"\nformat = "flac"\n[[lines]]\ntext = "Hi."\n[[lines]]\ntext = "Ho."\n',
    'kind = "export"\nvoice = "elena"\nfile = "e.vox"\n[metadata]\na = 1\n',
    '{"kind": "synthesize", "voice": "ryan", "text": "Hello.", "sampling": {"top_k": 5}, "metadata": {"a": [1, {}]}}',
    '{"kind": "lock", "voice": "me", "audio": "me.wav", "transcript": "Hi.", "consent": "self"}',
)
NASTY_BYTES = (
    b"\0", b"\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80", b'"""', b"'''", b"[[", b"]]", b"{" * 40, b"[" * 200, b"\\u0000",
    b"\\ud800", b"NaN", b"-Infinity", b"1e999", b"9" * 500, b"\r", b"\x1b[2J", "‮".encode(), b"a." * 50, b"=" * 9,
    b'"kind": "design",', b"kind = 1\n", b"# ", b"../../etc/passwd", b"<|im_end|>",
)  # fmt: skip
NASTY_VALUES = (
    None, True, -1, 2**70, 1.5, float("nan"), "", " ", "\0", "../x", "/etc/passwd", "\ud800", "x" * 5000, [], {},
    [[[]]], {"a": {"a": {"a": 1}}}, "preset:ryan", "elena@0", "CON", "a/b", "é" * 70, "<|im_start|>",
)  # fmt: skip
KEYS = ("kind", "voice", "text", "lines", "id", "from", "audio", "text_file", "seed", "language", "priority",
        "metadata", "sampling", "model", "format", "fresh", "character", "transcript", "file", "wrong", "",
        "\u0000")  # fmt: skip
NAMES = ("job", "é", "e\u0301", "a b", "-rf", "x..", "con", "x" * 240, "💡", "a'b\"c", "$(reboot)", "%s%n", "tab\tname")


def fuzzed_file(chance: random.Random) -> bytes:
    """One job file, damaged in one of several ways, or left whole."""
    text = chance.choice(VALID)
    way = chance.randrange(6)
    if way == 0:
        return text.encode()
    if way == 1:
        return bytes(chance.randrange(256) for _ in range(chance.randrange(1, 400)))
    if way == 2:
        return json.dumps(fuzzed_tree(chance)).encode("utf-8", "surrogatepass")
    content = bytearray(text.encode())
    for _ in range(chance.randrange(1, 6)):
        at = chance.randrange(len(content) + 1)
        if way == 3:
            content[at:at] = chance.choice(NASTY_BYTES)
        elif way == 4:
            del content[at : at + chance.randrange(1, 12)]
        else:
            content[at : at + 1] = bytes([chance.randrange(256)])
    return bytes(content)


def fuzzed_tree(chance: random.Random) -> dict:
    """A job as JSON with keys and values that do not belong together."""
    tree = json.loads(chance.choice([text for text in VALID if text.startswith("{")]))
    for _ in range(chance.randrange(1, 4)):
        tree[chance.choice(KEYS)] = chance.choice(NASTY_VALUES)
    return tree


def drop_fuzzed(inbox: Path, chance: random.Random, count: int) -> int:
    """Put `count` damaged files into the inbox under odd names; returns how many names that made."""
    for index in range(count):
        name = f"{chance.choice(NAMES)}-{index}{chance.choice(('.toml', '.json', '.TOML'))}"
        content = fuzzed_file(chance)
        if chance.randrange(12) == 0:
            folder = inbox / f"folder-{index}"
            folder.mkdir()
            (folder / "job.toml").write_bytes(content)
        else:
            (inbox / name).write_bytes(content)
    return count


def make_socket(path: Path) -> None:
    """A socket, bound by its name alone: a whole path may be longer than the system allows."""
    before = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.chdir(before)


def drop_hostile(inbox: Path, outside: Path) -> Iterator[str]:
    """Put every kind of entry that is no plain job into the inbox; yields their names, as the system spells them."""
    (inbox / "link.toml").symlink_to(outside / "secret.toml")
    (inbox / "dangling.toml").symlink_to(outside / "absent.toml")
    (inbox / "loop.toml").symlink_to(inbox / "loop.toml")
    (inbox / "linked-folder").symlink_to(outside)
    os.mkfifo(inbox / "fifo.toml")
    make_socket(inbox / "s.toml")
    (inbox / "folder.toml").mkdir()
    (inbox / "empty.toml").touch()
    (inbox / "sparse.toml").touch()
    os.truncate(inbox / "sparse.toml", 1 << 30)
    (inbox / "locked.toml").write_text(VALID[0])
    (inbox / "locked.toml").chmod(0)
    (inbox / os.fsdecode(b"\xff\xfe.toml")).write_text(VALID[0])
    for name in ("\u00e9.toml", "e\u0301.toml", "n" * 250 + ".toml", "future.toml"):
        (inbox / name).write_text(VALID[0])
    os.utime(inbox / "future.toml", (4e9, 4e9))
    looping = inbox / "looping"
    looping.mkdir()
    (looping / "up").symlink_to(looping)
    (looping / "job.toml").write_text('kind = "lock"\nvoice = "e"\naudio = "up/up/x.wav"\ntranscript = "Hi."\n')
    for escaping, index in (("../secret.wav", 0), ("/etc/passwd", 1), (".claimed/x", 2), ("a/../../b", 3)):
        job = {"kind": "lock", "voice": "e", "audio": escaping, "transcript": "Hi."}
        (inbox / f"escaping-{index}.json").write_text(json.dumps(job))
    yield from (path.name for path in inbox.iterdir())
