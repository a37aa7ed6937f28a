"""Programs that write half of a file, pause for longer than `settle_s`, and then write the rest."""

import sys

import pytest

from runner.config.instance import Instance
from runner.config.settings import Settings
from runner.inbox.scanner import InboxScanner
from tests.runner.inbox.dropping import drop

PAUSE_S = 60.0
JOB = 'kind = "synthesize"\nvoice = "preset:ryan"\n'
READS_TEXT = f'{JOB}text_file = "a.txt"\n'
LINES = '[[lines]]\ntext = "The first line, which is a job by itself."\n'
REST = '[[lines]]\ntext = "The rest."\n'
# what is there from the beginning, the file that is written in two parts, and its two parts
WRITERS = {
    "a job file": ({}, "a.toml", JOB + LINES, REST),
    "a job file in a dropped folder": ({"story/a.txt": "Hello."}, "story/job.toml", JOB + LINES, REST),
    "an attachment": ({"a.toml": READS_TEXT}, "a.txt", "One half. ", "The other half."),
    "an attachment in a dropped folder": ({"story/job.toml": READS_TEXT}, "story/a.txt", "One half. ", "The other."),
    "a file that the dropped folder's job does not name": (
        {"story/job.toml": READS_TEXT, "story/a.txt": "Hello."}, "story/notes.txt", "One half. ", "The other.",
    ),
}  # fmt: skip


@pytest.fixture
def scanner(tmp_path):
    instance = Instance(tmp_path, Settings(min_free_bytes=0, settle_s=1.0))
    instance.prepare()
    return InboxScanner(instance)


def look(scanner, start_s):
    """Drops that are taken within `PAUSE_S` of looks, two a second."""
    return [found for step in range(int(2 * PAUSE_S)) for found in scanner.tick(start_s + step / 2)]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells who writes")
@pytest.mark.parametrize("what", WRITERS)
def test_what_a_stalled_writer_writes_is_taken_whole(scanner, tmp_path, what):
    inbox = tmp_path / "inbox"
    there, name, half, rest = WRITERS[what]
    for path, content in there.items():
        drop(inbox, path, content)
    (inbox / name).parent.mkdir(exist_ok=True)
    with (inbox / name).open("w") as file:
        file.write(half)
        file.flush()
        assert look(scanner, 0.0) == []
        file.write(rest)
    (claimed,) = look(scanner, PAUSE_S)
    assert claimed.problem is None
    if name.endswith(".toml"):
        assert [line.text for line in claimed.spec.lines][1:] == ["The rest."]
    elif name.endswith("a.txt"):
        assert (claimed.folder / "a.txt").read_text() == half + rest
