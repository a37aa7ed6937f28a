"""An outbox into which others may write: nothing is written, renamed or deleted outside it."""

import os

import pytest

from registry.errors import StorageError
from runner.outbox.outbox import Outbox


@pytest.fixture
def private(tmp_path):
    folder = tmp_path / "private"
    folder.mkdir()
    (folder / "result.json").write_text("mine")
    return folder


@pytest.fixture
def outbox(tmp_path):
    (tmp_path / "outbox").mkdir()
    return Outbox(tmp_path / "outbox")


def write_stream(outbox):
    outbox.publish_stream("hello", "track.wav", lambda file: file.write(b"sound"))


@pytest.mark.parametrize(
    "act",
    [
        lambda outbox: outbox.publish("hello", {"result.json": b"{}"}),
        write_stream,
        lambda outbox: outbox.retire_receipt("hello"),
        lambda outbox: outbox.files_of("hello"),
    ],
    ids=["publish", "stream", "retry", "list"],
)
def test_a_link_in_the_place_of_a_jobs_folder_is_not_followed(outbox, private, act):
    (outbox.folder / "hello").symlink_to(private)
    with pytest.raises(StorageError, match="move that away"):
        act(outbox)
    assert [(path.name, path.read_text()) for path in private.iterdir()] == [("result.json", "mine")]


def test_a_link_in_the_place_of_one_jobs_folder_costs_no_other_job_its_files(outbox, private):
    (outbox.folder / "hello").symlink_to(private)
    errors = outbox.publish_many({"hello": {"a": b"1"}, "other": {"a": b"2"}})
    assert list(errors) == ["hello"]
    assert (outbox.folder / "other" / "a").read_bytes() == b"2"


@pytest.mark.parametrize("kind", ["link", "fifo", "file"])
@pytest.mark.parametrize("name", ["track.wav", ".track.wav.tmp"])
def test_what_was_put_in_the_place_of_a_file_is_replaced(outbox, private, name, kind):
    (outbox.folder / "hello").mkdir()
    path = outbox.folder / "hello" / name
    if kind == "link":
        path.symlink_to(private / "result.json")
    else:
        os.mkfifo(path) if kind == "fifo" else path.write_text("theirs")
    outbox.publish("hello", {"track.wav": b"sound"})
    write_stream(outbox)
    assert (outbox.folder / "hello" / "track.wav").read_bytes() == b"sound"
    assert (private / "result.json").read_text() == "mine"


@pytest.mark.parametrize("name", ["../private", "..", "", "a/../../private"])
def test_no_name_of_a_job_leads_out_of_the_outbox(outbox, private, name):
    outbox.put_away(name, ".pruned-1")
    assert outbox.size_of(name) == 0
    with pytest.raises(StorageError):
        outbox.publish_stream(name, "track.wav", lambda file: file.write(b"sound"))
    assert list(outbox.publish_many({name: {"result.json": b"{}"}})) == [name]
    assert (private / "result.json").read_text() == "mine"


def test_more_jobs_than_a_process_may_hold_open_are_published(outbox):
    count = 1_100
    assert outbox.publish_many({f"job-{number}": {"a": b"1"} for number in range(count)}) == {}
    assert len(list(outbox.folder.glob("job-*/a"))) == count


@pytest.mark.parametrize("name", ["link.wav", "fifo.wav", "../../private/result.json", "folder"])
def test_only_a_regular_file_of_the_jobs_own_folder_is_read(outbox, private, name):
    folder = outbox.folder / "hello"
    (folder / "folder").mkdir(parents=True)
    (folder / "link.wav").symlink_to(private / "result.json")
    os.mkfifo(folder / "fifo.wav")
    with pytest.raises(OSError, match=r"Errno"):
        outbox.read("hello", name)
    (folder / "track.wav").write_bytes(b"sound")
    assert outbox.read("hello", "track.wav") == b"sound"


def test_a_folder_that_the_caller_gives_up_is_removed_and_a_link_in_its_place_is_not_followed(outbox, private):
    (outbox.folder / "a").mkdir()
    (outbox.folder / "a" / "link").symlink_to(private)
    (outbox.folder / "b").symlink_to(private)
    for name in ("a", "b", "gone", "..", "../private"):
        outbox.remove(name)
    assert list(outbox.folder.iterdir()) == []
    assert (private / "result.json").read_text() == "mine"
