"""Remedies work where they are printed: each command of a hint is run in the state that printed it, and helps."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from runner.cli.program import run_command
from runner.config.instance import open_instance
from runner.doctor.checks import examine
from runner.doctor.findings import Finding
from runner.exit_codes import NEEDS_ACTION, OK
from tests.broken_instances import BROKEN

ONLY_TELL = ("voices fsck", "jobs list", "jobs show", "voices list", "models list", "doctor")
REPAIRABLE = [name for name, broken in BROKEN.items() if broken.check not in ("", "model", "models", "pronunciations")]
AT_ONCE = {"database-gone", "database-damaged", "database-folder", "objects-lost", "inbox-gone", "takes-file"}
STATES = [name if name in AT_ONCE else pytest.param(name, marks=pytest.mark.slow) for name in REPAIRABLE]
# What cannot be repaired by a command: their remedies name a disk, a person or another version.
BY_HAND = {"database-too-new"}


def findings(root: Path) -> list[Finding]:
    return [one for one in examine(open_instance(root)) if one.counts]


def commands_in(text: str) -> list[list[str]]:
    """Commands that a text prints, ours without the program's name, with the backup that the instance has."""
    ours = [shlex.split(found.replace("FILE", "good.backup")) for found in re.findall(r"`voicejobs ([^`]+)`", text)]
    moves = [shlex.split(found) for found in re.findall(r"(?:^|: )(mv .*)$", text)]
    return [words for words in (*ours, *moves) if " ".join(words[:2]) not in ONLY_TELL and words[:1] != ["doctor"]]


def obey(words: list[str]) -> int:
    if words[0] == "mv":
        return subprocess.run(words, check=False).returncode
    return run_command([*words, "--once"] if words == ["run"] else words)


@pytest.mark.parametrize("name", STATES)
def test_each_command_of_the_doctors_remedies_removes_its_finding(name, worked, tmp_path, monkeypatch):
    first = findings(broken_copy(worked, tmp_path / "first", name))
    tried = 0
    for number, finding in enumerate(first):
        for turn, words in enumerate(commands_in(finding.remedy)):
            copy = broken_copy(worked, tmp_path / f"{number}-{turn}", name)
            monkeypatch.chdir(copy)
            assert obey([word.replace(str(tmp_path / "first"), str(copy)) for word in words]) == OK, (words, finding)
            left = [one.message.replace(str(copy), str(tmp_path / "first")) for one in findings(copy)]
            assert finding.message not in left, (words, left)
            tried += 1
    assert tried or name in BY_HAND, first


def broken_copy(worked: Path, copy: Path, name: str) -> Path:
    shutil.copytree(worked, copy, symlinks=True)
    BROKEN[name].by(copy)
    return copy


def printed_by(capsys: pytest.CaptureFixture[str], *line: str, code: int = NEEDS_ACTION) -> list[list[str]]:
    """Commands in what a command prints that ends with `code`."""
    assert run_command(list(line)) == code
    return commands_in(capsys.readouterr().err)


@pytest.mark.usefixtures("worked")
def test_an_unknown_job_or_voice_leads_to_the_list_that_has_it(capsys):
    for thing, name in (("jobs", "helo"), ("voices", "elen")):
        assert run_command([thing, "show", name]) == NEEDS_ACTION
        (hint,) = re.findall(r"`voicejobs (\w+ list)`", capsys.readouterr().err) or [f"{thing} list"]
        assert run_command(hint.split()) == OK
        assert {"jobs": "hello", "voices": "elena"}[thing] in capsys.readouterr().out


@pytest.mark.usefixtures("worked")
def test_a_version_in_use_is_removed_after_what_the_hint_says(capsys):
    assert run_command(["voices", "alias", "elena@1", "warm"]) == OK
    for words in [words for words in printed_by(capsys, "voices", "rm", "elena@1") if "elena@N" not in words]:
        assert run_command(words) == OK, words
    assert run_command(["voices", "rm", "elena@1"]) == OK


def file_in_its_place(path: Path) -> None:
    path.write_bytes(b"noise")


def link_to_nowhere(path: Path) -> None:
    path.symlink_to("nowhere")


@pytest.mark.parametrize("replace", [file_in_its_place, link_to_nowhere])
def test_a_restore_that_something_is_in_the_way_of_says_so_and_works_when_it_is_moved(worked, replace, capsys):
    objects = worked / ".voicejobs" / "objects"
    shutil.rmtree(objects)
    replace(objects)
    assert run_command(["restore", "--replace", "good.backup"]) == NEEDS_ACTION
    said = capsys.readouterr().err
    assert str(objects) in said and "move it away" in said
    objects.rename(objects.with_suffix(".moved"))
    assert run_command(["restore", "--replace", "good.backup"]) == OK
    assert run_command(["voices", "fsck"]) == OK
